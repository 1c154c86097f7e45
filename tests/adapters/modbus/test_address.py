"""A binding's connection is read strictly."""

from typing import Any

import pytest

from gridspine.adapters.modbus.address import parse_address
from gridspine.kernel.errors import Invalid


def test_units_at_one_place_share_an_endpoint():
    first = parse_address({"host": "10.0.0.2", "port": 502, "unit": 1, "intervalS": 1})
    second = parse_address({"host": "10.0.0.2", "unit": 2, "timeoutS": 1.5})
    assert first.endpoint == second.endpoint
    assert first.endpoint != parse_address({"host": "10.0.0.3"}).endpoint
    assert str(parse_address({"transport": "rtu", "device": "/dev/ttyUSB0"}).endpoint) == "/dev/ttyUSB0"


@pytest.mark.parametrize(
    "connection",
    [
        {"transport": "udp"},
        {"unit": 256},
        {"unit": -1},
        {"port": 0},
        {"port": 70000},
        {"intervalS": 0},
        {"timeoutS": -1},
        {"transport": "rtu"},
        {"hots": "10.0.0.2"},
        {"unit": "one"},
        {"parity": "X"},
    ],
)
def test_what_is_wrong_is_named(connection: dict[str, Any]):
    with pytest.raises(Invalid, match="connection"):
        parse_address(connection)
