"""EiReport of OpenADR 2.0b. Pure; no I/O. Green Button payloads, confidence and accuracy are left out when read."""

import math

from gridspine.adapters.openadr2 import message_report as r
from gridspine.adapters.openadr2.document import (
    Field,
    Shape,
    duration,
    flag,
    many,
    moment,
    number,
    one,
    word,
    words,
)
from gridspine.adapters.openadr2.wire_event import AVAILABLE
from gridspine.adapters.openadr2.wire_shape import ANSWERED, ITEM, MAYBE_VEN, REQUEST, TARGET
from gridspine.energy.mapping.xml import element

MAX_REPORTS, MAX_DESCRIPTIONS, MAX_INTERVALS, MAX_PAYLOADS = 50, 1_000, 10_000, 200
_STATUS = "oadr:oadrPayloadResourceStatus"
_VALUE = number("value", "ei:payloadFloat/ei:value", None, finite=False)
_PAYLOAD = Shape(
    r.ReportPayload,
    (
        word("rid", "ei:rID"),
        Field("value", lambda node: _finite(_VALUE.read(node)), _VALUE.write),
        flag("online", f"{_STATUS}/oadr:oadrOnline", None),
        flag("override", f"{_STATUS}/oadr:oadrManualOverride", None),
        word("quality", "oadr:oadrDataQuality", ""),
    ),
)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _write_payload(value: r.ReportPayload) -> list[str]:
    said = [element("ei:rID", value.rid)]
    if value.online is not None:
        stands = (("oadrOnline", value.online), ("oadrManualOverride", bool(value.override)))
        said.append(element(_STATUS, [element(f"oadr:{name}", "true" if on else "false") for name, on in stands]))
    else:
        said.append(_VALUE.write(math.nan if value.value is None else value.value))
    return [*said, element("oadr:oadrDataQuality", value.quality)] if value.quality else said


def _payloads() -> Field:
    tag = "oadr:oadrReportPayload"
    reading = many("", tag, _PAYLOAD, most=MAX_PAYLOADS).read
    return Field("payloads", reading, lambda values: "".join(element(tag, _write_payload(value)) for value in values))


_INTERVAL = Shape(
    r.ReportInterval,
    (
        moment("start_us", "xcal:dtstart/xcal:date-time", None),
        duration("duration_us", "xcal:duration/xcal:duration", None),
        word("uid", "xcal:uid/xcal:text", ""),
        _payloads(),
    ),
)
_SAMPLING = Shape(
    r.Sampling,
    (
        duration("min_us", "oadr:oadrMinPeriod"),
        duration("max_us", "oadr:oadrMaxPeriod"),
        flag("on_change", "oadr:oadrOnChange"),
    ),
)
_DESCRIPTION = Shape(
    r.Description,
    (
        word("rid", "ei:rID"),
        one("subject", "ei:reportSubject", TARGET, None),
        one("source", "ei:reportDataSource", TARGET, None),
        word("type", "ei:reportType"),
        ITEM,
        word("reading_type", "ei:readingType"),
        word("market_context", "emix:marketContext", ""),
        one("sampling", "oadr:oadrSamplingRate", _SAMPLING, None),
    ),
)
_REPORT = Shape(
    r.Report,
    (
        moment("start_us", "xcal:dtstart/xcal:date-time", None),
        duration("duration_us", "xcal:duration/xcal:duration", None),
        many("intervals", "strm:intervals/ei:interval", _INTERVAL, most=MAX_INTERVALS),
        word("id", "ei:eiReportID", ""),
        many("descriptions", "oadr:oadrReportDescription", _DESCRIPTION, most=MAX_DESCRIPTIONS),
        word("request_id", "ei:reportRequestID"),
        word("specifier_id", "ei:reportSpecifierID"),
        word("name", "ei:reportName", ""),
        moment("created_us", "ei:createdDateTime"),
    ),
)
_WANTED = Shape(r.Wanted, (word("rid", "ei:rID"), ITEM, word("reading_type", "ei:readingType")))
_SPECIFIER = Shape(
    r.Specifier,
    (
        word("specifier_id", "ei:reportSpecifierID"),
        duration("granularity_us", "xcal:granularity/xcal:duration"),
        duration("back_us", "ei:reportBackDuration/xcal:duration"),
        one("interval", "ei:reportInterval", AVAILABLE, None),
        many("wanted", "ei:specifierPayload", _WANTED, least=1, most=MAX_DESCRIPTIONS),
    ),
)
_ASKED = Shape(
    r.ReportRequest, (word("request_id", "ei:reportRequestID"), one("specifier", "ei:reportSpecifier", _SPECIFIER))
)
_REQUESTS = many("requests", "oadr:oadrReportRequest", _ASKED, most=MAX_REPORTS)
_REPORTS = many("reports", "oadr:oadrReport", _REPORT, most=MAX_REPORTS)
_PENDING = words("pending", "ei:reportRequestID", around="oadr:oadrPendingReports", always=True)
_CANCEL = Shape(
    r.CancelReport,
    (
        REQUEST,
        words("report_request_ids", "ei:reportRequestID", most=MAX_REPORTS),
        flag("to_follow", "pyld:reportToFollow"),
        MAYBE_VEN,
    ),
)

REPORTS: dict[str, Shape] = {
    "oadrRegisterReport": Shape(
        r.RegisterReport, (REQUEST, _REPORTS, MAYBE_VEN, word("report_request_id", "ei:reportRequestID", ""))
    ),
    "oadrRegisteredReport": Shape(r.RegisteredReport, (ANSWERED, _REQUESTS, MAYBE_VEN)),
    "oadrCreateReport": Shape(r.CreateReport, (REQUEST, _REQUESTS, MAYBE_VEN)),
    "oadrCreatedReport": Shape(r.CreatedReport, (ANSWERED, _PENDING, MAYBE_VEN)),
    "oadrUpdateReport": Shape(r.UpdateReport, (REQUEST, _REPORTS, MAYBE_VEN)),
    "oadrUpdatedReport": Shape(
        r.UpdatedReport, (ANSWERED, one("cancel", "oadr:oadrCancelReport", _CANCEL, None), MAYBE_VEN)
    ),
    "oadrCancelReport": _CANCEL,
    "oadrCanceledReport": Shape(r.CanceledReport, (ANSWERED, _PENDING, MAYBE_VEN)),
}
