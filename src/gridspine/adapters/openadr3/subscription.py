"""Subscriptions: who wants to be told of which changes, at which address."""

from collections.abc import Iterator
from typing import Any

import msgspec

from gridspine.adapters.openadr3 import edition, program
from gridspine.adapters.openadr3.book import no_such
from gridspine.adapters.openadr3.call import Answer, Call, said
from gridspine.adapters.openadr3.vtn import Vtn, noun_id
from gridspine.adapters.openadr3.wire import Operation, Record, SubscriptionRequest, body_of
from gridspine.energy.control_port import ControlPort
from gridspine.kernel.errors import GridspineError, Invalid, NotFound


async def search(vtn: Vtn, call: Call) -> Answer:
    """Answer ``GET /subscriptions``."""
    call.port.check("programme.read")
    of, name, wanted = call.one("programID"), call.one("clientName"), call.targets()
    objects = frozenset(call.query.get("objects") or ())
    found = (
        one
        for one in vtn.book.all("SUBSCRIPTION")
        if call.sees(one)
        and of in {None, one.body.get("programID")}
        and name in {None, one.body["clientName"]}
        and (wanted is None or one.targets & wanted)
        and (not objects or any(objects & set(part["objects"]) for part in one.body["objectOperations"]))
    )
    return said([_shown(one, call) for one in call.page(found)])


async def get(vtn: Vtn, call: Call) -> Answer:
    """Answer ``GET /subscriptions/{subscriptionID}``."""
    return said(_shown(_find(vtn, call), call))


async def create(vtn: Vtn, call: Call) -> Answer:
    """Answer ``POST /subscriptions``."""
    call.check_ven()
    request, further = _read(vtn, call)
    vtn.book.check_room("SUBSCRIPTION", call.organisation, call.client)
    record = Record(
        kind="SUBSCRIPTION", id=vtn.new_id(), organisation=call.organisation, client=call.client,
        created_us=call.now_us, modified_us=call.now_us, body=body_of(request), types=further.types,
        edition=call.edition, proof=_proof(call),
    )  # fmt: skip
    await vtn.kept(record, "CREATE")
    return said(_shown(record, call), 201)


async def update(vtn: Vtn, call: Call) -> Answer:
    """Answer ``PUT /subscriptions/{subscriptionID}``."""
    before = _own(vtn, call)
    request, further = _read(vtn, call)
    record = msgspec.structs.replace(
        before, modified_us=call.now_us, body=body_of(request), types=further.types, edition=call.edition,
        proof=_proof(call),
    )  # fmt: skip
    await vtn.kept(record, "UPDATE")
    return said(_shown(record, call))


async def delete(vtn: Vtn, call: Call) -> Answer:
    """Answer ``DELETE /subscriptions/{subscriptionID}``."""
    found = _own(vtn, call)
    await vtn.gone([found])
    return said(_shown(found, call))


def wanting(vtn: Vtn, record: Record, operation: Operation) -> Iterator[tuple[Record, dict[str, Any]]]:
    """Yield the subscriptions that ask for a change of an object, each with where it is to be told."""
    for one in vtn.book.all("SUBSCRIPTION"):
        of = one.body.get("programID")
        if of is not None and of != (record.id if record.kind == "PROGRAM" else record.parent):
            continue
        if one.targets and not one.targets & record.targets:
            continue
        for part in one.body["objectOperations"]:
            if record.kind in part["objects"] and operation in part["operations"]:
                yield one, part


def without_tokens(record: Record) -> Record:
    """Return a record without bearer tokens, which subscriptions have."""
    if record.kind != "SUBSCRIPTION":
        return record
    parts = [
        {name: value for name, value in one.items() if name != "bearerToken"} for one in record.body["objectOperations"]
    ]
    return msgspec.structs.replace(record, body={**record.body, "objectOperations": parts})


def may_see(vtn: Vtn, call: Call, record: Record, guard: frozenset[str]) -> bool:
    """Whether who subscribed may see an object, or might have while it was there."""
    try:
        if record.kind in {"PROGRAM", "EVENT"}:
            return _may_see(vtn, call, record, guard)
        return call.sees(record) or (record.kind == "REPORT" and record.client == call.client)
    except GridspineError:
        return False


def _may_see(vtn: Vtn, call: Call, record: Record, guard: frozenset[str]) -> bool:
    port: ControlPort = call.port
    if record.noun and record.kind == "PROGRAM":
        port.programmes.get(record.noun)
    else:
        of = port.programmes.get(noun_id(record.parent, "PROGRAM"))
        guard |= program.record_of(vtn, of).targets
        if record.noun:
            port.programmes.event(of.id, record.noun)
    if record.organisation != call.organisation:
        return bool(record.noun)
    words = vtn.book.words(call.organisation, call.client)
    return call.bl or all(not targets or bool(targets & words) for targets in (record.targets, guard))


def _read(vtn: Vtn, call: Call) -> tuple[SubscriptionRequest, edition.Further]:
    request, further = edition.read_request(call, "SUBSCRIPTION", SubscriptionRequest)
    if request.program_id is not None:
        try:
            program.find(vtn, call, request.program_id)
        except NotFound as error:
            raise Invalid("programID: there is no such program") from error
    for one in request.object_operations:
        vtn.check_callback(one.callback_url)
        if one.bearer_token and not (one.bearer_token.isascii() and one.bearer_token.isprintable()):
            raise Invalid("bearerToken: printable characters of ASCII are needed")
    return request, further


def _proof(call: Call) -> tuple[str, int, tuple[str, ...] | None]:
    source = call.port.source
    return source.session, source.epoch, source.roles


def _shown(record: Record, call: Call) -> dict[str, Any]:
    """Return a subscription; its bearer tokens are for who gave them."""
    return edition.shown(record if record.client == call.client else without_tokens(record), call.edition)


def _find(vtn: Vtn, call: Call) -> Record:
    call.port.check("programme.read")
    found = vtn.book.get("SUBSCRIPTION", call.path[1])
    if not call.sees(found):
        raise no_such("SUBSCRIPTION")
    return found


def _own(vtn: Vtn, call: Call) -> Record:
    call.check_ven()
    found = _find(vtn, call)
    call.check_maker(found, "subscription")
    return found
