"""IEC 61850: the values as an SCL document: an IED with logical nodes, their data objects and types.

Source: the SCL schema 2007B4 and the name space definitions of IEC 61850-7-3, 7-4 (2007B3) and 7-420 (2019A4), which
give logical nodes, data objects, classes and units. The texts of IEC 61850-6, 7-3, 7-4 and 7-420 by clause were not
read. So two things are ours: a quality is written as its 13 bits in order, a time as RFC 3339 text. What TotW counts
as positive is chosen by DECP.RefFrm, whose values were not read: we write import positive, and say so in ``desc``.

Numbers are FLOAT32 there; a register is an INT64 times ``pulsQty``.
"""

import hashlib
from collections.abc import Sequence

import msgspec

from gridspine.energy.mapping.number import code, scaled, single, text
from gridspine.energy.mapping.quality import quality_losses
from gridspine.energy.mapping.scl_type import CONTROLLED, MULTIPLIERS, STATUS_ONLY, VALUE, templates
from gridspine.energy.mapping.snapshot import Document, Emission, Loss, Reported, Snapshot
from gridspine.energy.mapping.table import Table, load_table, said
from gridspine.energy.mapping.xml import HEAD, element
from gridspine.kernel.quality import VALIDITY_MASK
from gridspine.kernel.time import format_rfc3339
from gridspine.things.model import PointModel

NAMESPACE = "http://www.iec.ch/61850/2003/SCL"
_INT64 = (1 << 63) - 1
_DBPOS = {0: "intermediate", 1: "off", 2: "on", 3: "bad"}
_WHOLE = {"INS": (-(1 << 31), (1 << 31) - 1), "ISC": (-64, 63)}


class Field(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Where a value stands: logical node (with a prefix where there are several), data object, phase, class.

    ``codes`` turns our codes into theirs; ``factor`` turns our unit into ours called ``unit``.
    """

    ln: str
    do: str
    cdc: str
    prefix: str = ""
    phase: str = ""
    codes: dict[str, str] = {}
    factor: float = 1.0
    unit: str = ""


class _Written(msgspec.Struct, frozen=True):
    point: PointModel
    field: Field
    texts: dict[tuple[str, ...], str]


def emit_iec61850(snapshot: Snapshot) -> Emission:
    """Return one SCL document with a DOI for each point."""
    table = load_table("iec61850")
    known, unknown = said("iec61850", snapshot)
    lost = [Loss(point.name, table.word(snapshot.model.id, point.name).none) for point in unknown]
    written: list[_Written] = []
    for point, word in known:
        reported = snapshot.values[point.name]
        one, losses = _write(table, point, msgspec.convert(word.detail, Field), reported)
        lost += losses + quality_losses("iec61850", point.name, reported.quality)
        lost += [Loss(point.name, word.lost)] if word.lost else []
        written += [one] if one else []
    if not written:
        return Emission((), tuple(lost))
    text_ = HEAD + _document(table, snapshot, written)
    return Emission((Document("SCL", "application/xml", text_.encode()),), tuple(lost))


def _write(table: Table, point: PointModel, field: Field, reported: Reported) -> tuple[_Written | None, list[Loss]]:
    """Return the texts of the data attributes of a point, and what they cannot hold; None when there is no value."""
    path = VALUE[field.cdc]
    texts: dict[tuple[str, ...], str] = {("q",): quality_text(reported.quality)}
    texts["t",] = format_rfc3339(reported.observed_us)
    if field.cdc in CONTROLLED:
        texts["ctlModel",] = STATUS_ONLY
    lost: list[Loss] = []
    if field.cdc in {"SPS", "ACT", "DPC", "ENS", "INS", "ISC"}:
        value = _state(field, code(reported.value))
        if value is None:
            return None, [Loss(point.name, f"state {code(reported.value)}: {field.do} has no word for it")]
        texts[path] = value
        return _Written(point, field, texts), lost
    unit = table.unit_of(field.unit or point.reading_type.unit)
    if unit and field.cdc != "CMV.ang":  # the units of a CMV are the magnitude's; an angle is in degrees
        texts["units", "SIUnit"] = unit[0]
        if unit[2]:
            texts["units", "multiplier"] = MULTIPLIERS[unit[2]]
    if field.cdc == "BCR":
        number = scaled(reported.value * field.factor, -_INT64, _INT64, range(-9, 10))
        texts[path] = str(number.mantissa)
        texts["pulsQty",] = text(10.0**number.exponent)
        exact = number.exact
    else:
        texts[path], exact = single(reported.value * field.factor)
    lost += [] if exact else [Loss(point.name, "digits beyond those of a 32-bit float")]
    return _Written(point, field, texts), lost


def _state(field: Field, number: int) -> str | None:
    if field.cdc == "DPC":
        return _DBPOS.get(number)
    if field.codes:
        return field.codes.get(str(number))
    if field.cdc in {"SPS", "ACT"}:
        return {0: "false", 1: "true"}.get(number)
    low, high = _WHOLE[field.cdc]
    return str(number) if low <= number <= high else None


def quality_text(bits: int) -> str:
    """Return the 13 bits of a quality in the order of IEC 61850-7-3: validity (two), overflow … operatorBlocked."""
    rest = "".join("1" if bits >> place & 1 else "0" for place in range(2, 13))
    return f"{bits & VALIDITY_MASK:02b}{rest}"


def _document(table: Table, snapshot: Snapshot, written: Sequence[_Written]) -> str:
    nodes: dict[tuple[str, str, str], dict[str, tuple[str, tuple[str, ...]]]] = {}
    for one in written:
        field = one.field
        objects = nodes.setdefault((field.prefix, field.ln, "1"), {})
        wye, phases = objects.get(field.do, (_cdc(field), ()))
        more = (field.phase,) if field.phase and field.phase not in phases else ()
        objects[field.do] = (wye, phases + more)
    name = "T" + hashlib.sha256(snapshot.thing.encode()).hexdigest()[:16]
    device = element("LDevice", [_zero(), *(_node(key, written) for key in nodes)], inst="Thing")
    server = element("Server", [element("Authentication"), device])
    access = element("AccessPoint", [server], name="Node")
    words = f"{snapshot.thing}: {snapshot.title}. Power is import positive."
    used = {one.texts["units", "SIUnit"] for one in written if ("units", "SIUnit") in one.texts}
    units = {unit[0]: unit[1] for unit in table.units.values() if unit[0] in used or unit[0] == "W"}
    parts = [
        element("Header", id=name),
        element("IED", [access], name=name, desc=words[:255]),
        templates(nodes, units, table.extra["DERStateKind"]),
    ]
    return element("SCL", parts, xmlns=NAMESPACE, version="2007", revision="B", release="4")


def _cdc(field: Field) -> str:
    return "WYE" if field.phase else field.cdc.partition(".")[0]


def _zero() -> str:
    return element("LN0", lnClass="LLN0", inst="", lnType="LLN0")


def _node(key: tuple[str, str, str], written: Sequence[_Written]) -> str:
    prefix, ln, inst = key
    mine = [one for one in written if (one.field.prefix, one.field.ln) == (prefix, ln)]
    objects = []
    for do in dict.fromkeys(one.field.do for one in mine):
        instances = [_phase(one) for one in mine if one.field.do == do]
        tree: dict[str, object] = {}
        for one in instances:
            _merge(tree, one)
        objects.append(element("DOI", _instances(tree), name=do, desc=_described(mine, do)))
    return element("LN", objects, prefix=prefix, lnClass=ln, inst=inst, lnType=f"{prefix}{ln}{inst}")


def _described(mine: Sequence[_Written], do: str) -> str:
    return ", ".join(one.point.name for one in mine if one.field.do == do)[:255]


def _phase(one: _Written) -> dict[tuple[str, ...], str]:
    head = (one.field.phase,) if one.field.phase else ()
    return {head + path: value for path, value in one.texts.items()}


def _merge(tree: dict[str, object], texts: dict[tuple[str, ...], str]) -> None:
    for path, value in texts.items():
        at = tree
        for step in path[:-1]:
            below = at.setdefault(step, {})
            assert isinstance(below, dict)
            at = below
        at[path[-1]] = value


def _instances(tree: dict[str, object]) -> list[str]:
    """Return SDI and DAI elements; the schema wants no order among them."""
    parts = []
    for name, below in tree.items():
        if isinstance(below, dict):
            parts.append(element("SDI", _instances(below), name=name))
        else:
            parts.append(element("DAI", [element("Val", str(below))], name=name))
    return parts
