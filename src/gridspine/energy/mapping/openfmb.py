"""OpenFMB: the profiles of its operational model as Protocol Buffers, one message for each profile a Thing needs.

Source: OpenFMB PSM Protobuf, psm-protobuf 2.x, and oes-protobuf 0.0.64 for EVSE and environment (field numbers, kinds
and units); the OpenFMB model in UML and NAESB RMQ.26 were not read. A message carries no schema: the numbers of the
fields are in ``tables/openfmb.json``, and a test holds them against the published ones.

Values below one message are written into one message: some on the way are repeated (a breaker has two sides), and
there a second one would be another side.
"""

from typing import Any, Literal

import msgspec

from gridspine.energy.mapping import protobuf as pb
from gridspine.energy.mapping.number import code, scaled
from gridspine.energy.mapping.quality import quality_losses
from gridspine.energy.mapping.snapshot import Document, Emission, Loss, Reported, Snapshot
from gridspine.energy.mapping.table import Table, load_table, said
from gridspine.kernel.errors import Invalid
from gridspine.kernel.quality import VALIDITY_MASK, Quality
from gridspine.kernel.units import conversion, unit
from gridspine.things.model import PointModel

_US = 1_000_000
_INT64 = (1 << 63) - 1
# Quality: 1 detailQual, 2 operatorBlocked, 3 source, 4 test, 5 validity. DetailQual: its eight booleans.
_DETAIL = {
    Quality.BAD_REFERENCE: 1, Quality.FAILURE: 2, Quality.INACCURATE: 3, Quality.INCONSISTENT: 4,
    Quality.OLD_DATA: 5, Quality.OSCILLATORY: 6, Quality.OUT_OF_RANGE: 7, Quality.OVERFLOW: 8,
}  # fmt: skip
_VALIDITY = {0: 1, 1: 2, 2: 3, 3: 4}
_PROCESS, _SUBSTITUTED = 1, 2


class Field(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a value stands: the profile, the path of field numbers below it, the class of the last message."""

    profile: str
    path: list[int]
    cdc: Literal["CMV", "CMV.ang", "MV", "BCR", "DPS"]
    unit: str = ""
    codes: dict[str, int] = {}


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A profile: field numbers of the header's message info, of the equipment's mRID, and of its name."""

    info: list[int]
    mrid: list[int]
    name: list[int]


def emit_openfmb(snapshot: Snapshot) -> Emission:
    """Return one message for each profile; the media type names the profile, as the wire does not."""
    table = load_table("openfmb")
    known, unknown = said("openfmb", snapshot)
    lost = [Loss(point.name, table.word(snapshot.model.id, point.name).none) for point in unknown]
    trees: dict[str, pb.Tree] = {}
    for point, word in known:
        field = msgspec.convert(word.detail, Field)
        reported = snapshot.values[point.name]
        body, losses = _value(table, point, field, reported)
        lost += losses + quality_losses("openfmb", point.name, reported.quality)
        lost += [Loss(point.name, word.lost)] if word.lost else []
        if field.profile not in trees:
            trees[field.profile] = _header(table, field.profile, snapshot)
        pb.graft(trees[field.profile], field.path, body)
    documents = [Document(name, _media(name), pb.encode(tree)) for name, tree in trees.items()]
    return Emission(tuple(documents), tuple(lost))


def _media(profile: str) -> str:
    return f'application/x-protobuf; messageType="openfmb.{profile}"'


def _header(table: Table, name: str, snapshot: Snapshot) -> pb.Tree:
    profile = msgspec.convert(table.extra["profiles"][name], Profile)
    newest = max(reported.observed_us for reported in snapshot.values.values())
    tree: pb.Tree = {}
    pb.graft(tree, [*profile.info, 2], _time(newest, 0))
    pb.graft(tree, profile.mrid[:-1], pb.string(profile.mrid[-1], snapshot.thing))
    pb.graft(tree, profile.name, pb.string(1, snapshot.title))  # a StringValue holds its text in field 1
    return tree


def _value(table: Table, point: PointModel, field: Field, reported: Reported) -> tuple[bytes, list[Loss]]:
    """Return the message of the class of ``field``, and what it could not hold."""
    value = reported.value
    if field.unit:
        scale, shift = conversion(unit(point.reading_type.unit), unit(field.unit))
        value = value * scale + shift
    q = pb.message(2, _quality(reported.quality))
    t = pb.message(3, _time(reported.observed_us, reported.quality))
    if field.cdc == "CMV":  # cVal: 1 ang (DoubleValue), 2 mag
        return pb.message(1, pb.double(2, value)) + q + t, []
    if field.cdc == "CMV.ang":
        return pb.message(1, pb.message(1, pb.double(1, value))) + q + t, []
    if field.cdc == "MV":
        return pb.double(1, value) + q + t + pb.message(4, _unit(table, field.unit or point.reading_type.unit)), []
    if field.cdc == "BCR":
        whole = scaled(value, -_INT64, _INT64, [0])
        lost = [] if whole.exact else [Loss(point.name, "the fraction of the register, which is a whole number there")]
        return pb.integer(1, whole.mantissa) + q + t, lost
    state = field.codes.get(str(code(value)))
    if state is None:
        raise Invalid(f"state {code(value)} has no code there")
    status = pb.message(1, _quality(reported.quality)) + pb.integer(2, state)
    return status + t, []


def _unit(table: Table, symbol: str) -> bytes:
    code = table.unit_of(symbol)
    if code is None:
        return pb.integer(2, 100)  # UnitSymbolKind_other
    symbol_kind, multiplier = code
    return (pb.message(1, pb.integer(1, multiplier)) if multiplier else b"") + pb.integer(2, symbol_kind)


def _quality(bits: int) -> bytes:
    detail = b"".join(pb.integer(number, 1) for bit, number in sorted(_DETAIL.items(), key=_by_number) if bits & bit)
    source = _SUBSTITUTED if bits & Quality.SUBSTITUTED else _PROCESS
    return (
        (pb.message(1, detail) if detail else b"")
        + pb.integer(2, int(bool(bits & Quality.OPERATOR_BLOCKED)))
        + pb.integer(3, source)
        + pb.integer(4, int(bool(bits & Quality.TEST)))
        + pb.integer(5, _VALIDITY[bits & VALIDITY_MASK])
    )


def _by_number(item: tuple[Any, int]) -> int:
    return item[1]


def _time(at_us: int, quality: int) -> bytes:
    """Timestamp: 2 seconds, 3 quality (2 clockNotSynchronized), 4 nanoseconds."""
    clock = pb.integer(2, int(bool(quality & Quality.CLOCK_UNSYNCHRONISED)))
    seconds, rest = divmod(at_us, _US)
    return pb.integer(2, seconds) + (pb.message(3, clock) if clock else b"") + pb.integer(4, rest * 1000)
