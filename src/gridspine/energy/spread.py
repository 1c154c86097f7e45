"""A set-point of an ensemble spread over its members, each by as much of its room as every other.

::

    sum now 10 kW ─► told 4 kW: 6 kW less     members can shed 8 kW + 4 kW = 12 kW: each gives half of what it can
                                              8 ─► 4 kW less · 4 ─► 2 kW less

What a member is told is a word of its own model: a set-point of its power, a ceiling of its import or export.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from gridspine.energy.ensemble import Gathered
from gridspine.energy.plant import only
from gridspine.kernel.errors import Conflict
from gridspine.kernel.units import unit
from gridspine.things.model import LeaseRule, ThingModel

MAX_MEMBERS = 5_000
"""Members told at once at most: those that can do the most."""
_DUST_W = 0.5


def batch_of(ensemble: str, command: str = "", sequence: int = 0) -> str:
    """Return the name under which an order of an ensemble is spread; of all its orders, what their names begin with."""
    return f"{ensemble}#{command}#{sequence}" if command else f"{ensemble}#"


class Lever(NamedTuple):
    """The point by which a Thing's power is moved one way; ``watts`` [W, import positive] is what one unit of it is."""

    point: str
    rule: LeaseRule
    watts: float


class Share(NamedTuple):
    """What one member is told: Thing by number, ``point`` and ``value`` [its unit]; so its power comes to ``w`` [W]."""

    thing: int
    lever: Lever
    value: float
    w: float


def lever(model: ThingModel, direction: str) -> Lever | None:
    """Return by which point Things of a model *shed* or *raise* the furthest, None where they cannot.

    It is the point that `gridspine.energy.flexibility` counts on.
    """
    best: tuple[float, Lever] | None = None
    for point in model.points:
        rule, own = point.lease, unit(point.reading_type.unit)
        if rule is None:
            continue
        electric = own.quantity == "active_power" and point.reading_type.commodity == "electricity"
        watts = own.factor if electric else 0.0 if own.quantity == "active_power" else rule.watts_per_unit
        export = point.reading_type.flow == "export"
        shed = direction == "shed"
        if not watts or not (rule.role == "setpoint" or (rule.role == "limit_max") == (shed != export)):
            continue
        watts = -watts if export else watts
        furthest = min(rule.minimum * watts, rule.maximum * watts) * (1 if shed else -1)
        if not shed:
            furthest = -max(rule.minimum * watts, rule.maximum * watts)
        if best is None or furthest < best[0]:
            best = furthest, Lever(point.name, rule, watts)
    return None if best is None else best[1]


def spread(
    target_w: float, present_w: float, able: Gathered, model_of: Callable[[int], ThingModel], for_s: float = 0.0
) -> list[Share]:
    """Return what members are told so that the sum of all comes from ``present_w`` to ``target_w`` [W] for ``for_s``.

    ``able`` are the members that can be told; those whose leases do not hold so long [s] are left out. Raises
    `Conflict` saying how far the others can go, when that is not far enough.
    """
    direction = "shed" if target_w <= present_w else "raise"
    if len(able.members) > MAX_MEMBERS:
        room = able.shed_w if direction == "shed" else able.raise_w
        first = np.zeros(len(room), np.bool_)
        first[np.argpartition(-room, MAX_MEMBERS)[:MAX_MEMBERS]] = True
        able = only(able, first)
    levers = {int(number): lever(model_of(int(number)), direction) for number in able.members}
    able = only(able, np.array([one is not None and one.rule.max_duration_s >= for_s for one in levers.values()], bool))
    room = able.shed_w if direction == "shed" else able.raise_w
    sign = -1.0 if direction == "shed" else 1.0
    needed, most = max(0.0, sign * (target_w - present_w)), float(room.sum())
    if needed > most + _DUST_W or not len(able.members):
        furthest = present_w + sign * most
        raise Conflict(
            f"{len(able.members)} members can be commanded now, and bring the sum from {present_w:.0f} W to "
            f"{furthest:.0f} W at the furthest, not to {target_w:.0f} W"
        )
    part = min(1.0, needed / most) if most > 0 else 0.0
    wanted = able.power_w + sign * part * room
    shares = []
    for number, w in zip(able.members.tolist(), wanted.tolist(), strict=True):
        by = levers[number]
        assert by is not None, "the others were left out"
        shares.append(_share(number, w, by))
    return shares


def _share(thing: int, w: float, by: Lever) -> Share:
    value = min(max(w / by.watts, by.rule.minimum), by.rule.maximum)
    return Share(thing, by, value, value * by.watts)
