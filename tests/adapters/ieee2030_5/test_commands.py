"""Which control a lease becomes: what the model's limit limits, in watts."""

import asyncio

import pytest

from gridspine.adapters.ieee2030_5.commands import LeasedControls, control_of
from gridspine.adapters.ieee2030_5.end_device import EndDevices, read_connection
from gridspine.adapters.ieee2030_5.settings import Settings
from gridspine.energy.followed import Followed
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import US
from gridspine.testing.node import FakeNode
from gridspine.things.adapter import Binding, Order

LFDI = "3E4F45AB31EDFE5B67E343E5E4562E31984E23E5"
NOW_US = 1_770_000_030_000_000


def binding(model, **connection):
    return Binding("urn:x", "X", "org", f"https://gridspine.org/models/{model}", {"lfdi": LFDI, **connection})


def told(binding, point, value):
    """Return the limits and targets [W] that an order becomes, those that are none left out."""
    (device,) = EndDevices([binding]).all()
    control = control_of(device, Order("c", "urn:x", point, value, NOW_US + 60_000_000, 0.0, 1), NOW_US)
    if control is None:
        return {}
    values = {name: getattr(control.control, name) for name in control.control.__struct_fields__}
    return {name: value for name, value in values.items() if value is not None and value == value}


@pytest.mark.parametrize(
    ("model", "connection", "point", "value", "expected"),
    [
        ("pv_inverter", {}, "activePowerLimit", 2500.0, {"generation_limit_w": 2500.0}),
        ("appliance", {}, "activePowerLimit", 1000.0, {"load_limit_w": 1000.0}),
        ("heat_pump", {}, "activePowerLimit", 1000.0, {"load_limit_w": 1000.0}),
        ("ev_charger", {}, "currentLimit", 10.0, {"load_limit_w": 6900.0}),
        ("ev_charger", {"wattsPerAmpere": 230}, "currentLimit", 10.0, {"load_limit_w": 2300.0}),
        ("v2x_charger", {}, "activePowerSetpoint", -5000.0, {"target_w": -5000.0}),
        ("appliance", {"commands": {"activePowerLimit": "opModImpLimW"}}, "activePowerLimit", 9.0,
         {"import_limit_w": 9.0}),
        ("pv_inverter", {"commands": {}}, "activePowerLimit", 2500.0, {}),
        ("heat_pump", {}, "sgReadyMode", 2.0, {}),
    ],
)  # fmt: skip
def test_a_lease_is_what_its_model_means(model, connection, point, value, expected):
    assert told(binding(model, **connection), point, value) == expected


@pytest.mark.parametrize("wrong", [0, -690, 1e6])
def test_what_no_ampere_is_worth_is_refused(wrong):
    with pytest.raises(Invalid, match="wattsPerAmpere"):
        read_connection(binding("ev_charger", wattsPerAmpere=wrong))


async def test_a_lease_s_control_does_not_change_under_its_mrid():
    (device,) = EndDevices([binding("pv_inverter")]).all()
    clock = VirtualClock(NOW_US)
    node = FakeNode(clock=clock)
    commands = LeasedControls(node, Settings())
    following = asyncio.create_task(commands.orders.follow(noted(commands)))
    try:
        node.order(Order("c", "urn:x", "activePowerLimit", 900.0, NOW_US + 3600 * US, 0.0, 1))
        assignment = await said(commands, device)
        (control,) = assignment.programs[0].controls
        assert control.from_us <= NOW_US < control.from_us + 60 * US
        for pause_s in (45, 90):
            await clock.advance(pause_s)
            assert commands.assigned(device, Followed()) == assignment
        node.order(Order("c", "urn:x", "activePowerLimit", 800.0, NOW_US + 3600 * US, 0.0, 2))
        while (again := commands.assigned(device, Followed())) == assignment:
            await asyncio.sleep(0)
        (changed,) = again.programs[0].controls
        assert changed.key != control.key
        assert changed.from_us > control.from_us
    finally:
        following.cancel()


def noted(commands):
    async def deliver(order):
        commands.begins(order)

    return deliver


async def said(commands, device):
    async with asyncio.timeout(40):
        while (found := commands.assigned(device, Followed())) is None:
            await asyncio.sleep(0)
    return found
