"""SenML packs, JSON and CBOR, to named readings.

Source: RFC 8428 (Sensor Measurement Lists): §4.1-4.2 base and regular fields, §4.3 which fields, §4.5.3 time and
relative time, §4.6 resolved records, §5 JSON, §6 CBOR labels, §12.1 units.

Only numbers are readings: ``v``, and ``vb`` as 0 or 1. ``vs``, ``vd`` and ``s`` items are refused one by one; a
pack is refused as a whole only when it is not one, or of a later version. Where a record sets a base field that
cannot be read, the records after it are refused too: their names or times would be wrong. A time below 2**28 [s] is
relative to now (§4.5.3), so a pack can carry times before July 1978 only as relative ones.

Records carry quality in the extension field ``q_`` (the trailing underscore makes it one that every reader must
understand, §4.4, so that no one takes a questionable value for a good one); on intake, ``q`` is taken too.
"""

import dataclasses
import io
import re
from collections.abc import Iterable, Sized
from typing import Any

import cbor2
import msgspec
import numpy as np

from gridspine.kernel.errors import Invalid, TooLarge
from gridspine.kernel.quality import ALL_BITS
from gridspine.kernel.readings import ItemProblem, NamedReadings
from gridspine.kernel.time import MAX_US, MIN_US, US

VERSION = 10
RELATIVE_BELOW_S = 1 << 28
_KNOWN_MUST_UNDERSTAND = {"q_"}
_FIELDS = 16
"""Fields of a record at most, well counted."""


class _Record(msgspec.Struct):
    bn: str | None = None
    bt: float | None = None
    bu: str | None = None
    bv: float | None = None
    n: str = ""
    u: str = ""
    v: float | None = None
    t: float = 0.0
    q: int = 0
    q_: int = 0
    bver: int | None = None
    vb: bool | None = None
    vs: Any = msgspec.UNSET
    vd: Any = msgspec.UNSET
    s: Any = msgspec.UNSET
    bs: Any = msgspec.UNSET


class _Plain(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A record as nearly all are: a number, its name, time and unit; base fields are the first record's only."""

    v: float | None = None
    n: str = ""
    t: float = 0.0
    u: str = ""
    bn: str = ""
    bt: float = 0.0
    bu: str = ""
    bv: float = 0.0


_CBOR_LABELS = {
    -6: "bs", -5: "bv", -4: "bu", -3: "bt", -2: "bn", -1: "bver",
    0: "n", 1: "u", 2: "v", 3: "vs", 4: "vb", 5: "s", 6: "t", 8: "vd",
}  # fmt: skip
_SENML_UNITS = {"degC": "Cel", "1": "/"}
_BASE_FIELDS = (("bn", str), ("bu", str), ("bt", float), ("bv", float))
_NAMES_BASE = re.compile(rb'"b[ntuv]"|\\\\')
_BASE_KEYS = (b'"bn"', b'"bt"', b'"bu"', b'"bv"')
_decode_plain = msgspec.json.Decoder(list[_Plain]).decode
_decode_pack = msgspec.json.Decoder(list[_Record]).decode
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_UNREADABLE = (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError)


def decode_senml_json(body: bytes, *, now_us: int, max_items: int | None = None) -> NamedReadings:
    """Read a SenML JSON pack; raise `Invalid` when ``body`` is no JSON array, `TooLarge` beyond ``max_items``.

    Items that cannot be read become problems; they never spoil the others.
    """
    if max_items is not None:
        # Before anything is unpacked: a reading is an object, and has few fields. Braces within names are few too.
        objects = body.count(b"{")
        if objects > 2 * max_items or body.count(b",") > 2 * max_items + _FIELDS * objects:
            raise _too_many(max_items)
    if b'_"' in body or b"\\" in body:  # perhaps a field that must be understood: look at each item's field names
        return _one_by_one(body, now_us, max_items)
    plain = _plain(body, max_items, now_us)
    if plain is not None:
        return plain
    try:
        records = [(index, record, True) for index, record in enumerate(_decode_pack(body))]
    except _UNREADABLE:
        return _one_by_one(body, now_us, max_items)
    _bound(records, max_items)
    return _resolve(records, [], now_us)


def _plain(body: bytes, max_items: int | None, now_us: int) -> NamedReadings | None:
    """Return the readings of a pack of plain records; None where it is another, or may be."""
    first_end = body.find(b"}")
    if body.find(b'"b', first_end) >= 0 and any(body.find(key, first_end) >= 0 for key in _BASE_KEYS):
        return None
    try:
        records = _decode_plain(body)
    except _UNREADABLE:
        return None
    _bound(records, max_items)
    if not records:
        return None
    base, bare = records[0], records[0].v is None and not records[0].n
    return _columns(records[1:] if bare else records, base, int(bare), now_us)


def _columns(records: list[_Plain], base: _Plain, first: int, now_us: int) -> NamedReadings | None:
    """Gather the columns of ``records``, of which the first is item ``first`` of its pack; None: one has no ``v``."""
    count = len(records)
    values = np.fromiter((record.v for record in records), np.float64, count)
    if np.isnan(values).any():  # JSON has no NaN: it stands for None
        return None
    times = np.fromiter((record.t for record in records), np.float64, count)
    names, units = [record.n for record in records], [record.u for record in records]
    keys: list[Any] = list(zip(names, units, strict=True)) if any(units) else names
    place = {key: at for at, key in enumerate(dict.fromkeys(keys))}
    pairs = [(name, "") for name in place] if keys is names else list(place)
    batch = NamedReadings(
        names=[base.bn + name for name, _ in pairs],
        units=[unit or base.bu for _, unit in pairs],
        name_index=np.fromiter(map(place.__getitem__, keys), np.int32, count),
        item=np.arange(first, first + count),
        observed_us=np.zeros(count, np.int64),
        value=base.bv + values,
        quality=np.zeros(count, np.uint16),
    )
    return _with_times(batch, base.bt + times, np.zeros(count, np.int64), now_us)


def decode_senml_cbor(body: bytes, *, now_us: int, max_items: int | None = None) -> NamedReadings:
    """Read a SenML CBOR pack; raise `Invalid` when ``body`` is no CBOR array of maps, `TooLarge` as above."""
    try:
        stream = io.BytesIO(body)
        items = cbor2.load(stream)
        if stream.read(1):
            raise Invalid("not CBOR: bytes follow the array")
    except (cbor2.CBORError, ValueError, RecursionError, OverflowError, MemoryError, TypeError) as error:
        raise Invalid(f"not CBOR: {error}") from error
    if not isinstance(items, list):
        raise Invalid("a SenML pack is an array of records")
    _bound(items, max_items)
    return _convert_each((_relabel(item) for item in items), now_us)


def _bound(items: Sized, max_items: int | None) -> None:
    if max_items is not None and len(items) > max_items:
        raise _too_many(max_items)


def _too_many(max_items: int) -> TooLarge:
    return TooLarge(f"at most {max_items} readings at once")


def _one_by_one(body: bytes, now_us: int, max_items: int | None) -> NamedReadings:
    try:
        items = _decode_items(body)
    except _UNREADABLE as error:
        raise Invalid(f"not a SenML JSON pack: {error}") from error
    _bound(items, max_items)
    return _convert_each(items, now_us)


def _convert_each(items: Iterable[Any], now_us: int) -> NamedReadings:
    records: list[tuple[int, _Record, bool]] = []
    problems: list[ItemProblem] = []
    lost_base, raw = False, b""
    for index, item in enumerate(items):
        if lost_base:
            problems.append(ItemProblem(index, "malformed", "a base field of a record before it cannot be read"))
            continue
        try:
            if isinstance(item, msgspec.Raw):
                raw, item = bytes(item), None
                item = msgspec.json.decode(raw)
            unknown = [k for k in item if isinstance(k, str) and k.endswith("_") and k not in _KNOWN_MUST_UNDERSTAND]
            if unknown:
                raise msgspec.ValidationError(f"field {unknown[0][:32]!r} must be understood and is not")
            records.append((index, msgspec.convert(item, _Record), True))
        except _UNREADABLE as error:
            problems.append(ItemProblem(index, "malformed", str(error)))
            base = _base_only(item)
            # What is no object at all holds no base field; what could not even be decoded may.
            lost_base = base is None or (item is None and bool(_NAMES_BASE.search(raw)))
            records.append((index, base or _Record(), False))
    return _resolve(records, problems, now_us)


def _base_only(item: Any) -> _Record | None:
    """Return what base fields a malformed record sets for those after it; None where one of them is no good."""
    record = _Record()
    if isinstance(item, dict):
        for name, kind in _BASE_FIELDS:
            try:
                setattr(record, name, msgspec.convert(item.get(name), kind | None))
            except _UNREADABLE:
                return None
    return record


def _resolve(records: Iterable[tuple[int, _Record, bool]], problems: list[ItemProblem], now_us: int) -> NamedReadings:
    """Apply base fields (§4.6) and gather columns; a record that was not readable only sets base fields."""
    base_name = base_unit = ""
    base_time = base_value = 0.0
    pairs: dict[tuple[str, str], int] = {}
    name_index: list[int] = []
    item: list[int] = []
    times: list[float] = []
    values: list[float] = []
    qualities: list[int] = []
    for index, record, readable in records:
        base_name = base_name if record.bn is None else record.bn
        base_unit = base_unit if record.bu is None else record.bu
        base_time = base_time if record.bt is None else record.bt
        base_value = base_value if record.bv is None else record.bv
        if record.bver is not None and record.bver > VERSION:
            raise Invalid(f"SenML version {record.bver} is not known; the pack must not be used (§4.4)")
        if not readable:
            continue
        if record.v is not None:
            value = base_value + record.v
        elif record.vb is not None:
            value = float(record.vb)  # a base value is added to numbers only
        else:
            problems.extend(_no_number(index, record, base_name))
            continue
        key = (base_name + record.n, record.u or base_unit)
        name_index.append(pairs.setdefault(key, len(pairs)))
        item.append(index)
        times.append(base_time + record.t)
        values.append(value)
        qualities.append(record.q | record.q_)
    batch = NamedReadings(
        names=[name for name, _ in pairs],
        units=[unit for _, unit in pairs],
        name_index=np.array(name_index, np.int32),
        item=np.array(item, np.int64),
        observed_us=np.zeros(len(item), np.int64),
        value=np.array(values, np.float64),
        quality=np.zeros(len(item), np.uint16),
        problems=problems,
    )
    return _with_times(batch, np.array(times, np.float64), _bounded(qualities), now_us)


def _with_times(batch: NamedReadings, times_s: Any, qualities: Any, now_us: int) -> NamedReadings:
    """Turn SenML seconds into µs; items whose time or quality cannot be are problems."""
    sensible = np.abs(times_s) <= MAX_US / US
    times_s = np.where(sensible, times_s, 0)
    observed = np.where(times_s < RELATIVE_BELOW_S, now_us, 0) + np.rint(times_s * US)
    good_time = sensible & (observed >= MIN_US) & (observed <= MAX_US)
    good_quality = (qualities >= 0) & (qualities <= ALL_BITS)
    good = good_time & good_quality
    if good.all():
        return dataclasses.replace(batch, observed_us=observed.astype(np.int64), quality=qualities.astype(np.uint16))
    for at in np.flatnonzero(~good):
        reason, detail = ("time", "time is not one") if not good_time[at] else ("quality", "quality is not 0…32767")
        batch.problems.append(ItemProblem(int(batch.item[at]), reason, detail, batch.names[batch.name_index[at]]))
    return NamedReadings(
        batch.names, batch.units, batch.name_index[good], batch.item[good],
        observed[good].astype(np.int64), batch.value[good], qualities[good].astype(np.uint16), batch.problems,
    )  # fmt: skip


def _bounded(qualities: list[int]) -> Any:
    """An integer beyond 64 bits is as wrong as -1, and must not stop the batch."""
    return np.array([q if 0 <= q <= ALL_BITS else -1 for q in qualities], np.int64)


def _no_number(index: int, record: _Record, base_name: str) -> list[ItemProblem]:
    valueless = all(value is msgspec.UNSET for value in (record.vs, record.vd, record.s))
    if valueless and not record.n:
        return []  # a record of base fields only carries no reading
    return [ItemProblem(index, "not-a-number", "only v (number) and vb (boolean) are readings", base_name + record.n)]


def _relabel(item: Any) -> Any:
    if not isinstance(item, dict):
        return item
    # Labels that are not known are ignored (§4.4); only text can say that it must be understood.
    relabelled = ((_CBOR_LABELS.get(key) if type(key) is int else key, value) for key, value in item.items())
    return {key: value for key, value in relabelled if isinstance(key, str)}


def encode_senml(
    names: list[str], units: list[str], name_index: Any, observed_us: Any, value: Any, quality: Any, *, cbor: bool
) -> bytes:
    """Return a SenML pack (JSON, or CBOR with integer labels) of readings; quality goes in ``q_`` unless good.

    ``names`` and ``units`` are those of each distinct point; ``name_index`` int32 (n,) points into them.
    """
    label: dict[str, Any] = {"n": 0, "u": 1, "v": 2, "t": 6} if cbor else {"n": "n", "u": "u", "v": "v", "t": "t"}
    n, u, v, t = label["n"], label["u"], label["v"], label["t"]
    pack: list[dict[Any, Any]] = []
    rows = zip(name_index.tolist(), (observed_us / US).tolist(), value.tolist(), quality.tolist(), strict=True)
    for at, time_s, number, bits in rows:
        record = {n: names[at], u: _SENML_UNITS.get(units[at], units[at]), v: number, t: time_s}
        if bits:
            record["q_"] = bits
        pack.append(record)
    return cbor2.dumps(pack) if cbor else msgspec.json.encode(pack)
