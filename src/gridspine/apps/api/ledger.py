"""Receipts and checkpoints of the ledger."""

import asyncio
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath, FromQuery

from gridspine.apps.api.authenticate import PUBLIC
from gridspine.apps.api.dependency import TheNode
from gridspine.apps.node.node import Node
from gridspine.infra.log.scan import scan
from gridspine.infra.log.topics import LEDGER
from gridspine.infra.registry.port import Event
from gridspine.kernel.errors import NotFound
from gridspine.kernel.time import format_rfc3339
from gridspine.things.history import periods

_LOOKED_AT = 20_000


class EntryView(msgspec.Struct, frozen=True):
    """An event that has a receipt: ask for it by ``id``."""

    id: str
    type: str
    time: str
    subject: str
    actor: str


@get("/receipts", summary="Find receipts", tags=["ledger"])
async def find_receipts(request: Request[Any, Any, Any], node: TheNode, subject: FromQuery[str]) -> list[EntryView]:
    """List the recorded events about a grant, command, Thing, site or programme of the caller's organisation."""
    _concerned(node, request, subject)
    events = [one for one in await asyncio.to_thread(_events_about, node, subject) if _theirs(request, one)]
    return [EntryView(e.id, e.type, format_rfc3339(e.time_us), e.subject, e.actor) for e in events]


@get("/receipts/{event_id:str}", summary="Get a receipt", tags=["ledger"])
async def read_receipt(request: Request[Any, Any, Any], node: TheNode, event_id: FromPath[str]) -> Response[bytes]:
    """Return the receipt of a recorded event; it verifies offline with `gridspine ledger verify`."""
    await asyncio.to_thread(node.ledger.catch_up)
    try:
        receipt = await asyncio.to_thread(node.ledger.receipt, event_id)
        place = node.ledger.place(event_id)
    except NotFound:
        raise _nothing() from None
    record = (await asyncio.to_thread(node.log.read, LEDGER, 0, place.offset, max_records=1))[0]
    event = msgspec.json.decode(record.body, type=Event)
    _concerned(node, request, event.subject)
    if not _theirs(request, event):
        raise _nothing()
    return Response(msgspec.json.encode(receipt), media_type="application/json")


@get("/ledger/checkpoint", opt=PUBLIC, summary="The ledger's signed head", tags=["ledger"], media_type="text/plain")
async def read_checkpoint(node: TheNode) -> str:
    """Return the signed checkpoint: origin, size, root."""
    return await asyncio.to_thread(node.ledger.checkpoint)


@get("/ledger/key", opt=PUBLIC, summary="The ledger's public key", tags=["ledger"], media_type="text/plain")
async def read_ledger_key(node: TheNode) -> str:
    """Return the key that receipts verify with, as a signed-note verifier key."""
    return str(node.ledger.key)


def _concerned(node: Node, request: Request[Any, Any, Any], subject: str) -> None:
    """Raise `NotFound` unless ``subject`` is a grant, product, command or Thing of the caller's organisation.

    Sites, programmes and what belongs to them concern whose they are, and who takes part.
    """
    organisation = request.user.organisation
    if node.controls.concern(subject, organisation):
        return
    grant = node.gate.grant(subject)
    if grant is not None and organisation in {grant.owner, grant.consumer}:
        return
    try:
        if node.access.product(subject).owner == organisation:
            return
    except NotFound:
        pass
    try:
        if periods(node.things.get(subject), organisation):
            return
    except NotFound:
        pass
    try:
        command = node.commands.commander.command(subject)
        if node.things.get(command.lease.thing).organisation == organisation:
            return
    except NotFound:
        pass
    raise _nothing()


def _theirs(request: Request[Any, Any, Any], event: Event) -> bool:
    """Whether what happened to a Thing did so while it was the organisation's of the caller, or made it another's."""
    told = {event.data.get("organisation"), event.data.get("before")}
    return not event.type.startswith("thing.") or request.user.organisation in told


def _nothing() -> NotFound:
    return NotFound("the ledger holds nothing of that name for you")


def _events_about(node: Node, subject: str) -> list[Event]:
    first, following = node.log.bounds(LEDGER)[0]
    found = []
    wanted = subject.encode()
    for record in scan(node.log, LEDGER, 0, max(first, following - _LOOKED_AT), following, max_records=2000):
        if wanted in record.body:
            event = msgspec.json.decode(record.body, type=Event)
            if event.subject == subject:
                found.append(event)
    return found
