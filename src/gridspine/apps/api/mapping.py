"""What a Thing's points say, as documents of another language: CIM, IEC 61850, IEEE 2030.5, SunSpec, OpenFMB, SAREF."""

from typing import Annotated, Any

import msgspec
from litestar import Request, get
from litestar.params import FromPath, Parameter

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.thing import permitted
from gridspine.apps.node.node import Node
from gridspine.energy.mapping import LANGUAGES, Document, Loss, Reported, Snapshot, emit
from gridspine.kernel.errors import NotFound
from gridspine.things.thing import Thing
from gridspine.things.twin import NEVER_US

MAX_LANGUAGE_CHARS = 32


class DocumentView(msgspec.Struct, frozen=True, rename="camel"):
    """One document: ``text``, or ``base64`` where it is not text; the other is null."""

    name: str
    media_type: str
    text: str | None
    base64: bytes | None


class LossView(msgspec.Struct, frozen=True, rename="camel"):
    """What the language has no room for: the point, and what of it does not arrive."""

    point: str
    what: str


class EmissionView(msgspec.Struct, frozen=True, rename="camel"):
    """The documents of a Thing in a language, and what is in none of them."""

    language: str
    documents: list[DocumentView]
    lost: list[LossView]


@get("/things/{thing_id:str}/mappings/{language:str}", summary="Read a Thing in another language", tags=["things"])
async def read_mapping(
    request: Request[Any, Any, Any],
    node: TheNode,
    thing_id: FromPath[str],
    language: Annotated[str, Parameter(max_length=MAX_LANGUAGE_CHARS)],
) -> EmissionView:
    """Return the last reported values of a Thing as documents of a language, and what is lost on the way.

    `language` is cim, iec61850, ieee2030_5, sunspec, openfmb or saref. Power is import positive in ours; each language
    has its own sign, and its names are on the page *Names in other languages*.
    """
    thing = permitted(node, request, thing_id, "thing.read")
    if language not in LANGUAGES:
        raise NotFound(f"{language!r} is not a language that is mapped; there are {', '.join(LANGUAGES)}")
    emission = emit(language, snapshot_of(node, thing))
    return EmissionView(language, [_document(one) for one in emission.documents], [_loss(one) for one in emission.lost])


def snapshot_of(node: Node, thing: Thing) -> Snapshot:
    """Return the last reported readings of a Thing; a point that was never reported is not in it."""
    model = node.things.model(thing)
    twins = ((point.name, node.twins.get(thing.first + at)) for at, point in enumerate(model.points))
    values = {name: Reported(twin.value, twin.quality, twin.observed_us) for name, twin in twins if _known(twin)}
    return Snapshot(thing.id, thing.title, model, values)


def _known(twin: Any) -> bool:
    return bool(twin.observed_us != NEVER_US)


def _document(document: Document) -> DocumentView:
    binary = "protobuf" in document.media_type
    text = None if binary else document.body.decode()
    return DocumentView(document.name, document.media_type, text, document.body if binary else None)


def _loss(loss: Loss) -> LossView:
    return LossView(loss.point, loss.what)
