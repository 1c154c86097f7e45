"""Reports: what a VEN tells of an event; kept as it was told, for itself and for who runs the programme.

What one tells of Things is durable first, while others write: whether it may be kept is asked before that, and again.
"""

from collections import Counter

import msgspec

from gridspine.adapters.openadr3 import edition, event, program
from gridspine.adapters.openadr3.book import no_such
from gridspine.adapters.openadr3.call import Answer, Call, said
from gridspine.adapters.openadr3.vtn import Vtn
from gridspine.adapters.openadr3.wire import Record, ReportRequest, body_of
from gridspine.kernel.errors import Invalid, NotFound

KEPT = 5_000
"""Reports of a programme that are kept; of more the oldest of who has most go."""


async def search(vtn: Vtn, call: Call) -> Answer:
    """Answer ``GET /reports``."""
    call.port.check("programme.read")
    of, upon, name = call.one("programID"), call.one("eventID"), call.one("clientName")
    found = (
        one
        for one in vtn.book.all("REPORT")
        if _visible(call, one)
        and of in {None, one.parent}
        and upon in {None, one.body["eventID"]}
        and name in {None, one.body["clientName"]}
    )
    return said([_shown(one, call) for one in call.page(found)])


async def get(vtn: Vtn, call: Call) -> Answer:
    """Answer ``GET /reports/{reportID}``."""
    return said(_shown(_find(vtn, call), call))


async def create(vtn: Vtn, call: Call) -> Answer:
    """Answer ``POST /reports``."""
    request, of = _asked(vtn, call)
    record = Record(
        kind="REPORT", id=vtn.new_id(), organisation=of.organisation, client=call.client, created_us=call.now_us,
        modified_us=call.now_us, body=body_of(request), parent=of.parent,
    )  # fmt: skip
    await vtn.kept(record, "CREATE")
    await _make_room(vtn, of.parent)
    return said(_shown(record, call), 201)


async def update(vtn: Vtn, call: Call) -> Answer:
    """Answer ``PUT /reports/{reportID}``."""
    request, _ = _asked(vtn, call)
    before = _own(vtn, call)
    record = msgspec.structs.replace(before, modified_us=call.now_us, body=body_of(request))
    await vtn.kept(record, "UPDATE")
    return said(_shown(record, call))


async def delete(vtn: Vtn, call: Call) -> Answer:
    """Answer ``DELETE /reports/{reportID}``."""
    found = _own(vtn, call)
    await vtn.gone([found])
    return said(_shown(found, call))


async def take(vtn: Vtn, call: Call) -> None:
    """Take what a report that is to be kept tells of Things; returns when that is durable."""
    request, _ = _asked(vtn, call)
    await vtn.take(call.port.source, request)


def _asked(vtn: Vtn, call: Call) -> tuple[ReportRequest, Record]:
    """Return the report that is to be kept, new or changed, and its event; raise what speaks against it."""
    call.check_ven()
    before = _own(vtn, call) if len(call.path) > 1 else None
    request, further = edition.read_request(call, "REPORT", ReportRequest)
    of = _event(vtn, call, request.event_id)
    _check_program(further, of)
    vtn.book.check_bytes(of.organisation, "", len(call.body))
    if before is None:
        vtn.book.check_room("REPORT", of.organisation, call.client)
    elif of.parent != before.parent:
        raise Invalid("eventID: a report stays with its program")
    return request, of


async def _make_room(vtn: Vtn, program: str) -> None:
    """Let reports go where a programme has too many: none of who tells little makes room for who tells much."""
    reports = [one for one in vtn.book.below(program) if one.kind == "REPORT"]
    while len(reports) > KEPT:
        most = Counter(one.client for one in reports).most_common(1)[0][0]
        oldest = next(one for one in reports if one.client == most)
        await vtn.book.forget([oldest])
        reports.remove(oldest)


def _shown(record: Record, call: Call) -> dict[str, object]:
    return edition.shown(record, call.edition, {"programID": record.parent} if call.edition == "3.0.1" else None)


def _visible(call: Call, record: Record) -> bool:
    return record.client == call.client or call.runs(record.organisation)


def _find(vtn: Vtn, call: Call) -> Record:
    call.port.check("programme.read")
    found = vtn.book.get("REPORT", call.path[1])
    if not _visible(call, found):
        raise no_such("REPORT")
    return found


def _own(vtn: Vtn, call: Call) -> Record:
    call.check_ven()
    found = _find(vtn, call)
    call.check_maker(found, "report")
    return found


def _event(vtn: Vtn, call: Call, id: str) -> Record:
    try:
        found = event.find(vtn, call, id)
        program.find(vtn, call, found.parent)
    except NotFound as error:
        raise Invalid("eventID: there is no such event") from error
    return found


def _check_program(further: edition.Further, of: Record) -> None:
    if further.fields and further.fields["programID"] != of.parent:
        raise Invalid("programID: the event is of another program")
