"""EiReport at the VTN: what VENs can report is asked for, and what they do is durable before it is answered."""

import msgspec

from gridspine.adapters.openadr2 import message as m
from gridspine.adapters.openadr2 import message_report as r
from gridspine.adapters.openadr2.book import Asked
from gridspine.adapters.openadr2.desk import Asker, Desk
from gridspine.adapters.openadr2.problem import INVALID_ID, NO_SUCH_REPORT, Refused
from gridspine.adapters.openadr2.report import METADATA, Row, rows_of, wanted_of
from gridspine.kernel.readings import MAX_BATCH, named_readings
from gridspine.kernel.time import US


async def register(desk: Desk, asker: Asker, given: r.RegisterReport) -> m.Message:
    """Ask for what is wanted of the reports that a VEN offers; what it was asked for before holds no more."""
    ven, _ = asker.registered(given.ven_id)
    async with desk.turn(ven.id):
        record = asker.record(ven)
        asked: dict[str, Asked] = {}
        requests: list[r.ReportRequest] = []
        for offered in given.reports:
            if not offered.name.startswith(METADATA):
                raise Refused(NO_SUCH_REPORT, "reportName: to register a report is to send its METADATA_…")
            id_ = f"{ven.id}-{record.numbered + len(asked) + 1}"
            found = wanted_of(ven, offered, id_, desk.settings.report_s * US)
            if found is not None:
                asked[id_] = found[0]
                requests.append(found[1])
        await desk.put(ven, msgspec.structs.replace(record, asked=asked, numbered=record.numbered + len(asked)))
    response = m.Response(request_id=given.request_id)
    return r.RegisteredReport(response=response, requests=tuple(requests), ven_id=ven.id)


async def update(desk: Desk, asker: Asker, given: r.UpdateReport) -> m.Message:
    """Take reports in. What was not asked for is answered so; the others are taken all the same."""
    ven, record = asker.registered(given.ven_id)
    now_us = desk.clock.now_us()
    rows: list[Row] = []
    unknown = ""
    for report in given.reports:
        asked = record.asked.get(report.request_id)
        if asked is None or asked.specifier_id != report.specifier_id:
            unknown = unknown or report.request_id
            continue
        rows += rows_of(asked, report, now_us)
    late_us = now_us - round(desk.settings.backfill_after_s * US)
    for backfill in (False, True):
        some = [row for row in rows if (row[2] < late_us) == backfill]
        for at in range(0, len(some), MAX_BATCH):
            await desk.context.intake(named_readings(some[at : at + MAX_BATCH]), asker.source, backfill=backfill)
    if unknown:
        raise Refused(INVALID_ID, f"reportRequestID: {unknown[:80]!r} was not asked for; what was is taken")
    return r.UpdatedReport(response=m.Response(request_id=given.request_id), ven_id=ven.id)


async def create(desk: Desk, asker: Asker, given: r.CreateReport) -> m.Message:
    """Refuse: this VTN offers no reports."""
    asker.registered(given.ven_id)
    raise Refused(NO_SUCH_REPORT, "this VTN offers no reports")


async def cancel(desk: Desk, asker: Asker, given: r.CancelReport) -> m.Message:
    """Refuse: there is no report of this VTN to be cancelled."""
    asker.registered(given.ven_id)
    raise Refused(INVALID_ID, "reportRequestID: this VTN sends no reports")


async def noted(desk: Desk, asker: Asker, given: m.Message) -> m.Message:
    """Answer what needs no more than that: what VENs answer themselves."""
    ven, _ = asker.registered(given.ven_id)
    return m.Answer(response=m.Response(request_id=given.response.request_id), ven_id=ven.id)
