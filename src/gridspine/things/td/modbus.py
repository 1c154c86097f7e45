"""A Modbus form of a Thing Description as a register of the modbus adapter: what is read where, and of what type.

Source: W3C WoT Modbus Binding, Editor's Draft as of commit 45f87f3 of w3c/wot-binding-templates (URL format;
vocabulary; default mappings): ``modbus+tcp://host:port/unitID/address?quantity=n``, ``modv:entity`` (or
``modv:function``), ``modv:type``, ``modv:mostSignificantByte``, ``modv:mostSignificantWord``,
``modv:zeroBasedAddressing``, ``modv:pollingTime`` and ``modv:timeout`` [ms]. Unless the addressing is zero-based,
addresses count from 1; a prefix such as the 4 of 40001 is taken as part of the number.

What a type leaves open the schema says: without ``modv:type``, a whole number is unsigned when its ``minimum`` is not
negative; a number in two or four registers is a float. ``gs:factor`` is ours: the value of one step of the register.
``gs:timer``, of a form that writes, is the form of the device's own timer [s]: when it runs out, the device falls back.
"""

from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from gridspine.kernel.errors import Invalid
from gridspine.things.td.forms import MODBUS, WRITES, Form, forms_of, join

_PORT = 502
_POLL_S, _TIMEOUT_S = 10.0, 3.0
_ENTITY = {"Coil": "coil", "DiscreteInput": "discrete", "InputRegister": "input", "HoldingRegister": "holding"}
_FUNCTION = {
    "readCoil": "coil", "readDiscreteInput": "discrete", "readHoldingRegisters": "holding",
    "readInputRegisters": "input", "writeSingleCoil": "coil", "writeMultipleCoils": "coil",
    "writeSingleHoldingRegister": "holding", "writeMultipleHoldingRegisters": "holding",
    "1": "coil", "2": "discrete", "3": "holding", "4": "input", "5": "coil", "15": "coil", "6": "holding",
    "16": "holding",
}  # fmt: skip
_SEVERAL = {"writeMultipleCoils", "writeMultipleHoldingRegisters", "15", "16"}
_TYPES = {
    "byte": "int8", "unsignedByte": "uint8", "short": "int16", "unsignedShort": "uint16", "int": "int32",
    "unsignedInt": "uint32", "long": "int64", "unsignedLong": "uint64", "float": "float32", "double": "float64",
    "boolean": "bit",
}  # fmt: skip
_COUNT = {"int32": 2, "uint32": 2, "float32": 2, "int64": 4, "uint64": 4, "float64": 4}
_WHOLE = {1: "int16", 2: "int32", 4: "int64"}
_FLOAT = {2: "float32", 4: "float64"}


def unit_of(form: Mapping[str, Any], href: str) -> int:
    """Return the unit id of a form: the first part of its path; raise `Invalid` when there is none."""
    parts = urlsplit(href).path.strip("/").split("/")
    text = parts[0] or str(form.get("modv:unitID", "1"))
    if not (text.isdecimal() and len(text) <= 3 and int(text) <= 255):
        raise Invalid("it has no unit from 0 to 255")
    return int(text)


def register(
    form: Mapping[str, Any], href: str, affordance: Mapping[str, Any], *, write: bool = False
) -> dict[str, Any]:
    """Return the register of a form, in the adapter's terms; raise `Invalid` saying what is missing."""
    function = str(form.get("modv:function", ""))
    entity = _ENTITY.get(str(form.get("modv:entity", "")), "") or _FUNCTION.get(function, "")
    if not entity:
        raise Invalid("it has no modv:entity or modv:function that is known")
    quantity = _number(form, href, "quantity")
    found: dict[str, Any] = {"entity": entity, "address": _address(form, href), "type": _type(
        entity, form, affordance, quantity
    )}  # fmt: skip
    if form.get("modv:mostSignificantByte") is False:
        found["byteSwap"] = True
    if form.get("modv:mostSignificantWord") is False:
        found["wordSwap"] = True
    factor = form.get("gs:factor", 1)
    if isinstance(factor, bool) or not isinstance(factor, int | float) or factor == 0:
        raise Invalid("gs:factor is a number other than 0")
    if factor != 1:
        found["factor"] = float(factor)
    if write:
        if entity not in {"coil", "holding"}:
            raise Invalid(f"a register of entity {form.get('modv:entity') or function} cannot be written")
        if _COUNT.get(found["type"], 1) == 1 and function not in _SEVERAL:
            found["single"] = True
    return found


def _timing(form: Mapping[str, Any]) -> dict[str, float]:
    """Return how often a form may be read and how long an answer may take [s], as far as it says; bounded."""
    found = {}
    for name, term, low, high in (
        ("intervalS", "modv:pollingTime", 1.0, 3600.0),
        ("timeoutS", "modv:timeout", 0.1, 30.0),
    ):
        value = form.get(term)
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            found[name] = min(max(value / 1000.0, low), high)
    return found


def _type(entity: str, form: Mapping[str, Any], affordance: Mapping[str, Any], quantity: int | None) -> str:
    if entity in {"coil", "discrete"}:
        if quantity not in {None, 1}:
            raise Invalid("several bits are no number")
        return "bit"
    name = str(form.get("modv:type", "")).rpartition(":")[2]
    open_ = name in {"", "integer", "decimal"}
    kind = _by_schema(name, affordance, quantity or 1) if open_ else _TYPES.get(name, "")
    if not kind:
        raise Invalid(f"its modv:type {str(form.get('modv:type'))[:40]} is no number")
    if quantity is not None and quantity != _COUNT.get(kind, 1):
        raise Invalid(f"its quantity is {quantity}, and a {form.get('modv:type') or kind} takes {_COUNT.get(kind, 1)}")
    return kind


def _by_schema(name: str, affordance: Mapping[str, Any], quantity: int) -> str:
    """Return the type where ``modv:type`` says at most that it is a whole number."""
    schema = affordance.get("type")
    if not name and schema == "boolean":
        return "bit"
    if not name and schema != "integer" and quantity != 1:
        return _FLOAT.get(quantity, "")
    if not name and schema != "integer":
        raise Invalid("it does not say by modv:type what its register holds")
    whole, low = _WHOLE.get(quantity, ""), affordance.get("minimum")
    unsigned = isinstance(low, int | float) and low >= 0
    return f"u{whole}" if whole and unsigned else whole


def _address(form: Mapping[str, Any], href: str) -> int:
    parts = urlsplit(href).path.strip("/").split("/")
    text = parts[1] if len(parts) > 1 else str(form.get("modv:address", ""))
    if len(parts) > 2 or not (text.isdecimal() and len(text) <= 6):
        raise Invalid("it has no address: modbus+tcp://host:port/unit/address")
    address = int(text) - (form.get("modv:zeroBasedAddressing") is not True)
    if address < 0:
        raise Invalid("its address is 0, and addresses count from 1 unless modv:zeroBasedAddressing is true")
    if address > 0xFFFF:
        raise Invalid(f"its address {text} is beyond 65536")
    return address


def _number(form: Mapping[str, Any], href: str, name: str) -> int | None:
    found = parse_qs(urlsplit(href).query).get(name, [form.get(f"modv:{name}")])[0]
    if found is None:
        return None
    if not (str(found).isdecimal() and 0 < len(str(found)) <= 4):
        raise Invalid(f"its {name} is no number")
    return int(found)


def add_write(
    document: Mapping[str, Any], name: str, own: bool, shared: Mapping[str, Any], entry: dict[str, Any]
) -> str:
    """Add to ``entry`` where a property is written and what ends a lease; return why it cannot be, "" else.

    Whether its states are safe to keep is its model's word: the description's, where that is its ``own``.
    """
    affordance = document["properties"][name]
    forms = [one for one in forms_of(document, name, WRITES) if one.adapter == MODBUS]
    lease = affordance.get("gs:lease") if own else {}
    if not forms or affordance.get("readOnly") or lease is None:
        return ""
    why = ""
    for form in forms:
        try:
            if (form.host, form.port, unit_of(form.form, form.href)) != tuple(
                shared[part] for part in ("host", "port", "unit")
            ):
                raise Invalid("it is written at another place than it is read")
            found = register(form.form, form.href, affordance, write=True)
            timer = _timer(document, form)
        except Invalid as error:
            why = error.detail
            continue
        entry["write"] = found
        if timer is not None:
            entry["timer"] = timer
        elif lease.get("reversion") == "safe-to-persist":
            entry["held"] = True
        else:
            return (
                "nobody would end a lease: its form names no timer of the device (gs:timer), and its states are not "
                "called safe to keep (gs:lease)"
            )
        return ""
    return why


def _timer(document: Mapping[str, Any], form: Form) -> dict[str, Any] | None:
    """Return the register of the device's own timer [s], None where the form names none."""
    timer = form.form.get("gs:timer")
    if timer is None:
        return None
    if not isinstance(timer, Mapping) or not isinstance(timer.get("href"), str):
        raise Invalid("gs:timer is a form, with an href")
    href = join(str(document.get("base", "")), timer["href"])
    parts = urlsplit(href)
    try:
        place = (parts.scheme, parts.hostname, parts.port or _PORT)
    except ValueError:
        place = ("", None, 0)
    if (*place, unit_of(timer, href)) != (
        form.scheme, form.host, form.port, unit_of(form.form, form.href),
    ):  # fmt: skip
        raise Invalid("its timer (gs:timer) is at another place")
    return register(timer, href, {"type": "integer", "minimum": 0}, write=True)


def times(document: Mapping[str, Any], names: Collection[str]) -> dict[str, float]:
    """Return how often a device is read and how long it may take to answer [s]: as its forms say."""
    found = [_timing(form.form) for name in names for form in forms_of(document, name) if form.adapter == MODBUS]
    return {
        "intervalS": min((one["intervalS"] for one in found if "intervalS" in one), default=_POLL_S),
        "timeoutS": max((one["timeoutS"] for one in found if "timeoutS" in one), default=_TIMEOUT_S),
    }
