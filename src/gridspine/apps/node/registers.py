"""Registers of a meter around an instant: what was read of them, from log and archive, as it is known now."""

import msgspec
import numpy as np

from gridspine.apps.node.archive import ArchiveService
from gridspine.energy.bid import Bid
from gridspine.energy.register_record import RegisterRecord, Samples, Which, reading_at
from gridspine.infra.archive.query import Stop
from gridspine.infra.archive.wire import Granted
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.time import MAX_US, MIN_US, US
from gridspine.things.directory import Directory
from gridspine.things.point import PointTable

_SQL = """
SELECT point, observed_us, value, quality FROM (
  SELECT point, epoch_us(observed) AS observed_us, value, quality, row_number() OVER (
    PARTITION BY point, quality, epoch_us(observed) < {at} ORDER BY abs(epoch_us(observed) - {at})
  ) AS place FROM readings
) WHERE place <= 2 ORDER BY observed_us
"""
"""The nearest of each quality on either side: what serves of them is decided in one place, `reading_at`."""


class _Rows(msgspec.Struct):
    rows: list[tuple[str, int, float, int]]


class Registers:
    """Reads them. Lives on the event loop; the work is done by a confined child."""

    def __init__(self, things: Directory, points: PointTable, archive: ArchiveService, clock: Clock) -> None:
        self._things, self._points, self._archive, self._clock = things, points, archive, clock

    async def record(self, bid: Bid, which: Which, *, id: str, number: int, supersedes: str) -> RegisterRecord:
        """Return what is known of the registers where ``bid`` begins or ends; raise when they cannot be looked at."""
        at_us = bid.from_us if which == "start" else bid.until_us
        found = await self._around(bid, at_us)
        thing = self._things.roll.get(bid.meter)
        models = {} if thing is None else {one.name: one for one in self._things.model(thing).points}
        readings = [
            reading_at(bid, models[name], which, found[name]) for name in bid.registers if name in found
        ]  # fmt: skip
        known = tuple(one for one in readings if one is not None)
        missing = tuple(name for name in bid.registers if name not in {one.point for one in known})
        return RegisterRecord(
            id=id, organisation=bid.organisation, buyer=bid.buyer, bid=bid.id, meter=bid.meter, which=which,
            at_us=at_us, readings=known, missing=missing, number=number, supersedes=supersedes,
            kept_us=self._clock.now_us(),
        )  # fmt: skip

    async def _around(self, bid: Bid, at_us: int) -> dict[str, Samples]:
        """Return the readings of each register that may serve; none where the meter is another organisation's."""
        thing = self._things.roll.get(bid.meter)
        foreign = thing is None or thing.organisation != bid.organisation
        if thing is None or foreign or self._points.foreign(thing.id, bid.organisation):
            return {}
        units = {one.name: one.reading_type.unit for one in self._things.model(thing).points}
        names = [name for name in bid.registers if name in units]
        if not names:
            return {}
        apart_us = (bid.wait_s if bid.estimate == "interpolate" else bid.tolerance_s) * US + 1
        span = max(at_us - apart_us, MIN_US), min(at_us + apart_us, MAX_US)
        granted = Granted([f"{thing.id}/{name}" for name in names], [units[name] for name in names], *span)
        result = await self._archive.query_granted(
            _SQL.format(at=at_us), "json", granted, principal=f"settlement:{bid.id}", stop=Stop(), as_of_us=None
        )
        rows = msgspec.json.decode(result.body, type=_Rows).rows
        return {name: _samples([one for one in rows if one[0] == f"{thing.id}/{name}"]) for name in names}


def _samples(rows: list[tuple[str, int, float, int]]) -> Samples:
    return Samples(
        np.array([one[1] for one in rows], np.int64), np.array([one[2] for one in rows], np.float64),
        np.array([one[3] for one in rows], np.int64),
    )  # fmt: skip
