"""Locations of ours: what the settings publish, with what the twins know; fetched and pushed.

::

    settings + charging points' twins ─► Location ─┬─► GET, page by page
                              a state changes ─────┴─► PATCH …/{location}/{evse} at each partner with EMSP

Source: OCPI 2.2.1-d2 and 2.3.0, chapter "Locations module" (2.2.1 and 2.3.0 have the same object, as far as it is
filled here). ``max_voltage`` is line to neutral.
"""

import asyncio
import contextlib
import hashlib
from typing import NamedTuple

from gridspine.adapters.ocpi.book import Partner
from gridspine.adapters.ocpi.call import Call, Reply
from gridspine.adapters.ocpi.charging import CdrLocation
from gridspine.adapters.ocpi.location import Connector, Evse, Location, Status
from gridspine.adapters.ocpi.push import Push, Pushes
from gridspine.adapters.ocpi.roaming import Roaming
from gridspine.adapters.ocpi.settings import PublishedEvse, PublishedLocation
from gridspine.adapters.ocpi.wire import nothing_here, path_of, write_time
from gridspine.adapters.ocpi.words import BusinessDetails, place_of
from gridspine.energy.charging import ChargingPoint
from gridspine.kernel.errors import NotFound
from gridspine.kernel.time import US

LOOK_S = 1.0
_AT_ONCE = 500
"""How many charging points are looked at before others have their turn."""
CONNECTOR = "1"
STATUS: dict[int, Status] = {
    1: "AVAILABLE", 2: "CHARGING", 3: "CHARGING", 4: "CHARGING", 5: "CHARGING", 6: "CHARGING", 7: "RESERVED",
    8: "INOPERATIVE", 9: "OUTOFORDER",
}  # fmt: skip
"""What the codes of *connectorState* are to a partner: in use is CHARGING, whatever the vehicle does."""
_ABLE = {"remoteStart": "REMOTE_START_STOP_CAPABLE", "unlock": "UNLOCK_CAPABLE", "reserve": "RESERVABLE"}


class Published(NamedTuple):
    """A charging point that is published: its place, itself, and what partners know it by."""

    location: PublishedLocation
    evse: PublishedEvse
    uid: str


class CpoLocations:
    """Our locations, as each partner sees them."""

    def __init__(self, roaming: Roaming, pushes: Pushes) -> None:
        self._roaming, self._pushes = roaming, pushes
        self._published = [
            Published(place, evse, evse.uid or _uid(evse.thing))
            for place in roaming.settings.locations for evse in place.evses
        ]  # fmt: skip
        self.by_thing = {one.evse.thing: one for one in self._published}
        self.since_us = 0
        """Since when the settings say what they say [µs since 1970]."""
        self._looked: dict[str, tuple[int, list[ChargingPoint | None]]] = {}
        self._seen: dict[str, tuple[Status, int]] = {}
        self._told: dict[str, tuple[int, dict[str, Status]]] = {}
        self.handlers = {"GET": self._get}

    async def load(self) -> None:
        """Learn since when the settings say what they say."""
        self.since_us = await self._roaming.since("published", self._roaming.settings.locations)

    def find(self, location: str, evse: str | None) -> list[Published]:
        """Return the charging points of a location, or the one; none where there is no such."""
        found = [one for one in self._published if one.location.id.casefold() == location.casefold()]
        return found if evse is None else [one for one in found if one.uid.casefold() == evse.casefold()]

    def points(self, partner: Partner, published: list[Published]) -> list[ChargingPoint | None]:
        """Return charging points as they are now, None for those that are not for the partner."""
        return self._roaming.charging.points(partner.thing, [one.evse.thing for one in published])

    def cdr_location(self, one: Published) -> CdrLocation:
        """Return where a charging point is, for a record."""
        place, evse = one.location, one.evse
        return CdrLocation(
            place.id, place.address, place.city, place.country, place_of(place.latitude, place.longitude), one.uid,
            evse.evse_id or one.uid, CONNECTOR, evse.standard, evse.format, evse.power_type, place.name or None,
            place.postal_code or None,
        )  # fmt: skip

    async def run(self) -> None:
        """Tell partners of what changes, until cancelled; one that has just registered is told all."""
        while True:
            self._looked.clear()
            for partner in list(self._roaming.partners("EMSP")):
                with contextlib.suppress(NotFound):  # a partner that has just gone
                    self._tell(partner, await self._look(partner))
                await asyncio.sleep(0)
            await self._roaming.clock.sleep(LOOK_S)

    async def _look(self, partner: Partner) -> list[ChargingPoint | None]:
        """Return all charging points as they were a moment ago: looked at once for all partners of an organisation."""
        binding = self._roaming.things.partners.get(partner.thing)
        if binding is None:
            raise NotFound("there is no such partner")
        at_us, points = self._looked.get(binding.organisation, (0, []))
        now_us = self._roaming.clock.monotonic_us()
        if not points or now_us - at_us > LOOK_S * US:
            points = []
            for first in range(0, len(self._published), _AT_ONCE):
                points += self.points(partner, self._published[first : first + _AT_ONCE])
                await asyncio.sleep(0)
            self._looked[binding.organisation] = now_us, points
        return points

    async def _get(self, call: Call) -> Reply:
        """Answer ``GET /locations[/{location}[/{evse}[/{connector}]]]``."""
        if not call.rest:
            return self._listed(call, await self._look(call.partner))
        published = self.find(call.rest[0], None)
        found = [one for _, one in self._shown(published, self.points(call.partner, published))]
        if not found or len(call.rest) > 3:
            raise nothing_here()
        if len(call.rest) == 1:
            return Reply(found[0])
        evses = [one for one in found[0].evses if one.uid.casefold() == call.rest[1].casefold()]
        if not evses or (len(call.rest) == 3 and call.rest[2] != CONNECTOR):
            raise nothing_here()
        return Reply(evses[0] if len(call.rest) == 2 else evses[0].connectors[0])

    def _listed(self, call: Call, points: list[ChargingPoint | None]) -> Reply:
        """Answer a page of locations; those of the other pages are not made."""
        found: dict[str, list[tuple[Published, ChargingPoint | None]]] = {}
        at_us: dict[str, int] = {}
        for one, point in zip(self._published, points, strict=True):
            if point is not None:
                id_ = one.location.id
                found.setdefault(id_, []).append((one, point))
                at_us[id_] = max(at_us.get(id_, self.since_us), self._status(one, point)[1])

        def show(id_: str) -> Location:
            ((_, made),) = self._shown([one for one, _ in found[id_]], [point for _, point in found[id_]])
            return made

        return call.listed([(at_us[id_], id_) for id_ in found], show)

    def _shown(
        self, published: list[Published], points: list[ChargingPoint | None]
    ) -> list[tuple[int, Location]]:  # fmt: skip
        """Return the locations that have a charging point for a partner, and when each was updated."""
        evses: dict[str, list[tuple[int, Evse]]] = {}
        for one, point in zip(published, points, strict=True):
            if point is not None:
                evses.setdefault(one.location.id, []).append(self._evse(one, point))
        shown, places = [], {one.location.id: one.location for one in published}
        for place in places.values():
            if place.id in evses:
                at_us = max(self.since_us, *(at for at, _ in evses[place.id]))
                shown.append((at_us, self._location(place, at_us, tuple(evse for _, evse in evses[place.id]))))
        return shown

    def _location(self, place: PublishedLocation, at_us: int, evses: tuple[Evse, ...]) -> Location:
        us = self._roaming.settings.party
        return Location(
            us.country_code, us.party_id, place.id, place.publish, place.address, place.city, place.country,
            place_of(place.latitude, place.longitude), place.time_zone, write_time(at_us), name=place.name or None,
            postal_code=place.postal_code or None, evses=evses,
            operator=BusinessDetails(self._roaming.settings.name, self._roaming.settings.website or None),
        )  # fmt: skip

    def _evse(self, one: Published, point: ChargingPoint) -> tuple[int, Evse]:
        evse, (status, at_us) = one.evse, self._status(one, point)
        connector = Connector(
            CONNECTOR, evse.standard, evse.format, evse.power_type, evse.max_voltage, evse.max_amperage,
            write_time(self.since_us), tariff_ids=evse.tariff_ids,
        )  # fmt: skip
        able = [word for action, word in _ABLE.items() if action in point.actions]
        able += ["CHARGING_PROFILE_CAPABLE"] if point.limit else []
        at_us = max(at_us, self.since_us)
        made = Evse(one.uid, status, (connector,), write_time(at_us), evse.evse_id or None, capabilities=tuple(able))
        return at_us, made

    def _status(self, one: Published, point: ChargingPoint) -> tuple[Status, int]:
        """Return a status, and since when it is known."""
        status: Status = "UNKNOWN" if point.state is None else STATUS.get(point.state, "UNKNOWN")
        seen = self._seen.get(one.uid)
        if seen is None:
            seen = self._seen[one.uid] = status, point.changed_us
        elif seen[0] != status:
            seen = self._seen[one.uid] = status, self._roaming.now_us
        return seen

    def _tell(self, partner: Partner, points: list[ChargingPoint | None]) -> None:
        since_us, told = self._told.get(partner.thing, (0, {}))
        us = self._roaming.settings.party
        base = path_of(us.country_code, us.party_id)
        if since_us != partner.since_us:
            shown = [one for _, one in self._shown(self._published, points)]
            for location in shown:
                push = Push("PUT", "locations", "RECEIVER", base + path_of(location.id), location)
                self._pushes.offer(partner, f"location/{location.id}", push)
            known = {evse.uid: evse.status for location in shown for evse in location.evses}
            self._told[partner.thing] = partner.since_us, known
            return
        for one, point in zip(self._published, points, strict=True):
            if point is None:
                continue
            status, at_us = self._status(one, point)
            if told.get(one.uid) != status:
                told[one.uid] = status
                body = {"status": status, "last_updated": write_time(max(at_us, self.since_us))}
                push = Push("PATCH", "locations", "RECEIVER", base + path_of(one.location.id, one.uid), body)
                self._pushes.offer(partner, f"evse/{one.uid}", push)


def _uid(thing: str) -> str:
    return hashlib.blake2b(thing.encode(), digest_size=16).hexdigest()
