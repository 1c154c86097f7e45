"""What one EndDevice's client is shown: all that resources are rendered of, as it stands at one moment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from gridspine.adapters.ieee2030_5.der_program import Assignment
from gridspine.adapters.ieee2030_5.end_device import EndDevice
from gridspine.adapters.ieee2030_5.record import ClientRecord, DeviceRecord
from gridspine.adapters.ieee2030_5.settings import Rates, Settings
from gridspine.energy.followed import Followed

MAX_LIMIT = 255
"""Items of one page at most, whatever is asked for."""


class LastReading(NamedTuple):
    """The newest reading of a kind, as it was posted: its value in its ReadingType's numbers, over which time [s].

    ``start_s`` [s since 1970] and ``lasts_s`` [s] are of its timePeriod, if it is ``timed``; ``flags`` are its
    qualityFlags.
    """

    value: int
    start_s: int
    lasts_s: int
    flags: str
    timed: bool

    @property
    def until_s(self) -> int:
        """When its period ended [s since 1970]."""
        return self.start_s + self.lasts_s


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is asked for: from ``start`` on, ``limit`` items, of those changed after ``after_us``."""

    start: int = 0
    limit: int = 1
    after_us: int = 0


@dataclass(frozen=True, slots=True)
class DeviceView:
    """An EndDevice with what is kept of it and what is assigned to it."""

    device: EndDevice
    record: DeviceRecord
    followed: Followed
    assignments: Sequence[Assignment]
    href: str

    @property
    def changed_us(self) -> int:
        """When it, or what is assigned to it, changed last [µs since 1970]."""
        known_us = self.device.announced_us or self.record.since_us
        return max([known_us, *(one.changed_us for one in self.assignments)])

    @property
    def connection_point(self) -> str:
        """The id of its connection point: as its site says, else as it claims."""
        site = self.followed.site
        return (site.connection_point_id if site is not None else "") or self.record.connection_point


@dataclass(frozen=True, slots=True)
class ClientView:
    """A client: its EndDevices, and what is kept of itself."""

    lfdi: str
    devices: Sequence[DeviceView]
    record: ClientRecord
    settings: Settings
    rates: Rates
    now_us: int
    next_us: int
    latest: Mapping[str, LastReading] = field(default_factory=dict)
    """The newest reading of each kind, by its mRID, also of others' kinds."""

    def device(self, key: str) -> DeviceView | None:
        """Return the EndDevice that is called so in paths, if it is one of the client's."""
        return next((one for one in self.devices if one.device.key == key), None)

    @property
    def subscriber(self) -> DeviceView | None:
        """The EndDevice beneath which its subscriptions are: an aggregator's own, else its only one."""
        return next((one for one in self.devices if one.device.speaks == self.lfdi), None)
