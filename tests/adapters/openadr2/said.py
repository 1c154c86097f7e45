"""Any message, as Hypothesis makes it from the types of its fields."""

import types
import typing

import msgspec
from hypothesis import strategies as st

from gridspine.adapters.openadr2 import message as m
from gridspine.adapters.openadr2 import message_report as r
from gridspine.adapters.openadr2 import wire
from gridspine.adapters.openadr2.wire_event import STATES
from gridspine.adapters.openadr2.wire_shape import DESCRIPTIONS, SCALES
from gridspine.kernel.time import US

_CHARACTERS = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn"), exclude_characters="\u2028\u2029")
TEXT = st.text(_CHARACTERS, min_size=1, max_size=12).map(lambda text: text.strip() or "x")
_SOME = {
    "intervals", "signals", "wanted", "requests", "profiles", "transports", "report_request_ids", "payloads",
    "descriptions",
}  # fmt: skip
NAMED = {
    "status": st.sampled_from(STATES), "opt": st.sampled_from([m.OPT_IN, m.OPT_OUT]),
    "profile": st.sampled_from(["2.0a", "2.0b"]), "transport": st.sampled_from(["simpleHttp", "xmpp"]),
    "response_required": st.sampled_from(["always", "never"]), "code": st.integers(200, 999),
    "start_us": st.integers(0, 2_000_000_000).map(lambda s: s * US),
    "created_us": st.integers(0, 2_000_000_000_000_000),
    "market_context": st.sampled_from(["urn:example:market", "https://utility.example/peaks?a=1&b=2"]),
    "type": st.sampled_from(["level", "setpoint", "price"]), "reason": st.sampled_from(["economic", "x-mine"]),
    "name": st.sampled_from(["SIMPLE", "x-MINE"]), "reading_type": st.sampled_from(["Direct Read", "x-notApplicable"]),
    "quality": st.sampled_from(["", "Quality Good - Non Specific"]), "scale": st.sampled_from(sorted(SCALES)),
}  # fmt: skip
FIXED = {
    (r.Description, "type"): st.sampled_from(["usage", "x-mine"]),
    (r.Report, "name"): st.sampled_from(["", "TELEMETRY_USAGE"]),
    (m.Descriptor, "test"): st.sampled_from(["", "false"]),
    (m.Profile, "name"): st.sampled_from(["2.0a", "2.0b"]),
}
_UNITS = {
    "power:powerReal": "W",
    "power:powerApparent": "VA",
    "power:powerReactive": "VAR",
    "power:energyReal": "Wh",
    "power:energyApparent": "VAh",
    "power:energyReactive": "VARh",
    "power:voltage": "V",
    "oadr:current": "A",
    "oadr:frequency": "Hz",
    "oadr:Therm": "thm",
    "oadr:temperature": "celsius",
}


@st.composite
def items(draw):
    kind = draw(st.sampled_from(sorted(set(DESCRIPTIONS) - {"oadr:currencyPerThm"})))
    units = "EUR" if "currency" in kind else "count" if "pulse" in kind else _UNITS.get(kind, "x")
    own = {"pulse_factor": 2.5, "scale": "none"} if "pulse" in kind else {"scale": draw(NAMED["scale"])}
    if kind.startswith("power:power"):
        own |= {"hertz": 60.0, "voltage": 240.5, "ac": draw(st.booleans())}
    return m.Item(kind=kind, units=units, description=DESCRIPTIONS[kind] or "custom", **own)


def of_type(hint, name="", owner=None):
    if (owner, name) in FIXED:
        return FIXED[owner, name]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in {types.UnionType, typing.Union}:
        return st.none() | of_type(arguments[0], name, owner)
    if origin is tuple:
        least = (
            1
            if name
            in {
                "intervals",
                "signals",
                "wanted",
                "requests",
                "profiles",
                "transports",
                "report_request_ids",
                "payloads",
                "descriptions",
            }
            else 0
        )
        if name == "transports":
            return st.just(("simpleHttp",))
        return st.lists(of_type(arguments[0], "", owner), min_size=least, max_size=2).map(tuple)
    if hint is m.Item:
        return items()
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return of_struct(hint)
    if name in NAMED:
        return NAMED[name]
    if name.endswith("_us"):
        return st.integers(0, 10_000_000).map(lambda s: s * US)
    return {str: TEXT, bool: st.booleans(), int: st.integers(0, 2**32 - 1), float: st.floats(-1e30, 1e30)}[hint]


def of_struct(kind):
    hints = typing.get_type_hints(kind)
    made = {one.name: of_type(hints[one.name], one.name, kind) for one in msgspec.structs.fields(kind)}
    return st.builds(kind, **made)


MESSAGES = st.one_of([of_struct(kind) for kind in wire.NAMES])
