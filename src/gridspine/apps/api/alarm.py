"""Alarms: seen and acknowledged."""

from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.params import JSONBody

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.thing import permitted, readable
from gridspine.kernel.errors import Invalid, NotFound
from gridspine.kernel.ids import split_point_id
from gridspine.kernel.time import format_rfc3339
from gridspine.things.alarm import Alarm, AlarmKind
from gridspine.things.point import UNKNOWN


class Seen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which alarm was seen: of ``point`` (its id), of ``kind``; and what its reader says to it."""

    point: str
    kind: AlarmKind
    note: str = ""


class AlarmView(msgspec.Struct, frozen=True, rename="camel"):
    """An alarm; ``over`` is null while its condition lasts."""

    point: str
    kind: str
    priority: str
    first: str
    last: str
    count: int
    value: float | None
    over: str | None
    acknowledged_by: str
    note: str


@get("/alarms", summary="List alarms", tags=["alarms"])
async def list_alarms(request: Request[Any, Any, Any], node: TheNode) -> list[AlarmView]:
    """List the alarms of the caller's organisation, the most pressing first."""
    things = readable(node, request.user, "alarm.read")
    alarms = node.alarms.of(request.user.organisation)
    if request.user.kind == "device":
        own = {thing.id for thing in things}
        alarms = [alarm for alarm in alarms if split_point_id(alarm.point)[0] in own]
    return [alarm_view(alarm) for alarm in alarms]


@post("/alarms/acknowledge", status_code=200, summary="Acknowledge an alarm", tags=["alarms"])
async def acknowledge_alarm(request: Request[Any, Any, Any], node: TheNode, data: JSONBody[Seen]) -> AlarmView:
    """Say that the alarm was seen; it goes when its condition is over, too."""
    thing, _ = split_point_id(data.point)
    permitted(node, request, thing, "alarm.handle")
    number = node.points.number(data.point)
    if number == UNKNOWN:
        raise NotFound("there is no such point")
    if len(data.note) > 1000:
        raise Invalid("note: at most 1000 characters")
    return alarm_view(await node.alarms.acknowledge(number, data.kind, request.user.name, data.note))


def alarm_view(alarm: Alarm) -> AlarmView:
    """Return an alarm as it is shown."""
    return AlarmView(
        alarm.point, alarm.kind.value, alarm.priority.name.lower(), format_rfc3339(alarm.first_us),
        format_rfc3339(alarm.last_us), alarm.count, alarm.value,
        None if alarm.over_us is None else format_rfc3339(alarm.over_us), alarm.acknowledged_by, alarm.note,
    )  # fmt: skip
