"""Numbers that are none, in every form a payload may have: no reading comes of them, and the others of it stay."""

import math

import cbor2
import pytest

from gridspine.adapters.mqtt.wire import decode_readings
from gridspine.kernel.errors import Invalid

THING, NOW_US = "urn:example:m1", 1_767_225_600_000_000
HUGE = "9" * 400


def said(body):
    """Return the values of a payload that are taken, and how many problems there are; a refused one has one."""
    try:
        found = decode_readings(body, thing=THING, now_us=NOW_US).readings
    except Invalid:
        return [], 1
    return found.value.tolist(), len(found.problems)


@pytest.mark.parametrize("number", ["1e999", "-1e999", HUGE, f"-{HUGE}", "NaN", "Infinity", '"5"', "null", "[1]", "{}"])
@pytest.mark.parametrize(
    "payload",
    [
        '{{"activePower": {}, "voltage": 230}}',
        '{{"time": "2026-01-01T00:00:00Z", "values": {{"activePower": {}, "voltage": 230}}}}',
        '[{{"n": "activePower", "v": {}}}, {{"n": "voltage", "v": 230}}]',
    ],
)
def test_what_no_float_can_be_is_no_reading(payload, number) -> None:
    values, problems = said(payload.format(number).encode())
    assert all(math.isfinite(value) for value in values)
    assert values in ([], [230.0])
    assert problems >= 1


def test_nor_an_integer_of_cbor_beyond_a_float() -> None:
    """CBOR has infinity and NaN, too: they arrive as what they are, and the screen refuses them (tests/things)."""
    values, problems = said(cbor2.dumps([{0: "activePower", 2: 10**400}, {0: "voltage", 2: 230}]))
    assert values in ([], [230.0])
    assert problems >= 1
