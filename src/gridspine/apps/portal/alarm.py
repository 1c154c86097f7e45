"""The page of alarms: what an operator must know of, and who has seen it."""

from dataclasses import dataclass
from typing import Any

from litestar import Response, get, post

from gridspine.apps.api.alarm import Seen, acknowledge_alarm, list_alarms
from gridspine.apps.api.dependency import TheNode
from gridspine.apps.node.node import Node
from gridspine.apps.portal.display import point_text, slug
from gridspine.apps.portal.page import PortalRequest, form, is_part, page
from gridspine.kernel.errors import Invalid
from gridspine.things.alarm import Alarm, AlarmKind

MAX_SHOWN = 200
"""Alarms listed at most, the most pressing."""

WORDS: dict[AlarmKind, str] = {
    AlarmKind.HIGH: "above its operating limit",
    AlarmKind.LOW: "below its operating limit",
    AlarmKind.RATE: "changes faster than it may",
    AlarmKind.SILENCE: "silent for too long",
    AlarmKind.FLAPPING: "goes to and fro",
    AlarmKind.QUARANTINE: "its source is quarantined",
    AlarmKind.COMMAND: "a command did not have its effect",
    AlarmKind.BEHAVIOUR: "its behaviour raised it",
}
TONES = {"critical": "bad", "high": "bad", "medium": "waiting", "low": "over"}


@dataclass(frozen=True, slots=True)
class AlarmRow:
    """An alarm as it is shown; ``key`` is its part of an element's id."""

    alarm: Alarm
    key: str
    thing: str
    thing_title: str
    point: str
    words: str
    text: str
    priority: str
    tone: str


def alarm_rows(node: Node, organisation: str) -> list[AlarmRow]:
    """Return the alarms of an organisation, the most pressing first."""
    return [_row(node, alarm) for alarm in node.alarms.of(organisation)[:MAX_SHOWN]]


def _row(node: Node, alarm: Alarm) -> AlarmRow:
    urn, point = node.points.place(alarm.number)
    priority = alarm.priority.name.lower()
    return AlarmRow(
        alarm, slug(f"{alarm.number}-{alarm.kind.value}"), urn, node.things.get(urn).title, point.title,
        WORDS[alarm.kind], point_text(point, alarm.value), priority, TONES[priority],
    )  # fmt: skip


@get("/portal/alarms")
async def alarms_page(request: PortalRequest, node: TheNode) -> Response[Any]:
    """List the alarms of the organisation."""
    every = await list_alarms.fn(request, node)  # asks whether the caller may read them
    rows = alarm_rows(node, request.user.organisation) if every else []
    return page(
        request, node, "parts/alarms.html" if is_part(request) else "alarms.html",
        current="alarms", rows=rows, total=len(every),
    )  # fmt: skip


@post("/portal/alarms/acknowledge", status_code=200)
async def acknowledge(request: PortalRequest, node: TheNode) -> Response[Any]:
    """Say that an alarm was seen."""
    fields = await form(request)
    kind = next((known for known in AlarmKind if known.value == fields.get("kind")), None)
    if kind is None:
        raise Invalid("kind: is not one of an alarm")
    await acknowledge_alarm.fn(request, node, Seen(fields.get("point", ""), kind, fields.get("note", "")))
    return await alarms_page.fn(request, node)  # type: ignore[no-any-return]
