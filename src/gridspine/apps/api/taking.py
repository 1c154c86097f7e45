"""A Thing taken into the directory by ``POST /things``: by its description, or as one of a known model.

The framework's route and the fast lane (`RegistrationLane`) both answer by `take_thing`.
"""

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from gridspine.apps.api.answer import JSON, Answer, failure
from gridspine.apps.api.authenticate import by_authorization
from gridspine.apps.api.body import read_body
from gridspine.apps.api.connection import send_answer
from gridspine.apps.api.description import taken
from gridspine.apps.api.thing import NewThing, check_speakers, may_connect, view
from gridspine.apps.node.node import Node
from gridspine.infra.identity.caller import Caller
from gridspine.kernel.errors import Invalid, UnsupportedMedia
from gridspine.things.directory import Thing
from gridspine.things.exposed import LD_JSON, TD_JSON, thing_url
from gridspine.things.registrar import Caller as Registering
from gridspine.things.td.document import MAX_TD_BYTES, read_document

PATH = "/things"
MAX_BODY = 2 * MAX_TD_BYTES
"""Bytes of a request's body at most."""
_UNUSUAL = frozenset({b"content-encoding", b"transfer-encoding", b"expect"})
_new_thing = msgspec.json.Decoder(NewThing)


async def take_thing(node: Node, caller: Caller, media: str, body: bytes) -> Answer:
    """Register the Thing in ``body``, of media type ``media``, as ``caller``; return the answer, 201."""
    if media == JSON and b'"@context"' not in body:
        return await _take_plain(node, caller, body)
    check_media(media, TD_JSON, JSON, LD_JSON)
    document = read_document(body)
    thing, description = await node.registrar.create(document, registering(node, caller, ""))
    return created(thing, msgspec.json.encode(taken(thing, description)))


def registering(node: Node, caller: Caller, id: str) -> Registering:
    """Return the caller when it may register a Thing; raise `Forbidden`, `Overloaded`."""
    node.authority.on_thing(caller, "thing.register", Thing(id, caller.organisation, "any", ""))
    node.quotas.things(node.things.count(caller.organisation))
    return as_registrar(node, caller)


def as_registrar(node: Node, caller: Caller) -> Registering:
    """Return the caller as the registrar knows it."""
    return Registering(caller.organisation, caller.principal, lambda: may_connect(node, caller))


def created(thing: Thing, body: bytes, tag: str = "") -> Answer:
    """Return the answer for a Thing that is there now; without a ``tag`` it is known by its version alone."""
    return Answer(201, body, JSON, {"Location": thing_url("", thing.id), "ETag": tag or f'"{thing.version}"'})


def check_media(media: str, *taken: str) -> None:
    """Raise `UnsupportedMedia` for a body that is none of what is ``taken``."""
    if media not in taken:
        raise UnsupportedMedia(f"send {' or '.join(taken)}")


def media_type(content_type: str) -> str:
    """Return the media type in a ``Content-Type``, in small letters and without parameters."""
    return content_type.partition(";")[0].strip().lower()


def read_new_thing(body: bytes, organisation: str) -> Thing:
    """Return the Thing of a known model that JSON asks for; raise `Invalid`."""
    try:
        data = _new_thing.decode(body)
    except msgspec.ValidationError as error:
        raise Invalid(str(error)) from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Invalid(f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise Invalid("the body nests too deeply") from error
    return Thing(
        data.id, organisation, data.title, data.model,
        adapter=data.adapter, connection=data.connection, devices=data.devices,
    )  # fmt: skip


async def _take_plain(node: Node, caller: Caller, body: bytes) -> Answer:
    return await keep_plain(node, caller, read_new_thing(body, caller.organisation))


async def keep_plain(node: Node, caller: Caller, thing: Thing) -> Answer:
    """Register a Thing of a known model as ``caller``; return the answer, 201. Raises `Forbidden`, `Overloaded`."""
    node.authority.on_thing(caller, "thing.register", thing)
    node.quotas.things(node.things.count(thing.organisation))
    if thing.connection and thing.organisation not in node.settings.adapters.connect_for:
        node.authority.on_node(caller, "node.connect")
    check_speakers(node, caller, thing)
    kept = await node.things.register(thing, actor=caller.principal)
    return created(kept, msgspec.json.encode(view(node, kept)))


class RegistrationLane:
    """The fast lane of ``POST /things``: an ASGI application before another, which gets all that is unusual."""

    def __init__(self, node: Node, app: ASGIApp) -> None:
        self._node, self._app = node, app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Register a Thing, or pass the request on."""
        answer = None
        if scope["type"] == ScopeType.HTTP and scope["path"] == PATH and scope["method"] == "POST":
            answer = await self._take(scope, receive)
        if answer is None:
            await self._app(scope, receive, send)
        else:
            await send_answer(answer, send)

    async def _take(self, scope: HTTPScope, receive: Receive) -> Answer | None:
        headers = dict(scope["headers"])
        size = headers.get(b"content-length", b"")
        if scope["query_string"] or not size.isdigit() or len(size) > 6 or not _UNUSUAL.isdisjoint(headers):
            return None
        if int(size) > MAX_BODY:
            return None
        try:
            caller = by_authorization(self._node.identity, scope)
            if caller is None:
                return None
            body = await read_body(size.decode(), receive, MAX_BODY)
            media = media_type(headers.get(b"content-type", b"").decode("latin-1"))
            return await take_thing(self._node, caller, media, body)
        except Exception as error:
            return failure(error, PATH)
