"""The intervals of an event as those of the nodes' events: what is to be known, what is to be done. Pure; no I/O."""

from collections.abc import Mapping

from gridspine.adapters.openadr3.payload import control_of, signals_of
from gridspine.adapters.openadr3.period import spans
from gridspine.adapters.openadr3.wire import EventRequest
from gridspine.energy.programme_event import EventInterval


def parts_of(
    event: EventRequest, programme_s: int, now_us: int, modes: frozenset[str], units: Mapping[str, str]
) -> list[EventInterval]:
    """Return those that say anything; of payload types in ``modes`` what is to be done, in ``units``; raise `Invalid`.

    ``programme_s`` [s] is how long intervals last that say nothing, or 0; ``now_us`` [µs since 1970] what *now* means.
    """
    return [
        part
        for span in spans(event, programme_s, now_us)
        if (part := EventInterval(
            span.from_us, span.until_us, signals_of(span.interval.payloads, modes),
            control_of(span.interval.payloads, modes, units),
        )) and (part.signals or part.control.modes)
    ]  # fmt: skip
