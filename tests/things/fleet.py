"""What the tests of fleets share: a battery that is ramped, a charger that must not be switched often, an inverter."""

from typing import Any

from gridspine.kernel.time import US
from gridspine.things.adapter import Order
from gridspine.things.approval import ApprovalRule
from gridspine.things.blocking_tag import BlockingTag
from gridspine.things.command import Command, CommandEvent, OrderIssued, decode_event, encode_event
from gridspine.things.commander import Commander
from gridspine.things.lease import Authority, Lease
from gridspine.things.model import LeaseRule
from gridspine.things.schedule import Step

BATTERY, CHARGER, INVERTER, PLAIN = "urn:x:battery", "urn:x:charger", "urn:x:inverter", "urn:x:plain"
RULES = {
    (BATTERY, "power"): LeaseRule(
        minimum=-5000, maximum=5000, reversion="device", ramp_per_s=500.0, ramp_step_s=1.0,
    ),
    (CHARGER, "power"): LeaseRule(minimum=0, maximum=3000, reversion="device", min_on_s=5.0, min_off_s=3.0),
    (INVERTER, "limit"): LeaseRule(
        role="limit_max", minimum=0, maximum=6000, reversion="device", fallback=6000,
    ),
    (PLAIN, "power"): LeaseRule(minimum=-5000, maximum=5000, reversion="device", max_duration_s=100_000),
}  # fmt: skip


def make(**given: Any) -> Commander:
    given.setdefault("watts_per_unit", lambda _thing, _point: 1.0)
    return Commander(lambda thing, point: RULES.get((thing, point)), lambda _thing, _name: None, **given)


def approvals(above_w: float = 8000.0, **given: Any) -> ApprovalRule:
    return ApprovalRule(above_w, **given)


def lease(id: str, value: float, start_s: float = 0, end_s: float = 60, thing: str = PLAIN, **given: Any) -> Lease:
    fields: dict[str, Any] = {
        "point": "limit" if thing == INVERTER else "power",
        "role": "limit_max" if thing == INVERTER else "setpoint",
        "authority": Authority.OWNER,
        "principal": "ann",
        "issued_us": 0,
        **given,
    }
    return Lease(
        id=id, command=id, thing=thing, value=value, from_us=round(start_s * US), until_us=round(end_s * US), **fields
    )


def steps(*pairs: tuple[float, float]) -> tuple[Step, ...]:
    return tuple(Step(round(at_s * US), value) for at_s, value in pairs)


def keep(commander: Commander, events: Any) -> list[OrderIssued]:
    kept: list[CommandEvent] = list(events)
    for event in kept:
        commander.apply(event)
    return [event for event in kept if isinstance(event, OrderIssued)]


def ask(commander: Commander, asked: Lease, now_s: float = 0, key: str = "") -> Command:
    command, events = commander.request(asked, key, round(now_s * US))
    keep(commander, events)
    return command


def tick(commander: Commander, now_s: float) -> list[Order]:
    """Tick until nothing comes; the orders that went out."""
    orders: list[Order] = []
    for _ in range(200):
        events = commander.tick(round(now_s * US))
        if not events:
            return orders
        orders += [event.order for event in keep(commander, events)]
    raise AssertionError("a tick that never ends")


def run(commander: Commander, begin_s: float, end_s: float, every_s: float = 0.5) -> list[tuple[float, float | None]]:
    """Tick from ``begin_s`` to ``end_s``; the orders as (when [s], value)."""
    found: list[tuple[float, float | None]] = []
    for at in range(round((end_s - begin_s) / every_s) + 1):
        now_s = begin_s + at * every_s
        found += [(now_s, order.value) for order in tick(commander, now_s)]
    return found


def tag(point: str = "", thing: str = PLAIN, until_s: float = 0, at_s: float = 0, id: str = "t") -> BlockingTag:
    return BlockingTag(id, thing, point, "joe", "line work", round(at_s * US), round(until_s * US))


def again(commander: Any, **given: Any) -> Any:
    """Another commander, from the snapshot of this one."""
    other = make(**given)
    for event in commander.snapshot():
        other.apply(decode_event(encode_event(event)))
    return other
