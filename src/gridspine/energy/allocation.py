"""A control divided over the Things that it is for: which point of each is told what.

::

    import ≤ 11 kW      charger can take 22 kW ─► 8.8 kW      battery can take 5.5 kW ─► 2.2 kW
    a guard is named    guard ─► 11 kW                        the others are told nothing

Each gets a part as large as what it can take, or give, at most: together they cannot pass the limit, whatever each of
them does and without anybody measuring. What is larger than all of them together limits nothing.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from gridspine.energy.control import Control, Mode
from gridspine.kernel.units import unit
from gridspine.things.lease import Role, pauses, reaches
from gridspine.things.model import LeaseRule, PointModel, ThingModel

Direction = Literal["import", "export"]
_GROUPS: tuple[tuple[Mode, Direction, bool], ...] = (
    ("import_limit_w", "import", True), ("export_limit_w", "export", True),
    ("load_limit_w", "import", False), ("generation_limit_w", "export", False),
)  # fmt: skip
"""Each limit, what it limits, and whether it is one of the connection point, which a guard can keep."""


class Handle(NamedTuple):
    """A point of a Thing that is told what it may take (import) or give (export) at most.

    ``watts`` [W, import positive] is what one unit of it moves; ``most_w`` [W] what it can take or give at most;
    ``base_w`` [W] what it may when nobody tells it anything.
    """

    thing: str
    point: str
    rule: LeaseRule
    direction: Direction
    watts: float
    most_w: float
    base_w: float

    @property
    def role(self) -> Role:
        """By which kind of lease: what one may give is a floor of a point that counts import."""
        return "limit_max" if (self.direction == "import") == (self.watts > 0) else "limit_min"

    def value(self, power_w: float) -> float:
        """Return in the point's unit what a magnitude in its direction is [W].

        It may be less than the device can do while it is on: then it pauses, or the lease is refused. A limit is
        never loosened to what it can.
        """
        return (power_w if self.direction == "import" else -power_w) / self.watts + 0.0

    def told(self, power_w: float, role: Role, *, bounding: bool = False) -> "Told":
        """Return how it is told a magnitude in its direction [W] by a lease of ``role``."""
        value = self.value(power_w)
        beyond = not reaches(self.rule, role, value) and not pauses(self.rule, role, value)
        return Told(self.thing, self.point, role, value, bounding, beyond)


class Told(NamedTuple):
    """What one point is told: ``value`` [its unit] by a lease of ``role``.

    ``bounding`` limits what others ask for, and lets the point do no more than it may by itself. ``beyond``: it is less
    than the device can do, and will be refused; what holds before and after is told by other leases.
    """

    thing: str
    point: str
    role: Role
    value: float
    bounding: bool = False
    beyond: bool = False


def handles(thing: str, model: ThingModel) -> list[Handle]:
    """Return the points by which a Thing of ``model`` can be limited; none where power is not what they move."""
    return [one for point in model.points if point.lease for one in _handles(thing, point, point.lease)]


def _handles(thing: str, point: PointModel, rule: LeaseRule) -> list[Handle]:
    watts = _watts(point, rule)
    if not watts:
        return []
    ends = sorted((rule.minimum * watts, rule.maximum * watts))
    if rule.role == "setpoint":
        found = (("import", max(0.0, ends[1])), ("export", max(0.0, -ends[0])))
        return [Handle(thing, point.name, rule, way, watts, most, most) for way, most in found if most]  # type: ignore[arg-type]
    if rule.role == "limit_min":  # a floor asks for more, it is no limit of ours
        return []
    way: Direction = "export" if watts < 0 else "import"
    most_w, base_w = abs(rule.maximum * watts), abs(rule.fallback * watts)
    return [Handle(thing, point.name, rule, way, watts, most_w, base_w)] if most_w else []


def _watts(point: PointModel, rule: LeaseRule) -> float:
    """Return what power one unit of a point moves [W, import positive], 0 where it is none of electric power."""
    own = unit(point.reading_type.unit)
    if own.quantity == "active_power":
        watts = own.factor if point.reading_type.commodity == "electricity" else 0.0
    else:
        watts = rule.watts_per_unit
    return -watts if point.reading_type.flow == "export" else watts


def limited(
    control: Control, static: Control, own: Sequence[Handle], *, guard: str = "", set_aside_w: float = 0.0,
    alone: bool = True,
) -> list[Told]:  # fmt: skip
    """Return what the points of ``own`` are told so that ``control`` holds, and with it ``static``, which always does.

    Of every import limit ``set_aside_w`` [W] is kept for what nobody commands. A point that no limit holds back is told
    nothing; ``static`` alone never lets one do more than it may by itself. Not ``alone``:
    somebody else tells of ``static`` where ``control`` says nothing.
    """
    asked = _shares(control, own, guard, set_aside_w)
    always = _shares(static, own, guard, set_aside_w)
    told = []
    for number, one in enumerate(own):
        power_w = asked.get(number)
        if power_w is None and not alone:
            continue
        bound_w = always.get(number, one.most_w)
        if power_w is None:
            # Also where it may do no more by itself: others could let it do more, and this clamps them.
            if bound_w < one.most_w:
                told.append(one.told(bound_w, one.role, bounding=True))
        elif (limit_w := min(power_w, bound_w)) != one.base_w or limit_w < one.most_w:
            told.append(one.told(limit_w, one.role))
    return told


def aimed(target_w: float, own: Sequence[Handle]) -> list[Told]:
    """Return the set-points by which the Things of ``own`` come to ``target_w`` [W, import positive] together.

    As far as they can: what is more than all of them can do is not made up by anybody. 0 is for all that have one.
    """
    able = [one for one in own if one.rule.role == "setpoint"]
    if target_w:
        able = [one for one in able if (one.direction == "import") == (target_w > 0)]
    most_w = sum(one.most_w for one in able)
    asked_w = min(abs(target_w), most_w)
    values = {(one.thing, one.point): one.value(asked_w * one.most_w / most_w) for one in able}
    return [Told(thing, point, "setpoint", value) for (thing, point), value in values.items()]


def _shares(control: Control, own: Sequence[Handle], guard: str, set_aside_w: float) -> dict[int, float]:
    """Return what each of ``own``, by its place, may do at most [W] by the limits of ``control``."""
    found: dict[int, float] = {}
    for mode, direction, at_the_point in _GROUPS:
        limit_w: float | None = getattr(control, mode)
        if limit_w is None:
            continue
        group = [number for number, one in enumerate(own) if one.direction == direction]
        keeping = [number for number in group if own[number].thing == guard]
        if at_the_point and keeping:
            group = keeping[:1]
        else:
            group = [number for number in group if own[number].thing != guard]
            limit_w = max(0.0, limit_w - set_aside_w) if direction == "import" else limit_w
        most_w = sum(own[number].most_w for number in group)
        for number in group:
            share_w = min(limit_w, most_w) * own[number].most_w / most_w
            found[number] = min(share_w, found.get(number, share_w))
    return found
