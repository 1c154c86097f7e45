"""Reports to programmes: what one that is enrolled tells of its Things, made of history by its own act."""

from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath, JSONBody

from gridspine.apps.api.dependency import TheNode, controls_of
from gridspine.energy.programme_report import ProgrammeReport, ReportResource
from gridspine.kernel.time import format_rfc3339, parse_rfc3339

AnyRequest = Request[Any, Any, Any]
MAX_SHOWN = 1_000


class NewReport(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Tell a programme what it asks for under ``payload_type`` (and ``point``, where it asks for several).

    ``from`` and ``until`` (RFC 3339) are whole intervals apart, in the past and within the enrolment.
    """

    enrolment: str
    payload_type: str
    point: str = ""
    event: str = ""
    from_: str = msgspec.field(name="from")
    until: str


class ReportSummary(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A report without its values; ``digest`` is their SHA-256, which the ledger has."""

    id: str
    programme: str
    enrolment: str
    organisation: str
    event: str
    payload_type: str
    point: str
    interval_s: int
    from_: str = msgspec.field(name="from")
    until: str
    at: str
    by: str
    digest: str


class ReportView(ReportSummary, frozen=True, kw_only=True, rename="camel"):
    """A report: one value an interval for each Thing, null where nothing valid was read, or still held."""

    resources: tuple[ReportResource, ...]


@get("/programmes/{programme_id:str}/reports", summary="List reports", tags=["programmes"])
async def list_programme_reports(
    request: AnyRequest, node: TheNode, programme_id: FromPath[str]
) -> list[ReportSummary]:  # fmt: skip
    """List the reports to an own programme, or the own ones to another's, the newest first."""
    found = controls_of(node, request).reports.all(programme_id)
    return [ReportSummary(**_fields(one)) for one in found[:MAX_SHOWN]]


@post("/programmes/{programme_id:str}/reports", summary="Deliver a report", tags=["programmes"])
async def deliver_report(
    request: AnyRequest, node: TheNode, programme_id: FromPath[str], data: JSONBody[NewReport]
) -> ReportView:
    """Make a report of the history of an own enrolment and hand it to the programme."""
    made = await controls_of(node, request).reports.deliver(
        programme_id, data.enrolment, data.payload_type, parse_rfc3339(data.from_), parse_rfc3339(data.until),
        point=data.point, event=data.event,
    )  # fmt: skip
    return ReportView(**_fields(made), resources=(await node.controls.reports.values(made)).resources)


@get("/programmes/{programme_id:str}/reports/{programme_report_id:str}", summary="Read a report", tags=["programmes"])
async def read_programme_report(
    request: AnyRequest, node: TheNode, programme_id: FromPath[str], programme_report_id: FromPath[str]
) -> ReportView:
    """Return a report with its values: to an own programme, or an own one."""
    found = controls_of(node, request).reports.get(programme_id, programme_report_id)
    return ReportView(**_fields(found), resources=(await node.controls.reports.values(found)).resources)


def _fields(one: ProgrammeReport) -> dict[str, Any]:
    return {
        "id": one.id, "programme": one.programme, "enrolment": one.enrolment, "organisation": one.organisation,
        "event": one.event, "payload_type": one.descriptor.payload_type, "point": one.descriptor.point,
        "interval_s": one.descriptor.interval_s, "from_": format_rfc3339(one.from_us),
        "until": format_rfc3339(one.until_us), "at": format_rfc3339(one.at_us), "by": one.by,
        "digest": one.digest,
    }  # fmt: skip
