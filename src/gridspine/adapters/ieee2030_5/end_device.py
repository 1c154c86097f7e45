"""Which Things stand for which EndDevice, and which client speaks for it.

::

    connection of a Thing                                              EndDevice, by its LFDI
    {"lfdi": "3E4F…", "pin": 111115} ────────────────────────────────► device: the Thing that is controlled
    {"lfdi": "3E4F…", "role": "site"} ───────────────────────────────► site: the meter at its connection point
    {"lfdi": "A0B1…", "aggregator": "77C2…"} ────────────────────────► a device behind an aggregator
    {"lfdi": "77C2…", "role": "aggregator"} ─────────────────────────► the aggregator itself

A client is who its certificate says: its LFDI is that of a device, or of an aggregator. It sees an EndDevice when it
speaks for its Thing, and nothing of any other.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from gridspine.adapters.ieee2030_5.identity import check_lfdi, check_pin
from gridspine.adapters.ieee2030_5.mrid import short
from gridspine.kernel.errors import Invalid
from gridspine.things.adapter import Binding

_MODELS = "https://gridspine.org/models/"
_LOADS = frozenset({f"{_MODELS}{name}" for name in ("appliance", "heat_pump")})
"""Models whose ``activePowerLimit`` is of what they take; that of all others is of what they generate."""
COMMANDS = {
    "activePowerLimit": "opModGenLimW", "activePowerSetpoint": "opModTargetW", "currentLimit": "opModLoadLimW",
}  # fmt: skip
"""Points whose leases become controls, and of which mode, unless the connection says others or it is a load."""
AMPERES = frozenset({"currentLimit"})
"""Points in amperes a phase; all others that become controls are in watts."""
MODES = frozenset({"opModGenLimW", "opModLoadLimW", "opModExpLimW", "opModImpLimW", "opModTargetW"})


class Connection(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The ``connection`` of a binding.

    ``lfdi`` is the EndDevice's, 40 hexadecimal digits. ``role``: *device*, what is controlled; *site*, the meter of its
    connection point, whose readings come from the same EndDevice; *aggregator*, the client that speaks for others.
    ``aggregator`` is the LFDI of the aggregator it is behind, "" for none. ``pin`` is what the device's owner compares
    at registration, 0 for none. ``category`` is a bitmap (DeviceCategoryType). ``commands``: which control a lease on a
    point becomes, None for what its model says (`commands_of`). ``watts_per_ampere`` [W/A] is what stands between a
    limit of current and a control: three phases of 230 V, unless it says otherwise.
    """

    lfdi: str
    role: Literal["device", "site", "aggregator"] = "device"
    aggregator: str = ""
    pin: int = 0
    category: int = 0
    commands: dict[str, str] | None = None
    watts_per_ampere: float = 690.0


@dataclass(slots=True)
class EndDevice:
    """An EndDevice: ``key`` names it in paths; ``thing`` is its Thing, ``meter`` that of its site, "" for none."""

    key: str
    lfdi: str
    thing: str = ""
    meter: str = ""
    title: str = ""
    organisation: str = ""
    connection: Connection = field(default_factory=lambda: Connection(""))
    points: frozenset[str] = frozenset()
    meter_points: frozenset[str] = frozenset()
    category: int = 0
    announced_us: int = 0
    """When a client announced it; then it has no Thing yet."""

    @property
    def aggregator(self) -> bool:
        """Whether it is the one of an aggregator."""
        return self.connection.role == "aggregator"

    @property
    def commands(self) -> dict[str, str]:
        """Which control a lease on a point becomes, by point."""
        return self.connection.commands or {}

    @property
    def speaks(self) -> str:
        """The LFDI of the client that speaks for it."""
        return self.connection.aggregator or self.lfdi


class EndDevices:
    """All EndDevices that Things are bound to; ``problems`` are the bindings left out, and why."""

    def __init__(self, bindings: Iterable[Binding]) -> None:
        self.problems: list[str] = []
        self._of: dict[str, EndDevice] = {}
        self._by_thing: dict[str, EndDevice] = {}
        self._clients: dict[str, list[EndDevice]] = {}
        for binding in bindings:
            try:
                self._add(binding, read_connection(binding))
            except Invalid as error:
                self.problems.append(f"{binding.thing}: {error.detail}")
        for lfdi, one in sorted(self._of.items()):
            if one.thing:
                self._clients.setdefault(one.speaks, []).append(one)
            else:
                self.problems.append(f"{one.meter}: no Thing is the device {lfdi[:8]}… whose site it meters")
        for own in self._clients.values():  # an aggregator's own comes first
            own.sort(key=lambda one: (not one.aggregator, one.key))

    def of_client(self, lfdi: str) -> Sequence[EndDevice]:
        """Return the EndDevices that the client with that LFDI may speak for, if its Things let it."""
        return self._clients.get(lfdi, ())

    def get(self, lfdi: str) -> EndDevice | None:
        """Return the EndDevice with that LFDI."""
        return self._of.get(lfdi)

    def all(self) -> Sequence[EndDevice]:
        """Return all of them."""
        return list(self._of.values())

    def of_thing(self, thing: str) -> EndDevice | None:
        """Return the EndDevice that a Thing is of."""
        return self._by_thing.get(thing)

    def _add(self, binding: Binding, connection: Connection) -> None:
        lfdi = connection.lfdi
        one = self._of.get(lfdi) or EndDevice(key_of(lfdi), lfdi, organisation=binding.organisation)
        if one.organisation != binding.organisation:
            raise Invalid(f"the EndDevice {lfdi[:8]}… is another organisation's")
        if connection.role == "site":
            if one.meter:
                raise Invalid(f"the site of EndDevice {lfdi[:8]}… is metered by another Thing already")
            one.meter, one.meter_points = binding.thing, frozenset(binding.points)
        else:
            if one.thing:
                raise Invalid(f"the EndDevice {lfdi[:8]}… is another Thing already")
            one.thing, one.title, one.connection = binding.thing, binding.title, connection
            one.points, one.category = frozenset(binding.points), connection.category
        self._of[lfdi] = one
        self._by_thing[binding.thing] = one


def key_of(lfdi: str) -> str:
    """Return how the EndDevice with that LFDI is called in paths."""
    return short("EndDevice", lfdi)


def commands_of(model: str) -> dict[str, str]:
    """Return which control a lease on a point of a model's becomes, where the connection does not say."""
    return COMMANDS | ({"activePowerLimit": "opModLoadLimW"} if model in _LOADS else {})


def read_connection(binding: Binding) -> Connection:
    """Return the connection of a binding, its LFDIs in capitals; raise `Invalid` naming what is wrong."""
    try:
        found = msgspec.convert(binding.connection, Connection)
        aggregator = check_lfdi(found.aggregator) if found.aggregator else ""
        commands = commands_of(binding.model) if found.commands is None else found.commands
        made = msgspec.structs.replace(found, lfdi=check_lfdi(found.lfdi), aggregator=aggregator, commands=commands)
        if made.pin:
            check_pin(made.pin)
    except (msgspec.ValidationError, Invalid) as error:
        words = error.detail if isinstance(error, Invalid) else str(error)
        raise Invalid(f"connection: {words}") from error
    if not 0 <= made.category < 2**32:
        raise Invalid("connection: category is a bitmap of 32 bits")
    if not 0 < made.watts_per_ampere < 1e5:
        raise Invalid("connection: wattsPerAmpere is more than 0 and less than 100000")
    if unknown := sorted(set(commands.values()) - MODES):
        raise Invalid(f"connection: commands: {unknown[0][:40]!r} is none of {', '.join(sorted(MODES))}")
    return made
