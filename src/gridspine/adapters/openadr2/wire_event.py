"""EiEvent and EiOpt of OpenADR 2.0b. Pure; no I/O. Baselines of events are left out when read, and never written."""

from gridspine.adapters.openadr2 import message as m
from gridspine.adapters.openadr2.document import Shape, duration, many, moment, number, one, whole, word
from gridspine.adapters.openadr2.wire_shape import ANSWERED, CODE, ITEM, OPTS, REQUEST, RESPONSE, TARGET, VEN

STATES = ("none", "far", "near", "active", "completed", "cancelled")
MAX_EVENTS, MAX_SIGNALS, MAX_INTERVALS, MAX_TIMES = 200, 20, 3_000, 100
"""What one message has at most, read and told; signals, intervals, times are of one event, signal, opt."""

_DESCRIPTOR = Shape(
    m.Descriptor,
    (
        word("event_id", "ei:eventID"),
        whole("modification_number", "ei:modificationNumber"),
        moment("modified_us", "ei:modificationDateTime", None),
        word("reason", "ei:modificationReason", ""),
        whole("priority", "ei:priority", 0),
        word("market_context", "ei:eiMarketContext/emix:marketContext"),
        moment("created_us", "ei:createdDateTime"),
        word("status", "ei:eventStatus", of=STATES),
        word("test", "ei:testEvent", ""),
        word("comment", "ei:vtnComment", ""),
    ),
)
_PERIOD = Shape(
    m.ActivePeriod,
    (
        moment("start_us", "xcal:dtstart/xcal:date-time"),
        duration("duration_us", "xcal:duration/xcal:duration"),
        duration("start_after_us", "xcal:tolerance/xcal:tolerate/xcal:startafter", None),
        duration("notification_us", "ei:x-eiNotification/xcal:duration", None),
        duration("ramp_up_us", "ei:x-eiRampUp/xcal:duration", None),
        duration("recovery_us", "ei:x-eiRecovery/xcal:duration", None),
    ),
    inner="xcal:properties",
    after="<xcal:components/>",
)
_INTERVAL = Shape(
    m.SignalInterval,
    (
        duration("duration_us", "xcal:duration/xcal:duration", None),
        word("uid", "xcal:uid/xcal:text", ""),
        number("value", "ei:signalPayload/ei:payloadFloat/ei:value"),
    ),
)
_SIGNAL = Shape(
    m.Signal,
    (
        many("intervals", "strm:intervals/ei:interval", _INTERVAL, least=1, most=MAX_INTERVALS),
        one("target", "ei:eiTarget", TARGET, None),
        word("name", "ei:signalName"),
        word("type", "ei:signalType"),
        word("id", "ei:signalID"),
        ITEM,
        number("current", "ei:currentValue/ei:payloadFloat/ei:value", None),
    ),
)
_EI_EVENT = Shape(
    m.EiEvent,
    (
        one("descriptor", "ei:eventDescriptor", _DESCRIPTOR),
        one("period", "ei:eiActivePeriod", _PERIOD),
        many("signals", "ei:eiEventSignals/ei:eiEventSignal", _SIGNAL, least=1, most=MAX_SIGNALS),
        one("target", "ei:eiTarget", TARGET),
    ),
)
_EVENT = Shape(
    m.Event,
    (
        one("event", "ei:eiEvent", _EI_EVENT),
        word("response_required", "oadr:oadrResponseRequired", of=("always", "never")),
    ),
)
_QUALIFIED = Shape(
    m.QualifiedEvent, (word("event_id", "ei:eventID"), whole("modification_number", "ei:modificationNumber"))
)
_EVENT_RESPONSE = Shape(
    m.EventResponse,
    (
        *CODE,
        one("event", "ei:qualifiedEventID", _QUALIFIED),
        word("opt", "ei:optType", of=OPTS),
    ),
)
AVAILABLE = Shape(
    m.Available,
    (moment("start_us", "xcal:dtstart/xcal:date-time"), duration("duration_us", "xcal:duration/xcal:duration")),
    inner="xcal:properties",
)

EVENTS: dict[str, Shape] = {
    "oadrRequestEvent": Shape(
        m.RequestEvent, (REQUEST, VEN, whole("reply_limit", "pyld:replyLimit", None)), inner="pyld:eiRequestEvent"
    ),
    "oadrDistributeEvent": Shape(
        m.DistributeEvent,
        (
            one("response", "ei:eiResponse", RESPONSE, None),
            REQUEST,
            word("vtn_id", "ei:vtnID"),
            many("events", "oadr:oadrEvent", _EVENT, most=MAX_EVENTS),
        ),
    ),
    "oadrCreatedEvent": Shape(
        m.CreatedEvent,
        (
            ANSWERED,
            many("responses", "ei:eventResponses/ei:eventResponse", _EVENT_RESPONSE, most=MAX_EVENTS),
            VEN,
        ),
        inner="pyld:eiCreatedEvent",
    ),
}

OPT: dict[str, Shape] = {
    "oadrCreateOpt": Shape(
        m.CreateOpt,
        (
            word("opt_id", "ei:optID"),
            word("opt", "ei:optType", of=OPTS),
            word("reason", "ei:optReason"),
            word("market_context", "emix:marketContext", ""),
            VEN,
            many("available", "xcal:vavailability/xcal:components/xcal:available", AVAILABLE, most=MAX_TIMES),
            moment("created_us", "ei:createdDateTime"),
            REQUEST,
            one("event", "ei:qualifiedEventID", _QUALIFIED, None),
            one("target", "ei:eiTarget", TARGET),
            one("device_class", "oadr:oadrDeviceClass", TARGET, None),
        ),
    ),
    "oadrCreatedOpt": Shape(m.CreatedOpt, (ANSWERED, word("opt_id", "ei:optID"))),
    "oadrCancelOpt": Shape(m.CancelOpt, (REQUEST, word("opt_id", "ei:optID"), VEN)),
    "oadrCanceledOpt": Shape(m.CanceledOpt, (ANSWERED, word("opt_id", "ei:optID", ""))),
}
