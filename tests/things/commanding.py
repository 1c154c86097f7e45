"""What the commander's tests share: two Things, their rules, and short ways to ask, tick and read."""

from typing import Any

import numpy as np

from gridspine.kernel.readings import Channel, Readings
from gridspine.kernel.time import US
from gridspine.things.adapter import Order
from gridspine.things.command import Command, CommandEvent, OrderIssued
from gridspine.things.commander import Commander
from gridspine.things.lease import Authority, Lease
from gridspine.things.model import LeaseRule

BATTERY, INVERTER = "urn:x:battery", "urn:x:inverter"
RULES = {
    (BATTERY, "power"): LeaseRule(
        role="setpoint",
        minimum=-5000,
        maximum=5000,
        reversion="device",
        confirm_point="activePower",
        tolerance=100,
    ),
    (INVERTER, "limit"): LeaseRule(
        role="limit_max",
        minimum=0,
        maximum=6000,
        reversion="safe-to-persist",
        fallback=6000,
        confirm_point="activeLimit",
        tolerance=1,
    ),
}
NUMBERS = {(BATTERY, "activePower"): 3, (INVERTER, "activeLimit"): 8}


def make(**given: Any) -> Commander:
    return Commander(
        lambda thing, point: RULES.get((thing, point)), lambda thing, name: NUMBERS.get((thing, name)), **given
    )


def lease(id: str, value: float, start_s: float = 0, end_s: float = 60, **given: Any) -> Lease:
    fields: dict[str, Any] = {
        "thing": BATTERY,
        "point": "power",
        "role": "setpoint",
        "authority": Authority.AGGREGATOR,
        "principal": f"by-{id}",
        "issued_us": 0,
        **given,
    }
    return Lease(id=id, command=id, value=value, from_us=round(start_s * US), until_us=round(end_s * US), **fields)


def keep(commander: Commander, events: tuple[CommandEvent, ...]) -> list[Order]:
    for event in events:
        commander.apply(event)
    return [event.order for event in events if isinstance(event, OrderIssued)]


def ask(commander: Commander, asked: Lease, now_s: float = 0, key: str = "") -> Command:
    command, events = commander.request(asked, key, round(now_s * US))
    keep(commander, events)
    return command


def tick(commander: Commander, now_s: float) -> list[Order]:
    return keep(commander, commander.tick(round(now_s * US)))


def reading(value: float, observed_s: float, number: int = 3, **given: Any) -> Readings:
    fields: dict[str, Any] = {"channel": Channel.REPORTED, "received_us": round((observed_s + 0.1) * US), **given}
    return Readings(
        np.array([1, number], np.int32),
        np.array([round(observed_s * US)] * 2, np.int64),
        np.array([value, value], np.float64),
        np.array([0, 0], np.uint16),
        sources=("s",),
        **fields,
    )
