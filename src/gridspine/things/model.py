"""Thing Models: the template of a class of Things, and the points they give.

Source: W3C Web of Things (WoT) Thing Description 1.1, §10 Thing Model. The whole document is kept; the terms under
the prefix ``gs:`` are ours: ``gs:readingType`` (meaning), ``gs:screen`` (how it is screened), ``gs:lease`` (whether
and how it may be commanded).
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from gridspine.kernel.errors import Invalid
from gridspine.kernel.ids import check_point_name
from gridspine.kernel.reading_type import ReadingType

_NOT_NEGATIVE = (
    "deadband", "deadband_percent", "span", "min_interval_s", "max_silence_s", "max_future_s", "flap_changes",
    "flap_window_s",
)  # fmt: skip


class ScreenRule(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """How a point is screened; values in the point's unit. A limit left out does not apply.

    ``possible_min`` and ``possible_max`` bound what device or physics can do: beyond is refused and quarantined.
    ``limit_min``, ``limit_max`` and ``max_rate_per_s`` [unit/s] are operating limits: beyond is delivered, marked
    and alarmed. ``deadband`` [unit] or ``deadband_percent`` [% of ``span``] suppress unchanged values of
    instantaneous points where the source cannot do it itself. ``min_interval_s`` [s] holds their latest value back.
    ``settlement`` points are kept as they come: neither applies. A state that changes more than ``flap_changes`` times
    within ``flap_window_s`` [s] is flapping. ``max_silence_s`` [s] without a reading makes the last one old-data, 0
    never does. ``max_future_s`` [s] is how far ahead of the node a source's clock may run.
    """

    possible_min: float | None = None
    possible_max: float | None = None
    limit_min: float | None = None
    limit_max: float | None = None
    max_rate_per_s: float | None = None
    deadband: float = 0.0
    deadband_percent: float = 0.0
    span: float = 0.0
    min_interval_s: float = 0.0
    max_silence_s: float = 60.0
    max_future_s: float = 5.0
    flap_changes: int = 0
    flap_window_s: float = 0.0
    settlement: bool = False

    def check(self, reading_type: ReadingType) -> None:
        """Raise `Invalid` when the rule contradicts itself or the kind of ``reading_type``."""
        for name in _NOT_NEGATIVE:
            if getattr(self, name) < 0:
                raise Invalid(f"{name} must not be negative")
        for low, high in ((self.possible_min, self.possible_max), (self.limit_min, self.limit_max)):
            if low is not None and high is not None and low > high:
                raise Invalid(f"a limit from {low} to {high} leaves nothing between")
        if self.deadband_percent and not self.span:
            raise Invalid("deadbandPercent is per cent of span: span must be given")
        if (self.effective_deadband or self.min_interval_s) and not (
            reading_type.deadband_allowed and not self.settlement
        ):
            raise Invalid("only instantaneous points may have a deadband or a minimum interval, and none of settlement")
        if bool(self.flap_changes) != bool(self.flap_window_s):
            raise Invalid("flapChanges and flapWindowS go together")
        if self.flap_changes and reading_type.kind != "state":
            raise Invalid("only states flap")

    @property
    def effective_deadband(self) -> float:
        """The deadband in the point's unit; relative ones are per cent of span, not of value."""
        return max(self.deadband, self.deadband_percent / 100.0 * self.span)


class LeaseRule(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """What may be commanded on a point, in the point's unit.

    ``role`` tells a set-point (arbitrated, then clamped) from a limit (the tightest wins). ``reversion`` says who
    ends a lease when everything else is gone: the device itself, or nobody because the state is safe to persist.
    ``fallback`` is the value after the last lease. ``max_duration_s`` [s] bounds a single lease.
    ``confirm_point`` is the reported point that shows the effect, ``tolerance`` [unit] how near it must come.

    A device whose value is other than ``off`` is on: it stays on for ``min_on_s`` [s] and off for ``min_off_s`` [s] at
    least. ``ramp_per_s`` [unit/s] is how fast its value may be moved, in steps of ``ramp_step_s`` [s]; 0 is at once.
    Limits, safety and all-stop wait for neither. ``watts_per_unit`` [W/unit] says what power one unit moves where the
    unit is not one of active power (amperes: the voltage times the phases).
    """

    role: Literal["setpoint", "limit_max", "limit_min"] = "setpoint"
    minimum: float = 0.0
    maximum: float = 0.0
    reversion: Literal["device", "none", "safe-to-persist"] = "none"
    fallback: float = 0.0
    max_duration_s: float = 3600.0
    confirm_point: str = ""
    tolerance: float = 0.0
    off: float = 0.0
    min_on_s: float = 0.0
    min_off_s: float = 0.0
    ramp_per_s: float = 0.0
    ramp_step_s: float = 1.0
    watts_per_unit: float = 0.0

    def check(self) -> None:
        """Raise `Invalid` when the rule contradicts itself."""
        for name in ("max_duration_s", "tolerance", "min_on_s", "min_off_s", "ramp_per_s", "watts_per_unit"):
            if getattr(self, name) < 0:
                raise Invalid(f"{name} must not be negative")
        if self.minimum > self.maximum:
            raise Invalid(f"a range from {self.minimum:g} to {self.maximum:g} leaves nothing between")
        if not self.ramp_step_s > 0:
            raise Invalid("ramp_step_s must be more than 0")

    @property
    def governed(self) -> bool:
        """Whether ramps or least times on and off shape what is ordered."""
        return bool(self.ramp_per_s or self.min_on_s or self.min_off_s)


class PointModel(msgspec.Struct, frozen=True):
    """One property of a Thing Model that carries readings."""

    name: str
    title: str
    reading_type: ReadingType
    screen: ScreenRule
    lease: LeaseRule | None = None


class ThingModel(msgspec.Struct, frozen=True):
    """A Thing Model: its whole document, and the points read from it in the order of their names."""

    id: str
    title: str
    version: str
    document: dict[str, Any]
    points: tuple[PointModel, ...]

    def point(self, name: str) -> PointModel:
        """Return the point called ``name``; raise `Invalid` when the model has none."""
        for point in self.points:
            if point.name == name:
                return point
        raise Invalid(f"model {self.id} has no point {name!r}; it has {', '.join(p.name for p in self.points)}")


def parse_model(document: Mapping[str, Any]) -> ThingModel:
    """Read a Thing Model document; raise `Invalid` naming the field that is wrong."""
    if not isinstance(document, Mapping) or document.get("@type") != "tm:ThingModel":
        raise Invalid('a Thing Model has "@type": "tm:ThingModel"')
    properties = _mapping(document, "properties")
    for name, affordance in properties.items():
        if not isinstance(affordance, Mapping):
            raise Invalid(f"properties.{name}: an object is needed")
    points = tuple(
        _parse_point(name, properties[name]) for name in sorted(properties) if "gs:readingType" in properties[name]
    )
    return ThingModel(
        id=_text(document, "id"),
        title=_text(document, "title"),
        version=str(_mapping(document, "version").get("model", "0")),
        document=dict(document),
        points=points,
    )


def _parse_point(name: str, affordance: Mapping[str, Any]) -> PointModel:
    try:
        point = PointModel(
            name=check_point_name(name),
            title=_text({"title": name, **affordance}, "title"),
            reading_type=msgspec.convert(affordance["gs:readingType"], ReadingType),
            screen=msgspec.convert(affordance.get("gs:screen", {}), ScreenRule),
            lease=msgspec.convert(affordance["gs:lease"], LeaseRule) if "gs:lease" in affordance else None,
        )
        point.reading_type.check()
        point.screen.check(point.reading_type)
        if point.lease is not None:
            point.lease.check()
    except (msgspec.ValidationError, Invalid) as error:
        raise Invalid(f"properties.{name}: {error}") from error
    return point


def _mapping(document: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    value = document.get(field) or {}
    if not isinstance(value, Mapping):
        raise Invalid(f"{field}: an object is needed")
    return value


def _text(document: Mapping[str, Any], field: str) -> str:
    value = document.get(field)
    if not isinstance(value, str) or not value:
        raise Invalid(f"{field}: a non-empty text is needed")
    return value
