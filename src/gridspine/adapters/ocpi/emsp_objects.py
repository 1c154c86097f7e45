"""What operators push, or is fetched of them: locations, tariffs, sessions and records; kept as it came, and checked.

Source: OCPI 2.2.1-d2 and 2.3.0, chapters "Locations module", "Tariffs module", "Sessions module" and "CDRs module",
receiver interfaces. In a PATCH ``charging_periods`` are added to those there are, each once. What is older than what is
kept is not taken, nor what is no newer than what was deleted; an EVSE and a connector have a ``last_updated`` of their
own. A record is never replaced; where there is no room, the oldest sessions that are over and the oldest records go.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import quote

import msgspec

from gridspine.adapters.ocpi.book import Kept, Partner, Place
from gridspine.adapters.ocpi.call import Call, Handler, Reply, in_turn
from gridspine.adapters.ocpi.charging import Cdr, ChargingPeriod, OldPrice, Price, Session
from gridspine.adapters.ocpi.emsp_things import EmspThings
from gridspine.adapters.ocpi.location import Connector, Evse, Location
from gridspine.adapters.ocpi.roaming import Roaming
from gridspine.adapters.ocpi.tariff import OldTariff, Tariff
from gridspine.adapters.ocpi.wire import OcpiError, Party, bad, nothing_here, plain, read, read_time
from gridspine.kernel.errors import Invalid, Overloaded, TooLarge

Body = dict[str, Any]
_NEW: dict[str, Any] = {"locations": Location, "tariffs": Tariff, "sessions": Session[Price], "cdrs": Cdr[Price]}
_OLD: dict[str, Any] = _NEW | {"tariffs": OldTariff, "sessions": Session[OldPrice], "cdrs": Cdr[OldPrice]}
_PASSING = frozenset({"sessions", "cdrs"})
_OVER = frozenset({"COMPLETED", "INVALID"})
MAX_PERIODS = 4_000
"""How many periods a PATCH may add to a session: more than there is room for in one that is kept."""
_Periods = tuple[ChargingPeriod, ...]
_More = Annotated[_Periods, msgspec.Meta(max_length=MAX_PERIODS)]
log = logging.getLogger(__name__)


def kind_of(module: str, version: str) -> Any:
    """Return what an object of a module is in a version."""
    return (_OLD if version == "2.2.1" else _NEW)[module]


class EmspObjects:
    """Objects of operators."""

    def __init__(self, roaming: Roaming, things: EmspThings) -> None:
        self._roaming, self._things = roaming, things
        self.locations = {
            "GET": self._get_location, "PUT": self._turn("locations", self._put_location),
            "PATCH": self._turn("locations", self._patch_location),
        }  # fmt: skip
        self.sessions = {
            "GET": self._getter("sessions"), "PUT": self._putter("sessions"),
            "PATCH": self._turn("sessions", self._patch_session),
        }  # fmt: skip
        self.tariffs = {
            "GET": self._getter("tariffs"), "PUT": self._putter("tariffs"),
            "DELETE": self._turn("tariffs", self._delete_tariff),
        }  # fmt: skip
        self.cdrs = {"GET": self._getter("cdrs"), "POST": self._post_cdr}

    def _turn(self, module: str, handler: Handler) -> Handler:
        return in_turn(self._roaming.book, module, handler)

    async def keep(self, partner: Partner, module: str, version: str, given: Any) -> None:
        """Keep an object as it came, and read what it tells; raise `OcpiError` for one that is none."""
        made = read(given, kind_of(module, version))
        async with self._roaming.book.turn((partner.thing, module, made.country_code, made.party_id), made.id):
            await self._keep(partner, module, made, given)

    async def _keep(self, partner: Partner, module: str, made: Any, given: Any) -> bool:
        """Keep an object in its turn; whether it was taken: what came late is not."""
        if not partner.is_(Party(made.country_code, made.party_id)):
            raise bad("country_code, party_id: that party is none of yours")
        updated_us = _check_times(made)
        place: Place = (partner.thing, module, made.country_code, made.party_id)
        known = self._roaming.book.object(place, made.id)
        if known is not None and module == "cdrs":
            if known.body != given:
                log.warning("record %s of %s was told anew, and otherwise: the first stands", made.id, partner.thing)
            return False
        if self._roaming.book.is_late(place, made.id, updated_us):
            return False
        if known is None and module in _PASSING:
            await self._make_room(partner.thing, module, updated_us)
        await self._roaming.book.keep_object(place, Kept(made.id, given, updated_us))
        if module == "locations":
            await self._things.on_location(partner, made)
        elif module == "sessions":
            await self._things.on_session(partner, made)
        return True

    async def keep_all(self, partner: Partner, module: str, found: list[Any]) -> int:
        """Keep what was fetched; what is no good, or has no room, is left out. Return how many were kept."""
        kept, full, wrong, last = 0, "", 0, ""
        for one in sorted(found, key=_newest, reverse=True):
            await asyncio.sleep(0)  # what is left out waits for nothing: others have their turn
            try:
                await self.keep(partner, module, partner.version, plain(msgspec.json.encode(one)))
                kept += 1
            except Overloaded as error:
                full = error.detail
                if module in _PASSING:
                    break  # all that follow are older
            except (OcpiError, Invalid, TooLarge) as error:
                wrong, last = wrong + 1, error.detail
        if wrong:
            log.warning("%d of the %s of %s are left out: %s", wrong, module, partner.thing, last)
        if full:
            log.warning("%s of %s are left out: %s", module, partner.thing, full)
        return kept

    async def _make_room(self, thing: str, module: str, updated_us: int) -> None:
        """Let the oldest object go that is over; raise `Overloaded` for one that is older still."""
        book = self._roaming.book
        if not book.full(thing, module):
            return
        over = [
            (place, one) for place, one in book.objects(thing, module)
            if module == "cdrs" or one.body.get("status") in _OVER
        ]  # fmt: skip
        place, oldest = min(over, key=lambda one: one[1].updated_us, default=(None, None))
        if place is None or oldest is None or oldest.updated_us >= updated_us:
            raise Overloaded(f"as many {module} of yours are kept here as may be, and newer", retry_after_s=3600)
        await book.forget_object(place, oldest.id)

    # -- one object --------------------------------------------------------------------------------------------

    def _getter(self, module: str) -> Any:
        async def get(call: Call) -> Reply:
            return Reply(self._known(call, module).body)

        return get

    def _putter(self, module: str) -> Any:
        async def put(call: Call) -> Reply:
            given = self._given(call, module)
            return await self._done(call, module, given)

        return self._turn(module, put)

    async def _patch_session(self, call: Call) -> Reply:
        known, given = self._known(call, "sessions").body, self._patch(call)
        periods = _added(known.get("charging_periods", []), given.pop("charging_periods", []))
        return await self._done(call, "sessions", known | given | ({"charging_periods": periods} if periods else {}))

    async def _delete_tariff(self, call: Call) -> Reply:
        place, id_ = call.own_place("tariffs")
        self._known(call, "tariffs")
        await self._roaming.book.delete_object(place, id_)
        return Reply()

    async def _post_cdr(self, call: Call) -> Reply:
        if call.rest:
            raise nothing_here()
        given = plain(call.body)
        made = read(given, kind_of("cdrs", call.version))
        place: Place = (call.partner.thing, "cdrs", made.country_code, made.party_id)
        async with self._roaming.book.turn(place, made.id):
            known = self._roaming.book.object(place, made.id)
            if known is not None and known.body != given:
                raise bad("there is a record of that id already, and records are not replaced")
            await self._keep(call.partner, "cdrs", made, given)
        where = "/".join(quote(one, safe="") for one in (made.country_code, made.party_id, made.id))
        return Reply(headers=[("location", f"{call.url}/{where}")], http=201)

    async def _done(self, call: Call, module: str, given: Body) -> Reply:
        existed = self._roaming.book.object(*call.own_place(module)) is not None
        taken = await self._keep(call.partner, module, read(given, kind_of(module, call.version)), given)
        return Reply(http=201 if taken and not existed else 200)

    # -- locations and what is in them -------------------------------------------------------------------------

    async def _get_location(self, call: Call) -> Reply:
        body = self._known(call, "locations").body
        for name, key, id_ in _inner(call):
            body = _one(body, name, key, id_)
        return Reply(body)

    async def _put_location(self, call: Call) -> Reply:
        inner = _inner(call)
        if not inner:
            return await self._done(call, "locations", self._given(call, "locations"))
        location, given = self._known(call, "locations").body, plain(call.body)
        made: Any = read(given, Evse if len(inner) == 1 else Connector)
        name, key, id_ = inner[-1]
        call.check_same(given, {key: id_})
        updated_us = _check_times(made)

        def put(parent: Body) -> Body:
            known = [one for one in parent.get(name, []) if str(one.get(key)).casefold() == id_.casefold()]
            if any(_newer(one, updated_us) for one in known):
                return parent
            return _touched(_put(parent, name, key, id_, given), made.last_updated)

        changed = _with(location, inner[:-1], put, made.last_updated)
        return await self._keep_inner(call, location, changed, inner[0][2])

    async def _patch_location(self, call: Call) -> Reply:
        location, given, inner = self._known(call, "locations").body, self._patch(call), _inner(call)
        if not inner:
            return await self._done(call, "locations", location | given)
        call.check_same(given, {key: id_ for _, key, id_ in inner[-1:]})
        at = str(given["last_updated"])
        updated_us = read_time(at)
        changed = _with(location, inner, lambda one: one if _newer(one, updated_us) else one | given, at)
        return await self._keep_inner(call, location, changed, inner[0][2])

    async def _keep_inner(self, call: Call, before: Body, location: Body, evse: str) -> Reply:
        """Keep a location of which an EVSE or a connector changed; one that was told of late changes nothing."""
        if location == before:
            return Reply()
        made = read(location, Location)
        place, id_ = call.own_place("locations")
        await self._roaming.book.keep_object(place, Kept(id_, location, _check_times(made)))
        await self._things.on_location(call.partner, made, evse)
        return Reply()

    # -- what they share ---------------------------------------------------------------------------------------

    def _known(self, call: Call, module: str) -> Kept:
        kept = self._roaming.book.object(*call.own_place(module))
        if kept is None or (module != "locations" and len(call.rest) != 3):
            raise nothing_here()
        return kept

    def _given(self, call: Call, module: str) -> Body:
        place, id_ = call.own_place(module)
        if len(call.rest) != 3:
            raise nothing_here()
        given: Any = plain(call.body)
        read(given, kind_of(module, call.version))
        call.check_same(given, {"id": id_, "country_code": place[2], "party_id": place[3]})
        made: Body = given
        return made

    def _patch(self, call: Call) -> Body:
        given: Any = plain(call.body)
        if not isinstance(given, dict) or "last_updated" not in given:
            raise bad("last_updated is needed")
        country, party, id_ = call.rest[:3]
        own = {"country_code": country, "party_id": party} | ({"id": id_} if len(call.rest) == 3 else {})
        call.check_same(given, own)
        return given


def _added(before: list[Any], more: Any) -> list[Any]:
    """Return the periods of a session with those that a PATCH adds: one may be said twice."""
    try:
        added = read(more, _More)
    except OcpiError as error:
        raise bad(f"charging_periods: {error.detail}") from error
    known = {_written(one) for one in read(before, _Periods)}
    return [*before, *(one for one, period in zip(more, added, strict=True) if _written(period) not in known)]


def _written(period: ChargingPeriod) -> bytes:
    """Return a period as it is compared: written in one way, however it came."""
    return msgspec.json.encode(period)


def _newest(given: Any) -> str:
    updated = given.get("last_updated") if isinstance(given, dict) else None
    return updated if isinstance(updated, str) else ""


def _inner(call: Call) -> list[tuple[str, str, str]]:
    """Return which EVSE, and which connector of it, an address names."""
    if len(call.rest) > 5:
        raise nothing_here()
    return list(zip(("evses", "connectors"), ("uid", "id"), call.rest[3:], strict=False))


def _one(body: Body, name: str, key: str, id_: str) -> Body:
    for one in body.get(name, []):
        if str(one.get(key)).casefold() == id_.casefold():
            found: Body = one
            return found
    raise nothing_here()


def _put(parent: Body, name: str, key: str, id_: str, given: Body) -> Body:
    others = [one for one in parent.get(name, []) if str(one.get(key)).casefold() != id_.casefold()]
    return parent | {name: [*others, given]}


def _with(body: Body, inner: list[tuple[str, str, str]], change: Callable[[Body], Body], updated: str) -> Body:
    """Return ``body`` with the part that ``inner`` names changed; all that it is part of was updated then, too."""
    if not inner:
        return change(body)
    name, key, id_ = inner[0]
    before = _one(body, name, key, id_)
    part = _with(before, inner[1:], change, updated)
    if part == before:
        return body
    others = [part if str(one.get(key)).casefold() == id_.casefold() else one for one in body[name]]
    return _touched(body | {name: others}, updated)


def _touched(body: Body, updated: str) -> Body:
    return body if _newer(body, read_time(updated)) else body | {"last_updated": updated}


def _newer(body: Body, than_us: int) -> bool:
    return read_time(str(body["last_updated"])) > than_us


def _check_times(made: Any) -> int:
    """Return when an object was last updated [µs since 1970]; raise `OcpiError` for it, or a part, of no such time."""
    for part in (*getattr(made, "evses", ()), *getattr(made, "connectors", ())):
        _check_times(part)
    try:
        return read_time(made.last_updated)
    except Invalid as error:
        raise bad(f"last_updated: {error.detail}") from error
