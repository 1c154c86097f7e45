"""Many messages of one client to one batch of readings: what is well formed together, what is not one by one. Pure.

::

    messages  [pack] [pack] [pack] [?] [pack] [{…}]
               └──── columns ────┘  │    │      └ decode_readings, decode_values: one at a time, as careful as ever
                                    └ unreadable: an item of the batch that is a problem
    batch     NamedReadings, items numbered through; a count for each message that has one

A SenML pack is well formed here when it has numbers only, fields that every device uses, and names of its own Thing;
whatever else it holds, the careful decoders decide, so the outcome never hangs on which way a message went.
"""

import dataclasses
from collections.abc import Sequence
from itertools import chain
from typing import Any

import msgspec
import numpy as np

from gridspine.adapters.mqtt.topics import Destination
from gridspine.adapters.mqtt.wire import (
    MAX_SEQUENCE,
    Count,
    Payload,
    decode_readings,
    decode_values,
    relative_times,
    unreadable,
)
from gridspine.kernel.codecs.senml import RELATIVE_BELOW_S
from gridspine.kernel.errors import Invalid
from gridspine.kernel.ids import point_id, split_point_id
from gridspine.kernel.quality import ALL_BITS, Quality
from gridspine.kernel.readings import NamedReadings
from gridspine.kernel.time import MAX_US, MIN_US, US

_OLD = int(Quality.QUESTIONABLE | Quality.OLD_DATA)
_RUN_CHARACTERS = 64
_SENSIBLE_S = MAX_US / US - 1
"""Times from here on [s] are for the careful decoder to judge."""


class Published(msgspec.Struct, frozen=True, gc=False):
    """A message as it came at ``now_us`` [µs]: ``again`` when it was sent before (DUP), ``kept`` when a broker had
    kept it (retained); ``count`` is its own count when it stood outside of the payload."""

    destination: Destination
    body: bytes
    now_us: int
    again: bool = False
    kept: bool = False
    count: Count | None = None


class Batch(msgspec.Struct, frozen=True):
    """What messages said together: ``readings``, the counts of those that had one, how many could not be read."""

    readings: NamedReadings
    counts: list[Count]
    unreadable: int


class _Record(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A SenML record as most devices write it (RFC 8428 §4), with a number, and a message's count."""

    v: float
    bn: str | None = None
    bt: float | None = None
    bu: str | None = None
    n: str = ""
    u: str = ""
    t: float = 0.0
    q: int = 0
    q_: int = 0
    seq: int | None = None
    run: str | int = ""


_decode_pack = msgspec.json.Decoder(list[_Record]).decode


def decode_batch(messages: Sequence[Published]) -> Batch:
    """Return what ``messages`` say, in their order; none is left out: one that cannot be read becomes a problem."""
    parts: list[NamedReadings] = []
    counts: list[Count] = []
    unreadable_messages = 0
    plain: list[Published] = []
    packs: list[list[_Record]] = []
    for message in messages:
        try:
            pack = _decode_pack(message.body) if message.destination.kind == "readings" else None
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pack = None
        if pack is not None:
            plain.append(message)
            packs.append(pack)
            continue
        if plain:
            unreadable_messages += _together(plain, packs, parts, counts)
            plain, packs = [], []
        unreadable_messages += _alone(message, parts, counts)
    if plain:
        unreadable_messages += _together(plain, packs, parts, counts)
    return Batch(join(parts), counts, unreadable_messages)


def join(parts: Sequence[NamedReadings]) -> NamedReadings:
    """Return ``parts`` as one batch; items are numbered on from part to part."""
    if len(parts) == 1:
        return parts[0]
    pairs: dict[tuple[str, str], int] = {}
    names, items, problems, first = [], [], [], 0
    for part in parts:
        index = [pairs.setdefault(pair, len(pairs)) for pair in zip(part.names, part.units, strict=True)]
        names.append(np.array(index, np.int32)[part.name_index] if index else part.name_index)
        items.append(part.item + first)
        problems += [msgspec.structs.replace(problem, index=problem.index + first) for problem in part.problems]
        last = max((problem.index for problem in part.problems), default=-1)
        first += max(int(part.item.max(initial=-1)), last) + 1
    return NamedReadings(
        [name for name, _ in pairs],
        [unit for _, unit in pairs],
        np.concatenate(names) if names else np.zeros(0, np.int32),
        np.concatenate(items) if items else np.zeros(0, np.int64),
        _column(parts, "observed_us", np.int64),
        _column(parts, "value", np.float64),
        _column(parts, "quality", np.uint16),
        problems,
    )


def _column(parts: Sequence[NamedReadings], name: str, kind: Any) -> Any:
    return np.concatenate([getattr(part, name) for part in parts]) if parts else np.zeros(0, kind)


# -- one by one ---------------------------------------------------------------------------------------------------


def decode_one(message: Published) -> Payload:
    """Read one message with the careful decoders; raise `Invalid` when it cannot be read."""
    destination, body, now_us = message.destination, message.body, message.now_us
    old = message.again or message.kept
    if destination.kind == "values":
        payload = decode_values(body, destination.values, now_us=now_us)
        if not old:
            return payload
        later = decode_values(body, destination.values, now_us=now_us + 1)
        relative = np.asarray(payload.readings.observed_us != later.readings.observed_us)
    else:
        thing = destination.things[0]
        payload = decode_readings(body, thing=thing, now_us=now_us)
        if not old:
            return payload
        relative = relative_times(body, thing=thing, now_us=now_us)
    return Payload(_aged(payload.readings, relative, drop=message.kept), payload.count)


def _alone(message: Published, parts: list[NamedReadings], counts: list[Count]) -> int:
    """Append what one message says; return 1 when it cannot be read, else 0."""
    try:
        payload = decode_one(message)
    except Invalid as error:
        parts.append(unreadable(f"topic {message.destination.topic[:200]!r}: {error.detail}"))
        return 1
    parts.append(payload.readings)
    count = payload.count or message.count
    if count is not None:
        counts.append(count)
    return 0


def _aged(readings: NamedReadings, relative: Any, *, drop: bool) -> NamedReadings:
    """Treat readings whose time would be *now* although they are older.

    What a broker had kept says nothing new: it is dropped. What is sent again is kept, marked questionable and old.
    """
    if not relative.any():
        return readings
    if not drop:
        return dataclasses.replace(readings, quality=np.where(relative, readings.quality | _OLD, readings.quality))
    keep = ~relative
    return NamedReadings(
        readings.names, readings.units, readings.name_index[keep], readings.item[keep],
        readings.observed_us[keep], readings.value[keep], readings.quality[keep], readings.problems,
    )  # fmt: skip


# -- together -----------------------------------------------------------------------------------------------------


def _together(
    messages: Sequence[Published], packs: Sequence[list[_Record]], parts: list[NamedReadings], counts: list[Count]
) -> int:
    """Append what well-formed packs say as one part; where one turns out not to be, all go one by one."""
    readings = _columns(messages, packs)
    if readings is None:
        return sum(_alone(message, parts, counts) for message in messages)
    parts.append(readings)
    for message, pack in zip(messages, packs, strict=True):
        count = _count(pack[0]) if pack else None
        if count is None:
            count = message.count
        if count is not None:
            counts.append(count)
    return 0


def _columns(messages: Sequence[Published], packs: Sequence[list[_Record]]) -> NamedReadings | None:
    """Return packs as columns; None when a name, time or quality among them needs a closer look."""
    times: list[float] = []
    pairs: dict[tuple[str, str], int] = {}
    index = _resolve(messages, packs, times, pairs)
    records = packs[0] if len(packs) == 1 else list(chain.from_iterable(packs))
    qualities = [record.q | record.q_ for record in records]
    if not index or (any(qualities) and not all(0 <= quality <= ALL_BITS for quality in qualities)):
        return None
    times_s = np.array(times, np.float64)
    if not -_SENSIBLE_S < min(times) <= max(times) < _SENSIBLE_S:
        return None
    observed = np.rint(times_s * US)
    if min(times) < RELATIVE_BELOW_S:
        if any(message.again or message.kept for message in messages):
            return None
        arrived_us = np.repeat([float(message.now_us) for message in messages], [len(pack) for pack in packs])
        observed += np.where(times_s < RELATIVE_BELOW_S, arrived_us, 0)
        if not MIN_US <= observed.min() <= observed.max() <= MAX_US:
            return None
    return NamedReadings(
        names=[name for name, _ in pairs],
        units=[unit for _, unit in pairs],
        name_index=np.array(index, np.int32),
        item=np.arange(len(records), dtype=np.int64),
        observed_us=observed.astype(np.int64),
        value=np.array([record.v for record in records], np.float64),
        quality=np.array(qualities, np.uint16),
    )


def _resolve(
    messages: Sequence[Published],
    packs: Sequence[list[_Record]],
    times: list[float],
    pairs: dict[tuple[str, str], int],
) -> list[int]:
    """Apply base fields (RFC 8428 §4.6): fill ``times`` [s] and ``pairs`` of name and unit, and return each record's
    place among these; no places when a name is another Thing's."""
    known: dict[tuple[str, str, str, str], int] = {}
    index: list[int] = []
    for message, pack in zip(messages, packs, strict=True):
        base_name = base_unit = ""
        base_time = 0.0
        thing = message.destination.things[0]
        for record in pack:
            if record.bn is not None:
                base_name = record.bn
            if record.bt is not None:
                base_time = record.bt
            if record.bu is not None:
                base_unit = record.bu
            key = (thing, base_name, record.n, record.u or base_unit)
            at = known.get(key)
            if at is None:
                name = _own_name(base_name + record.n, thing)
                if not name:
                    return []
                at = known[key] = pairs.setdefault((name, key[3]), len(pairs))
            index.append(at)
            times.append(base_time + record.t)
    return index


def _own_name(name: str, thing: str) -> str:
    """Return the point's id that ``name`` means in a message of ``thing``: a bare one is its own; "" for another's."""
    if "/" not in name and ":" not in name:
        return point_id(thing, name)
    return name if split_point_id(name)[0] == thing else ""


def _count(record: _Record) -> Count | None:
    seq = record.seq
    if seq is None or not 0 <= seq <= MAX_SEQUENCE:
        return None
    return Count(seq, str(record.run)[:_RUN_CHARACTERS])
