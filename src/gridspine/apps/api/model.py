"""Thing Models: listed, registered, and filled in.

::

    GET  /models             those the caller's organisation may use      ?id=…: that one, as application/tm+json
    POST /models             a Thing Model of its own, with gs:readingType for each point
    POST /models/fill        a Thing Model and values for its placeholders ─► a Thing Description, not registered yet
"""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from litestar import Response, get, post
from litestar.openapi import ResponseSpec
from litestar.params import QueryParameter

from gridspine.apps.api.answer import JSON, Answer, json_answer
from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.description import AnyRequest
from gridspine.apps.api.problems import response
from gridspine.apps.api.takes import TakesModel
from gridspine.apps.node.node import Node
from gridspine.kernel.errors import Invalid, NotFound
from gridspine.things.exposed import TM_JSON
from gridspine.things.td import MAX_TD_BYTES, check_description, check_model, read_document, refuse
from gridspine.things.td.thing_model import filled

MAX_BODY = 2 * MAX_TD_BYTES
ModelId = Annotated[str, QueryParameter(name="id", max_length=500)]


class ModelView(msgspec.Struct, frozen=True):
    """A Thing Model in short."""

    id: str
    title: str
    version: str
    points: list[str]


class Fill(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What a Thing Model is filled in with: ``placeholders`` by name, and ``without`` which of its optional parts."""

    thing_model: dict[str, Any] | str
    placeholders: dict[str, Any] = {}
    without: tuple[str, ...] = ()


@get(
    "/models", summary="List Thing Models", tags=["things"],
    responses={200: ResponseSpec(list[ModelView], generate_examples=False, description="Models; with `id` that one")},
)  # fmt: skip
async def list_models(request: AnyRequest, node: TheNode, id_: ModelId = "") -> Response[bytes]:
    """List the Thing Models that the caller's organisation may use; with `id` return that one, whole."""
    caller = request.user
    node.authority.on_own(caller, "thing.read")
    if id_:
        model = node.things.models.get(id_, caller.organisation)
        if model is None:
            raise NotFound("there is no such Thing Model")
        return response(Answer(200, msgspec.json.encode(model.document), TM_JSON))
    models = node.things.models.list(caller.organisation)
    return response(
        json_answer([ModelView(m.id, m.title, m.version, [point.name for point in m.points]) for m in models])
    )


@post(
    "/models",
    summary="Register a Thing Model",
    tags=["things"],
    request_max_body_size=MAX_BODY,
    operation_class=TakesModel,
)
async def register_model(request: AnyRequest, node: TheNode) -> Response[bytes]:
    """Register a Thing Model of the caller's organisation; it is never changed: another one gets another id."""
    caller = request.user
    node.authority.on_own(caller, "thing.register")
    document = read_document(await request.body())
    if findings := check_model(document):
        refuse(findings)
    model = await node.things.models.register(document, organisation=caller.organisation, actor=caller.principal)
    points = [point.name for point in model.points]
    return response(json_answer(ModelView(model.id, model.title, model.version, points), 201))


@post(
    "/models/fill", status_code=200, summary="Fill in a Thing Model", tags=["things"], request_max_body_size=MAX_BODY,
    operation_class=TakesModel,
)  # fmt: skip
async def fill_model(request: AnyRequest, node: TheNode) -> Response[bytes]:
    """Return the Thing Description that a Thing Model (a document, or the id of one) becomes; nothing is registered."""
    caller = request.user
    node.authority.on_own(caller, "thing.read")
    try:
        asked = msgspec.convert(read_document(await request.body()), Fill)
    except msgspec.ValidationError as error:
        raise Invalid(str(error)) from error
    given = asked.thing_model
    model = _document(node, given, caller.organisation) if isinstance(given, str) else given
    if model is None:
        raise NotFound("there is no such Thing Model")
    if findings := check_model(model):
        refuse(findings)
    document = filled(
        model, asked.placeholders, lambda id_: _document(node, id_, caller.organisation), without=asked.without
    )
    if findings := check_description(document):
        refuse(findings)
    return response(Answer(200, msgspec.json.encode(document), JSON))


def _document(node: Node, id: str, organisation: str) -> Mapping[str, Any] | None:
    model = node.things.models.get(id, organisation)
    return None if model is None else model.document
