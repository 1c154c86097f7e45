"""What Things of a model can do for the grid: derived from its lease rules, one row a model.

Every lease rule over active power comes to bounds of the net power that can be asked for [W, import positive]::

    set-point           [minimum, maximum]                        of generation: signs turned
    ceiling of import    down to its minimum                      (a charger, a heat pump)
    ceiling of export    up to minus its minimum                  (a photovoltaic inverter)
    floors               the other way round

    shed  = present power - low        raise = high - present power        never less than 0

Reactive and thermal power, temperatures and modes are no power here: what they would move is not known.
"""

from typing import Any, NamedTuple

from gridspine.kernel.units import unit
from gridspine.things.model import LeaseRule, PointModel, ThingModel

_NONE = -1


class Flexibility(NamedTuple):
    """What the Things of a model have in common: offsets of points (-1: none), bounds [W], factors to W, Wh and %.

    ``low_w`` is +infinity and ``high_w`` -infinity where nothing can be shed or raised. ``longest_low_s`` and
    ``longest_high_s`` [s] are how long one lease holds at most. ``soc_low`` and ``soc_high`` [%] bound what a store
    may be taken to. ``rated_wh`` [Wh] is the model's own word on the store's size, 0 where it has none.
    """

    power: int = _NONE
    power_w: float = 1.0
    low_w: float = float("inf")
    high_w: float = float("-inf")
    longest_low_s: float = 0.0
    longest_high_s: float = 0.0
    soc: int = _NONE
    soc_percent: float = 1.0
    soc_low: float = 0.0
    soc_high: float = 100.0
    rated: int = _NONE
    rated_factor_wh: float = 1.0
    rated_wh: float = 0.0


def flexibility(model: ThingModel) -> Flexibility:
    """Return what the Things of a model can do."""
    names = {point.name: at for at, point in enumerate(model.points)}
    power = _power(model)
    found = Flexibility(power=power)
    if power >= 0:
        found = found._replace(power_w=unit(model.points[power].reading_type.unit).factor)
    for point in model.points:
        if point.lease is not None and (watts := _watts(point, point.lease)):
            found = _widened(found, point, point.lease, watts)
    soc = names.get("stateOfCharge", _NONE)
    if soc >= 0 and found.low_w < 0 < found.high_w:
        found = _with_store(found, model, soc, names.get("ratedEnergy", _NONE))
    return found


def _power(model: ThingModel) -> int:
    """Return the offset of the point that is the Thing's electric power, net; -1 when it has none."""
    found = [
        at for at, point in enumerate(model.points)
        if point.reading_type.kind == "instantaneous" and point.reading_type.flow == "net"
        and point.reading_type.phase == "all" and point.reading_type.commodity == "electricity"
        and unit(point.reading_type.unit).quantity == "active_power"
    ]  # fmt: skip
    return next((at for at in found if model.points[at].name == "activePower"), found[0] if found else _NONE)


def _watts(point: PointModel, lease: LeaseRule) -> float:
    """Return what one unit of a commanded point moves [W], 0 where that is not known."""
    own = unit(point.reading_type.unit)
    if own.quantity == "active_power":
        return own.factor if point.reading_type.commodity == "electricity" else 0.0
    return lease.watts_per_unit


def _widened(found: Flexibility, point: PointModel, lease: LeaseRule, watts: float) -> Flexibility:
    export = point.reading_type.flow == "export"
    low, high = lease.minimum * watts, lease.maximum * watts
    if export:
        low, high = -high, -low
    down = lease.role == "setpoint" or (lease.role == "limit_max") != export
    up = lease.role == "setpoint" or (lease.role == "limit_max") == export
    if down and low < found.low_w:
        found = found._replace(low_w=low, longest_low_s=lease.max_duration_s)
    if up and high > found.high_w:
        found = found._replace(high_w=high, longest_high_s=lease.max_duration_s)
    return found


def _with_store(found: Flexibility, model: ThingModel, soc: int, rated: int) -> Flexibility:
    point = model.points[soc]
    percent = unit(point.reading_type.unit).factor * 100.0
    low, high = point.screen.limit_min, point.screen.limit_max
    found = found._replace(
        soc=soc, soc_percent=percent, soc_low=0.0 if low is None else low * percent,
        soc_high=100.0 if high is None else high * percent,
    )  # fmt: skip
    if rated >= 0 and unit(model.points[rated].reading_type.unit).quantity == "active_energy":
        return found._replace(rated=rated, rated_factor_wh=unit(model.points[rated].reading_type.unit).factor / 3600)
    return found._replace(rated_wh=_number(model.document.get("gs:ratedEnergyWh")))


def _number(value: Any) -> float:
    fits = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e15
    return float(value) if fits else 0.0
