"""The page of programmes: their events, and who takes part of one's own."""

from typing import Any, NamedTuple

from litestar import Response, get

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.programme import list_programmes
from gridspine.apps.api.programme_event import EventView, list_programme_events
from gridspine.apps.portal.display import organisation_name, value_text
from gridspine.apps.portal.page import PortalRequest, page
from gridspine.energy.control import Control, Mode
from gridspine.energy.programme_event import Signal
from gridspine.kernel.time import parse_rfc3339

SHOWN, EVENTS, INTERVALS = 50, 10, 4
"""Programmes; events of each, the newest; intervals of each: what is shown at most."""
_MODES: dict[Mode, str] = {
    "import_limit_w": "import at most", "export_limit_w": "export at most", "generation_limit_w": "generate at most",
    "load_limit_w": "take at most", "target_w": "come to", "connect": "be connected:", "energise": "be energised:",
    "ramp_s": "within", "gradient_percent_per_s": "no faster than",
}  # fmt: skip
TONES = {"active": "good", "scheduled": "waiting", "completed": "over", "cancelled": "bad"}


class Part(NamedTuple):
    """An interval as it is shown: from when until when [µs since 1970], what it says."""

    from_us: int
    until_us: int
    words: str


@get("/portal/programmes")
async def programmes_page(request: PortalRequest, node: TheNode) -> Response[Any]:
    """List programmes with their newest events."""
    programmes = await list_programmes.fn(request, node)
    events: dict[str, list[EventView]] = {}
    for one in programmes[:SHOWN]:
        events[one.id] = await list_programme_events.fn(request, node, one.id, EVENTS, 0, "")
    organisation = request.user.organisation
    taking = {
        one.id: [
            enrolment for enrolment in node.controls.enrolments.seen(node.controls.programmes.get(one.id), organisation)
            if enrolment.stands(node.clock.now_us())
        ]
        for one in programmes[:SHOWN]
    }  # fmt: skip
    return page(
        request, node, "programmes.html", current="programmes", programmes=programmes[:SHOWN], total=len(programmes),
        events=events, parts={one.id: _parts(one) for found in events.values() for one in found}, tones=TONES,
        counts={id_: len(found) for id_, found in taking.items()}, most=INTERVALS,
        owners={one.owner: organisation_name(node, one.owner) for one in programmes},
    )  # fmt: skip


def _parts(event: EventView) -> list[Part]:
    return [
        Part(
            parse_rfc3339(one.from_), parse_rfc3339(one.until),
            "; ".join([*(_signal(signal) for signal in one.signals), *in_words(one.control)]),
        )
        for one in event.intervals[:INTERVALS]
    ]  # fmt: skip


def _signal(signal: Signal) -> str:
    values = ", ".join(f"{one:g}" if isinstance(one, float) else str(one) for one in signal.values)
    return f"{signal.type} {values}"


def in_words(control: Control) -> list[str]:
    """Return a control as people read it."""
    return [f"{_MODES[mode]} {_said(mode, value)}" for mode, value in control.asked()]


def _said(mode: Mode, value: float) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value_text(value, {"ramp_s": "s", "gradient_percent_per_s": "% a second"}.get(mode, "W"))
