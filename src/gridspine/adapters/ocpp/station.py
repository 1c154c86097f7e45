"""Which Things stand for which charge point: a Thing for each EVSE (1.6: connector), all of one device.

::

    connection of a Thing                                       Station "CP001"
    {"station": "CP001", "evse": 1, "device": "urn:…"} ──────►    places {1: Place, 2: Place}
    {"station": "CP001", "evse": 2, "device": "urn:…"} ──────►
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import msgspec

from gridspine.kernel.errors import Invalid
from gridspine.things.adapter import Binding

IDENTITY = re.compile(r"[A-Za-z0-9*\-_=:+|@.]{1,48}", re.ASCII)
"""What a charge point may be called (2.0.1 identifierString, of 48 characters)."""
LIMITS = {"currentLimit": "A", "activePowerLimit": "W"}
"""Points whose leases become charging profiles, with their units; a Thing's first counts."""
SETPOINT = "activePowerSetpoint"
"""The point whose leases become set-points of power (2.1) [W, import positive]."""
MAX_EVSE = 1_000

Purpose = Literal["TxDefaultProfile", "ChargePointMaxProfile"]


class Connection(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The ``connection`` of a binding.

    ``station`` is what the charge point calls itself in the address it opens, and its user name; ``device`` is the
    principal it is known by to the node ("": the Thing's own id). ``evse`` is the EVSE (1.6: the connector), 0 the
    charge point as a whole; ``connector``, where it is not 0, is the only one of the EVSE whose status counts (2.x).

    A lease is sent as ``rate_unit`` and ``purpose``; ampere and watt are ``phases`` times ``voltage_v`` [V] apart.
    """

    station: str
    device: str = ""
    evse: int = 1
    connector: int = 0
    phases: Literal[1, 2, 3] = 3
    voltage_v: float = 230.0
    rate_unit: Literal["A", "W"] = "A"
    purpose: Purpose = "TxDefaultProfile"


@dataclass(frozen=True, slots=True)
class Place:
    """A Thing of a charge point."""

    thing: str
    connection: Connection
    points: frozenset[str]

    @property
    def evse(self) -> int:
        """The EVSE, or connector of 1.6."""
        return self.connection.evse

    @property
    def limit(self) -> str:
        """The point that limits what is drawn, "" for none."""
        return next((point for point in LIMITS if point in self.points), "")

    @property
    def commanded(self) -> bool:
        """Whether any of its points becomes a charging profile."""
        return bool(self.limit) or SETPOINT in self.points

    @property
    def limits_all(self) -> bool:
        """Whether its limit is that of the whole charge point, which has one only."""
        return bool(self.limit) and self.connection.purpose == "ChargePointMaxProfile"


@dataclass(slots=True)
class Station:
    """A charge point: who it is to the node, and its Things by EVSE."""

    identity: str
    device: str
    organisation: str
    places: dict[int, Place] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What it is known by here: its name is its organisation's own."""
        return f"{self.organisation}/{self.identity}"

    def place(self, evse: int) -> Place | None:
        """Return the Thing of an EVSE."""
        return self.places.get(evse)

    def beside(self, thing: str) -> tuple[str, ...]:
        """Return its Things but ``thing``."""
        return tuple(place.thing for place in self.places.values() if place.thing != thing)

    def only(self) -> Place | None:
        """Return the only Thing, None when there are several."""
        return next(iter(self.places.values())) if len(self.places) == 1 else None


class Stations:
    """All charge points that Things are bound to; ``problems`` is what of bindings is left out, and why."""

    def __init__(self, bindings: Iterable[Binding], before: "Stations | None" = None) -> None:
        """Arrange ``bindings``; those that ``before`` has as well need not be read again."""
        self.problems: list[str] = []
        self._read: dict[str, tuple[Binding, Place]] = {}
        self._before = {} if before is None else before._read
        self._stations: dict[str, Station] = {}
        self._named: dict[str, list[Station]] = {}
        self._of_thing: dict[str, Station] = {}
        for binding in bindings:
            problem = self._add(binding)
            if problem:
                self.problems.append(f"{binding.thing}: {problem}")
        self._before = {}

    def get(self, key: str) -> Station | None:
        """Return the charge point of that key."""
        return self._stations.get(key)

    def named(self, identity: str, organisation: str = "") -> list[Station]:
        """Return the charge points of that name: of one organisation, or of each that has one."""
        found = self._named.get(identity, [])
        return [one for one in found if not organisation or one.organisation == organisation]

    def of(self, thing: str) -> tuple[Station, Place] | None:
        """Return where a Thing is."""
        station = self._of_thing.get(thing)
        if station is None:
            return None
        return station, next(place for place in station.places.values() if place.thing == thing)

    def things(self, station: Station) -> Sequence[str]:
        """Return the Things of a charge point."""
        return [place.thing for place in station.places.values()]

    def _add(self, binding: Binding) -> str:
        known = self._before.get(binding.thing)
        if known is not None and known[0] == binding:
            place = known[1]
        else:
            try:
                place = _place(binding)
            except (msgspec.ValidationError, Invalid) as error:
                return f"connection: {error}"
        self._read[binding.thing] = binding, place
        name, device = place.connection.station, place.connection.device or binding.thing
        station = self._stations.get(f"{binding.organisation}/{name}")
        if station is None:
            station = Station(name, device, binding.organisation)
            self._stations[station.key] = station
            self._named.setdefault(name, []).append(station)
        if station.device != device:
            return f"station {name} is bound to another device already"
        if place.evse in station.places:
            return f"EVSE {place.evse} of {name} is bound to another Thing already"
        limiting = next((one.thing for one in station.places.values() if one.limits_all and place.limits_all), "")
        if limiting:  # two profiles of one purpose and level would replace each other in the charge point
            place = replace(place, points=place.points - LIMITS.keys())
        station.places[place.evse] = place
        self._of_thing[binding.thing] = station
        return f"its limit: that of {name} as a whole is the limit of {limiting} already" if limiting else ""


def _place(binding: Binding) -> Place:
    connection = msgspec.convert(binding.connection, Connection)
    if not IDENTITY.fullmatch(connection.station):
        raise Invalid("station is no name of a charge point: 1 to 48 letters, digits and * - _ = : + | @ .")
    if not 0 <= connection.evse <= MAX_EVSE or not 0 < connection.voltage_v < 2_000:
        raise Invalid(f"evse is 0 to {MAX_EVSE}, voltageV more than 0 and less than 2000")
    return Place(binding.thing, connection, frozenset(binding.points))
