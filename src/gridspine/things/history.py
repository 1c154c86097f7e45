"""The memory of a Thing: what happened to it, gathered from the log's topics.

::

    ledger   life: announced … retired, transferred, meter exchanged, attached    commands: accepted, applied, ended …
    events   changed (title, model, adapter …), incidents about it
    alarms   raised, over, acknowledged
"""

from collections.abc import Callable
from typing import Any

import msgspec

from gridspine.infra.log.topics import EVENTS, LEDGER
from gridspine.infra.registry.port import Event
from gridspine.things.alarm import ALARMS, Alarm, decode_change
from gridspine.things.thing import Thing

KINDS = ("life", "command", "alarm", "incident", "change")
PASSING = ("command", "alarm")
"""Kinds that make room when there is too much: they come by the thousand."""
_MAX_DATA_BYTES = 8_192
_ELSEWHERE = frozenset({"thing.registered", "thing.retired"})
"""Events of the directory whose lives' counterparts are in the ledger, or that the Thing itself tells of."""


class Entry(msgspec.Struct, frozen=True, rename="camel"):
    """Something that happened to a Thing: when [µs since 1970], what, by whom; ``data`` is the event's own.

    ``receipt`` is the id under which the ledger has it ("": it is not in the ledger).
    """

    thing: str
    at_us: int
    id: str
    kind: str
    type: str
    by: str
    data: dict[str, Any] = {}
    receipt: str = ""


def of_ledger(id: str, body: bytes, time_us: int) -> Entry | None:
    """Return what a record of the ledger says of a Thing, if it does."""
    if b'"type":"thing.' not in body and b'"type":"command.' not in body:
        return None
    event = _event(body)
    if event is None:
        return None
    if event.type.startswith("thing."):
        return _entry(event, event.subject, "life", receipt=event.id)
    lease = event.data.get("lease") or {}
    return _entry(event, str(lease.get("thing", "")), "command", receipt=event.id)


def of_events(id: str, body: bytes, time_us: int) -> Entry | None:
    """Return what a record of the events says of a Thing that the ledger does not."""
    if b'"type":"thing.registered"' in body:
        return None  # the most frequent of all: not worth decoding
    if b'"type":"thing.' not in body and b'"type":"incident.' not in body:
        return None
    event = _event(body)
    if event is None or event.type in _ELSEWHERE:
        return None
    if event.type.startswith("incident."):
        return _entry(event, str(event.data.get("subject", "")), "incident")
    return _entry(event, event.subject, "change" if event.type == "thing.changed" else "life", receipt="")


def of_alarms(id: str, body: bytes, time_us: int) -> Entry | None:
    """Return what a record of the alarms says of a Thing."""
    alarm = decode_change(body).alarm
    thing, _, point = alarm.point.partition("/")
    data = {
        "point": point, "alarm": alarm.kind.value, "priority": alarm.priority.name.lower(), "value": alarm.value,
        "count": alarm.count, "note": alarm.note,
    }  # fmt: skip
    return Entry(thing, time_us, id, "alarm", f"alarm.{_stage(alarm)}", alarm.acknowledged_by, data)


READERS: dict[str, Callable[[str, bytes, int], Entry | None]] = {
    LEDGER: of_ledger,
    EVENTS: of_events,
    ALARMS: of_alarms,
}
"""How each topic is read: place, body and time of a record give an entry, or None."""


def periods(thing: Thing, organisation: str) -> list[tuple[int, int | None]]:
    """Return when a Thing was an organisation's, as ``[from, until]`` [µs since 1970]; None: it still is.

    What happened is for those whose it was at the time.
    """
    found: list[tuple[int, int | None]] = []
    since_us = 0
    for former in (*thing.former, None):
        owner = thing.organisation if former is None else former.organisation
        until_us = None if former is None else former.until_us
        if owner == organisation:
            if found and found[-1][1] == since_us:  # only its model changed
                found[-1] = (found[-1][0], until_us)
            else:
                found.append((since_us, until_us))
        since_us = until_us or since_us
    return found


def words(entry: Entry) -> str:
    """Return what happened in a few words, for a line of a timeline."""
    data = entry.data
    if entry.kind == "command":
        lease = data.get("lease") or {}
        became = f"{data.get('state', '')} {data.get('reason', '')}".strip()
        return f"{lease.get('point', '')} to {lease.get('value', '')}: {became}"
    if entry.kind == "alarm":
        return f"{data.get('alarm', '')} of {data.get('point', '')}, {entry.type.removeprefix('alarm.')}"
    if entry.kind == "incident":
        return f"{data.get('title', '')}, {entry.type.removeprefix('incident.')}"
    if entry.kind == "change":
        return "changed: " + ", ".join(sorted(map(str, data.get("patch") or {})))
    what = entry.type.removeprefix("thing.").replace("-", " ")
    return f"{what}: {data['why']}" if data.get("why") else what


def _entry(event: Event, thing: str, kind: str, *, receipt: str = "") -> Entry | None:
    if not thing.startswith("urn:"):
        return None
    data = event.data
    if len(msgspec.json.encode(data)) > _MAX_DATA_BYTES:
        data = {"omitted": "too much to show: its receipt has it all"}
    return Entry(thing, event.time_us, event.id, kind, event.type, event.actor, data, receipt)


def _event(body: bytes) -> Event | None:
    try:
        return msgspec.json.decode(body, type=Event)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _stage(alarm: Alarm) -> str:
    if alarm.acknowledged_us is not None and alarm.acknowledged_us >= max(alarm.last_us, alarm.over_us or 0):
        return "acknowledged"
    return "over" if alarm.over_us is not None else "raised"
