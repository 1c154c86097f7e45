"""``POST /things/batch``: many Things registered in one request, with an answer for each.

::

    body ─► items, as sent ─► `SLICE` of them: read, checked, planned in turns ─► one commit ─► the next slice …
                                  └ refused, or there already as it is: its answer
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec
from litestar import Request, post

from gridspine.apps.api.answer import JSON
from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.takes import TakesThings
from gridspine.apps.api.taking import check_media, media_type, read_new_thing
from gridspine.apps.api.thing import check_speakers, may_connect
from gridspine.apps.node.node import Node
from gridspine.infra.identity.caller import Caller
from gridspine.infra.runtime.turn import Turn
from gridspine.kernel.errors import Forbidden, GridspineError, Invalid, NotFound, Overloaded, TooLarge
from gridspine.things.directory import MAX_AT_ONCE, Thing
from gridspine.things.registrar import Caller as Registering
from gridspine.things.registrar import Planned
from gridspine.things.td.document import Finding, read_document

NDJSON = "application/x-ndjson"
SLICE = 1_000
"""Things that one commit keeps."""
_NO_CONNECTION = "connection: your organisation may not say where the node connects to"
_items = msgspec.json.Decoder(list[msgspec.Raw])


class _Named(msgspec.Struct):
    id: Any = ""


_named = msgspec.json.Decoder(_Named)


class RefusedThing(msgspec.Struct, frozen=True, rename="camel"):
    """Why one Thing of a batch was not registered: its place in what was sent, a stable ``reason``, words.

    ``validation_errors`` are what is wrong with a description, field by field.
    """

    index: int
    reason: str
    detail: str
    id: str = ""
    validation_errors: list[Finding] = []


class Registration(msgspec.Struct, frozen=True, rename="camel"):
    """What became of a batch: ``received = registered + unchanged + refused``.

    ``ids`` has the id of each Thing in the order they were sent, null where it was refused. ``unchanged`` ones were
    there already, just as they were sent.
    """

    received: int
    registered: int
    unchanged: int
    refused: int
    ids: list[str | None]
    problems: list[RefusedThing]


@post("/things/batch", status_code=200, summary="Register many Things", tags=["things"], operation_class=TakesThings)
async def register_things(request: Request[Any, Any, Any], node: TheNode) -> Registration:
    """Register up to 10,000 Things of the caller's organisation; one that is refused does not stop the others.

    Body: a JSON array, or one a line (`application/x-ndjson`), of Thing Descriptions and of Things of a known model
    (`title`, `model`; `id`, `adapter`, `connection` and `devices` may be left out). What has an id can be sent again:
    a Thing that is there already, just so, is `unchanged`.

    When this has answered, the registered ones are durable and their points may report. They are kept 1,000 at a time:
    of a request that got no answer the first ones may be there. Those that are more than the organisation may have
    (``quotas.things``) are refused, each as ``overloaded``.
    """
    media = media_type(str(request.headers.get("content-type", JSON)))
    check_media(media, JSON, NDJSON)
    items = _split(await request.body(), media)
    if len(items) > MAX_AT_ONCE:
        raise TooLarge(f"at most {MAX_AT_ONCE} Things at once: send several smaller requests")
    node.authority.on_own(request.user, "thing.register")
    batch = _Batch(node, request.user)
    for start in range(0, len(items), SLICE):
        await batch.take(items[start : start + SLICE])
    return batch.answer()


def _split(body: bytes, media: str) -> Sequence[bytes | msgspec.Raw]:
    if media == NDJSON:
        return [line for line in body.splitlines() if line.strip()]
    try:
        return _items.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Invalid(f"a JSON array of objects is needed: {error}") from error


class _Batch:
    """Things on their way into the directory, and what became of those before them."""

    def __init__(self, node: Node, caller: Caller) -> None:
        self._node, self._organisation, self._who = node, caller.organisation, caller
        # Whether the caller may say where the node connects to is decided, and recorded, once.
        self._caller = Registering(caller.organisation, caller.principal, cache(lambda: may_connect(node, caller)))
        self._turn = Turn(node.clock)
        self._present = node.things.count(caller.organisation)
        self._over: Overloaded | None = None
        self._ids: list[str | None] = []
        self._problems: list[RefusedThing] = []
        self._unchanged = 0

    async def take(self, items: Sequence[bytes | msgspec.Raw]) -> None:
        """Register some more."""
        outcomes: list[Planned | Thing | GridspineError] = []
        for item in items:
            try:
                outcomes.append(await self._planned(bytes(item)))
            except GridspineError as error:
                outcomes.append(error)
            await self._turn.piece_done()
        planned = [one for one in outcomes if isinstance(one, Planned)]
        kept = iter(await self._kept(planned))
        for one, item in zip(outcomes, items, strict=True):
            self._note(next(kept) if isinstance(one, Planned) else one, bytes(item))
            await self._turn.piece_done()

    def answer(self) -> Registration:
        """Return what became of all."""
        received, refused = len(self._ids), len(self._problems)
        registered = received - refused - self._unchanged
        return Registration(received, registered, self._unchanged, refused, self._ids, self._problems)

    async def _planned(self, item: bytes) -> Planned | Thing:
        """Return what one item asks for, or the Thing that is there already just so; raise why it cannot be."""
        if b'"@context"' in item:
            planned = await self._node.registrar.planned(read_document(item), self._caller)
        else:
            planned = Planned(read_new_thing(item, self._organisation))
            if planned.thing.connection and not self._caller.connect():
                raise Forbidden(_NO_CONNECTION)
            check_speakers(self._node, self._who, planned.thing)
        known = _known(self._node, planned.thing.id) if planned.thing.id else None
        if known is None or known.retired:  # one that comes back is one more
            self._within_quota()
        elif await self._node.registrar.is_same(known, planned):
            self._unchanged += 1
            return known
        return planned

    def _within_quota(self) -> None:
        """Count one more; raise `Overloaded` beyond the quota: once it is met, it is not asked again."""
        if self._over is None:
            try:
                self._node.quotas.things(self._present)
            except Overloaded as error:
                self._over = error
        if self._over is not None:
            raise self._over
        self._present += 1

    async def _kept(self, planned: Sequence[Planned]) -> Sequence[Thing | GridspineError]:
        """Keep some; what keeps the very first from being kept is the answer to the whole request."""
        try:
            return await self._node.registrar.keep_all(planned, self._caller)
        except GridspineError as error:
            if not self._ids:
                raise
            return [error] * len(planned)

    def _note(self, outcome: Planned | Thing | GridspineError, item: bytes) -> None:
        if isinstance(outcome, GridspineError):
            found = outcome.extra.get("validationErrors", [])
            findings = [Finding(one["field"], one["description"]) for one in found]
            said = RefusedThing(len(self._ids), outcome.code, outcome.detail, _id_in(item), findings)
            self._problems.append(said)
            self._ids.append(None)
        else:
            assert isinstance(outcome, Thing), "what was planned was kept, or refused"
            self._ids.append(outcome.id)


def _id_in(item: bytes) -> str:
    """Return the id that a refused item has, as far as it can be read."""
    try:
        return str(_named.decode(item).id)[:256]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""


def _known(node: Node, id: str) -> Thing | None:
    try:
        return node.things.get(id)
    except NotFound:
        return None
