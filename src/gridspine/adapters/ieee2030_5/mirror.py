"""Usage points that devices mirror here, and the readings they post: into intake, durable before they are answered."""

from collections.abc import Sequence

import msgspec

from gridspine.adapters.ieee2030_5.done import Done
from gridspine.adapters.ieee2030_5.meter import (
    MAX_METERS,
    MAX_READINGS,
    Metered,
    UsagePoint,
    read_meter,
    read_mrid,
    read_usage_point,
    readings_of,
)
from gridspine.adapters.ieee2030_5.metering import newest, usage_point
from gridspine.adapters.ieee2030_5.record import MAX_USAGE_POINTS
from gridspine.adapters.ieee2030_5.session import Sessions, Shown
from gridspine.adapters.ieee2030_5.settings import Settings
from gridspine.adapters.ieee2030_5.view import DeviceView
from gridspine.adapters.ieee2030_5.wire import Element
from gridspine.kernel.errors import Forbidden, Invalid, NotFound, Overloaded
from gridspine.kernel.ids import point_id
from gridspine.kernel.readings import named_readings
from gridspine.kernel.time import US
from gridspine.things.adapter import AdapterContext


class Mirror:
    """Takes usage points and readings."""

    def __init__(self, context: AdapterContext, settings: Settings, sessions: Sessions) -> None:
        self._context, self._settings, self._sessions = context, settings, sessions

    async def add(self, shown: Shown, given: Element) -> Done:
        """Keep a usage point; one that its device gave before, by its mRID, is replaced."""
        asked = read_usage_point(given, "")
        one = next((own for own in shown.view.devices if own.device.lfdi == asked.lfdi and own.device.thing), None)
        if one is None:
            raise Forbidden("deviceLFDI: it is not that of an EndDevice the client speaks for")
        record = await self._sessions.book.device(one.device.lfdi)
        before = next((own for own in record.usage_points if own.mrid == asked.mrid), None)
        if before is None and len(record.usage_points) >= MAX_USAGE_POINTS:
            raise Overloaded(f"an EndDevice may mirror {MAX_USAGE_POINTS} usage points")
        number = str(record.numbered + 1) if before is None else before.number
        made = msgspec.structs.replace(asked, number=number, device=one.device.key)
        await self._own(one, made, before)
        await self._keep(one, made, numbered=before is None)
        await self._take(shown, one, made, given.all("MirrorMeterReading"))
        return Done(201 if before is None else 204, f"{self._settings.path}/mup/{one.device.key}-{number}")

    async def replace(self, shown: Shown, number: str, given: Element) -> Done:
        """Replace what is said of a usage point."""
        one, before = self._find(shown, number)
        asked = read_usage_point(given, one.device.key)
        if asked.lfdi != one.device.lfdi or asked.mrid != before.mrid:
            raise Invalid("MirrorUsagePoint: mRID and deviceLFDI stay as they are")
        made = msgspec.structs.replace(asked, number=before.number)
        await self._own(one, made, before)
        await self._keep(one, made)
        return Done(204)

    async def remove(self, shown: Shown, number: str) -> Done:
        """Forget a usage point; its readings stay."""
        one, before = self._find(shown, number)
        record = await self._sessions.book.device(one.device.lfdi)
        kept = tuple(own for own in record.usage_points if own.number != before.number)
        await self._sessions.book.put_device(one.device.lfdi, msgspec.structs.replace(record, usage_points=kept))
        for mrid in before.mrids:
            await self._sessions.book.own(mrid, "")
        self._sessions.forget_readings(before.mrids)
        self._sessions.renew()
        return Done(204)

    async def post(self, shown: Shown, number: str, given: Element) -> Done:
        """Take readings; what is new of their kinds is kept first."""
        one, point = self._find(shown, number)
        if given.name not in {"MirrorMeterReading", "MirrorMeterReadingList"}:
            raise Invalid(f"a MirrorMeterReading, or a list of them, is needed here, this is a {given.name[:60]}")
        posted = given.all("MirrorMeterReading") if given.name.endswith("List") else [given]
        kinds = [read_meter(each) for each in posted]
        known = {own.mrid: own for own in point.meters}
        for kind in kinds:
            if not kind.type and kind.mrid not in known:
                raise Invalid(f"MirrorMeterReading {kind.mrid}: a ReadingType is needed for one that is new")
        changed = {kind.mrid: kind for kind in kinds if kind.type and kind != known.get(kind.mrid)}
        if changed:
            meters = tuple((known | changed).values())
            if len(meters) > MAX_METERS:
                raise Overloaded(f"a usage point may have {MAX_METERS} kinds of readings")
            made = msgspec.structs.replace(point, meters=meters)
            await self._own(one, made, point)
            await self._keep(one, made)
            point = made
        await self._take(shown, one, point, posted)
        return Done(201, f"{self._settings.path}/mup/{number}")

    def _find(self, shown: Shown, number: str) -> tuple[DeviceView, UsagePoint]:
        found = usage_point(shown.view, number)
        if found is None:
            raise NotFound("there is no such MirrorUsagePoint")
        return found

    async def _own(self, one: DeviceView, made: UsagePoint, before: UsagePoint | None) -> None:
        """Give a usage point's mRIDs to its device; raise `Invalid` for one that is another's."""
        kept = set() if before is None else before.mrids
        new = made.mrids - kept
        for mrid in new:
            if await self._sessions.book.owner(mrid) not in {"", one.device.lfdi}:
                raise Invalid(f"mRID {mrid}: it is taken")
        for mrid in new:
            await self._sessions.book.own(mrid, one.device.lfdi)
        for mrid in kept - made.mrids:
            await self._sessions.book.own(mrid, "")
        self._sessions.forget_readings(kept - made.mrids)

    async def _keep(self, one: DeviceView, made: UsagePoint, *, numbered: bool = False) -> None:
        record = await self._sessions.book.device(one.device.lfdi)
        others = tuple(own for own in record.usage_points if own.number != made.number)
        points = tuple(sorted((*others, made), key=lambda own: int(own.number)))
        changed = msgspec.structs.replace(record, usage_points=points, numbered=record.numbered + numbered)
        await self._sessions.book.put_device(one.device.lfdi, changed)
        self._sessions.renew()

    async def _take(self, shown: Shown, one: DeviceView, point: UsagePoint, posted: Sequence[Element]) -> None:
        """Hand readings in: those that are late as history, which moves nothing back in time."""
        now_us = self._context.clock.now_us()
        found: list[tuple[str, Metered]] = []
        for given in posted:
            kind = point.meter(read_mrid(given))
            assert kind is not None
            found += ((_point(one, point, own), own) for own in readings_of(kind, given, now_us))
            if len(found) > MAX_READINGS:
                raise Invalid(f"at most {MAX_READINGS} readings are taken at once")
        late_us = now_us - round(self._settings.backfill_after_s * US)
        for backfill in (False, True):
            rows = [
                (id_, own.unit, own.observed_us, own.value, own.quality)
                for id_, own in found
                if (own.observed_us < late_us) == backfill
            ]
            if rows:
                await self._context.intake(named_readings(rows), shown.source, backfill=backfill)
        for given in posted:
            self._sessions.read(read_mrid(given), newest(given))


def _point(one: DeviceView, point: UsagePoint, reading: Metered) -> str:
    """Return the point that a reading is of: the site's meter's, where there is one, for those of the site."""
    device = one.device
    if not point.site:
        return point_id(device.thing, reading.point)
    if device.meter:
        return point_id(device.meter, reading.point)
    return point_id(device.thing, "site" + reading.point[:1].upper() + reading.point[1:])
