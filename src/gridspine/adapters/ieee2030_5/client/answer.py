"""Responses: what a client has to say of each control, once, in the order in which it happens. Pure; no I/O.

::

    received 1 ─► started 2 ─► completed 3
         │            └─► superseded 7 · cancelled 6 · opted out 4 (in again 5) · over, and opted out 8
         ├─► superseded 7 · cancelled 6 · over, and opted out of all of it 10
         └─► cannot be followed: 252, 253 · came when it was over: 254

    responseRequired   bit 0: received    bit 1: what became of it    bit 2: what people decided

Source: IEEE 2030.5-2018 ``sep.xsd``, ResponseStatus and responseRequired by the numbers that its open implementations
use; the clauses were not read.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from gridspine.adapters.ieee2030_5.client.der_control import EXPIRED
from gridspine.adapters.ieee2030_5.mrid import short
from gridspine.adapters.ieee2030_5.wire import Part, part, text
from gridspine.kernel.time import US

RECEIVED, STARTED, COMPLETED, OPTED_OUT, OPTED_IN, CANCELLED, SUPERSEDED = range(1, 8)
PARTLY_OUT, NO_PART = 8, 10
FINAL = frozenset({COMPLETED, CANCELLED, PARTLY_OUT, NO_PART, 252, 253, 254})
DECIDED = frozenset({OPTED_OUT, OPTED_IN})


class Standing(NamedTuple):
    """How a control stands now: from when until when it is carried out [µs since 1970], and what of it is.

    ``held``: anything of it is carried out, or nothing better is in its way; ``out``: its owner opted out;
    ``gone``: its server cancelled it, or listed it no more before it was over; ``superseded``: its server says so.
    """

    begin_us: int
    end_us: int
    held: bool
    out: bool = False
    gone: bool = False
    superseded: bool = False
    problem: int = 0


def due(told: Sequence[int], now: Standing, now_us: int) -> Iterator[int]:
    """Yield the statuses to answer with now, of a control of which ``told`` were said already."""
    if told and told[-1] in FINAL:
        return
    if not told:
        if now.end_us <= now_us:
            yield EXPIRED
            return
        yield RECEIVED
    if now.problem:
        yield now.problem
    elif now.gone:
        yield CANCELLED
    elif now_us >= now.end_us:
        yield from _over(told, now)
    else:
        yield from _running(told, now, now_us)


def _over(told: Sequence[int], now: Standing) -> Iterator[int]:
    if now.superseded or (told and told[-1] == SUPERSEDED):
        return  # what took its place is answered for instead
    if now.out or last_of(told, DECIDED) == OPTED_OUT:
        yield PARTLY_OUT if STARTED in told else NO_PART
    else:
        yield COMPLETED


def _running(told: Sequence[int], now: Standing, now_us: int) -> Iterator[int]:
    said_out = OPTED_OUT in told and last_of(told, DECIDED) == OPTED_OUT
    if now.out != said_out:
        yield OPTED_OUT if now.out else OPTED_IN
    if now.out:
        return
    lost = now.superseded or (now.begin_us <= now_us and not now.held)
    if lost:
        if SUPERSEDED not in told:
            yield SUPERSEDED
    elif now.begin_us <= now_us and STARTED not in told:
        yield STARTED


def last_of(told: Sequence[int], among: frozenset[int]) -> int:
    """Return the status ``among`` some that was said last, 0 for none."""
    return next((one for one in reversed(told) if one in among), 0)


def wanted(status: int, required: int) -> bool:
    """Whether a server that says ``required`` (responseRequired) wants to be told of a status."""
    if status == RECEIVED:
        return bool(required & 1)
    return bool(required & (4 if status in DECIDED else 2))


def response(subject: str, status: int, lfdi: str, at_us: int) -> Part:
    """Return the DERControlResponse that says so."""
    return part(
        "DERControlResponse", text("createdDateTime", at_us // US), text("endDeviceLFDI", lfdi),
        text("status", status), text("subject", subject), href=f"/rsp/{short(subject, str(status))}",
    )  # fmt: skip
