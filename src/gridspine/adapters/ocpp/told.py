"""What one connected charge point is told: its orders as charging profiles, and what it is asked afterwards.

::

    order ─► fallback profile, where it changed ─► lease profile ─► acknowledged ─► composite schedule ─► a reading
    release ─► clear the lease profile ───────────────────────────► acknowledged ─► composite schedule ─► a reading

The charge point's answer is progress; what it says that holds is the reading, and only that confirms the command.
"""

import asyncio
import logging
from typing import Any

from gridspine.adapters.ocpp import profile, setpoint
from gridspine.adapters.ocpp.chargepoint import ChargePoint
from gridspine.adapters.ocpp.meter import Row
from gridspine.adapters.ocpp.session import CallRefused, Session, Unanswered
from gridspine.adapters.ocpp.setpoint import Beside
from gridspine.adapters.ocpp.station import LIMITS, SETPOINT, Place
from gridspine.adapters.ocpp.status import status_words
from gridspine.adapters.ocpp.wire import Malformed
from gridspine.infra.runtime.waiting import within
from gridspine.kernel.errors import GridspineError
from gridspine.things.adapter import Order
from gridspine.things.adapter_orders import OrdersInForce

log = logging.getLogger(__name__)

_TRIES = 3
_PAUSE_S = 5.0
_METERED_S = 30.0
_UNABLE = frozenset({"NotImplemented", "NotSupported"})


class Told:
    """Tells a charge point its orders, for as long as it is connected."""

    def __init__(self, point: ChargePoint, session: Session, orders: OrdersInForce) -> None:
        self.wake = asyncio.Event()
        self._point = point
        self._session = session
        self._orders = orders
        self._clock = point.common.context.clock
        self._done: dict[tuple[str, str], tuple[int, int, Beside]] = {}
        self._fallback: dict[int, dict[str, float]] = {}
        """By EVSE, of which points it was told what to fall back to, since it connected or booted."""
        self._kept: dict[str, dict[str, float]] = {}
        """By Thing the same, whenever it was told."""
        self._unable: dict[int, str] = {}
        """By EVSE, why it takes no set-points; "" where it does. Whose is missing was not asked."""
        self._asked: set[int] = set()
        self._boots = point.boots
        self._refreshed_us = self._clock.monotonic_us()
        self._stale = False
        self._states = True
        """Whether the charge point tells the state of a connector when it is asked."""

    async def run(self) -> None:
        """Tell orders as they come, for ever; whoever has just come or booted is told all that are in force."""
        self._kept = await self._point.common.book.fallbacks(self._point.station.key)
        self.wake.set()
        while True:
            await self.wake.wait()
            self.wake.clear()
            if self._boots != self._point.boots:
                # What a charge point keeps through a boot, nobody knows.
                self._boots = self._point.boots
                self._done.clear()
                self._fallback.clear()
                self._unable.clear()
                self._asked.clear()
            stale, self._stale = self._stale, False
            for place in list(self._point.station.places.values()):
                await self._serve(place)
                if stale:
                    await self._ask_again(place)

    def refresh(self, now_us: int, after_us: int) -> None:
        """Have the charge point asked again when that was ``after_us`` [µs] ago."""
        if now_us - self._refreshed_us >= after_us:
            self._refreshed_us, self._stale = now_us, True
            self.wake.set()

    async def _serve(self, place: Place) -> None:
        ended = self._forget_ended(place)
        changed = False
        orders = self._orders.in_force(place.thing)
        limit = next((one for one in orders if one.point == place.limit), None)
        limits = setpoint.beside(limit, place, self._fallbacks(place).get(place.limit))
        for order in orders:
            key = order.thing, order.point
            told = order.sequence, self._boots, limits if order.point == SETPOINT else Beside()
            if self._done.get(key) != told:
                changed |= await self._tell(order, place, limits)
                self._done[key] = told
        if place.commanded and (changed or ended or place.evse not in self._asked):
            self._asked.add(place.evse)
            await self.ask(place)

    def _forget_ended(self, place: Place) -> bool:
        """Forget what ended by itself; whether anything did."""
        in_force = {(order.thing, order.point) for order in self._orders.in_force(place.thing)}
        ended = [key for key in self._done if key[0] == place.thing and key not in in_force]
        for key in ended:
            del self._done[key]
        return bool(ended)

    async def _tell(self, order: Order, place: Place, limits: Beside) -> bool:
        """Bring an order to the charge point; whether it took it."""
        if order.point not in {place.limit, SETPOINT}:
            words = f"OCPP has no order for {order.point}"
            if order.point in LIMITS:
                words = f"{order.point} limits nothing here: another point, or another Thing of the charge point, does"
            await self._orders.progress(order, "rejected", words)
            return False
        if order.point == SETPOINT and self._point.version != "2.1":
            words = f"OCPP {self._point.version} has no set-points of power: it takes 2.1"
            await self._orders.progress(order, "rejected", words)
            return False
        for number in range(_TRIES):
            if not self._orders.is_current(order):
                return False
            try:
                return await self._try(order, place, limits)
            except Unanswered as error:
                log.warning("station=%s %s (try %d)", self._point.identity, error, number + 1)
                await self._clock.sleep(_PAUSE_S if number + 1 < _TRIES else 0)
            except CallRefused as error:
                words = "the charge point has no smart charging" if error.code in _UNABLE else str(error)
                await self._orders.progress(order, "rejected" if error.code in _UNABLE else "failed", words)
                return False
        await self._orders.progress(order, "failed", "the charge point did not answer")
        return False

    async def _try(self, order: Order, place: Place, limits: Beside) -> bool:
        version, now_us, of_power = self._point.version, self._clock.now_us, order.point == SETPOINT
        await self._orders.progress(order, "sent")
        if order.value is None:
            payload = setpoint.clear(place) if of_power else profile.clear(place, version)
            await self._session.call("ClearChargingProfile", payload)
            await self._orders.progress(order, "acknowledged")  # Unknown says that it is not there: just as well
            return True
        if of_power and (reason := await self._lacks(place)):
            await self._orders.progress(order, "rejected", reason)
            return False
        if not await self._fall_back(order, place):
            return False
        payload = (
            setpoint.setpoint_profile(order, place, now_us(), limits)
            if of_power
            else profile.lease_profile(order, place, version, now_us())
        )
        if not await self._set(order, payload, "the profile"):
            return False
        await self._orders.progress(order, "acknowledged")
        return True

    async def _lacks(self, place: Place) -> str:
        """Return why an EVSE takes no set-points, "" where it does; asked once a connection and boot."""
        if place.evse not in self._unable:
            try:
                answer = await self._session.call("GetVariables", setpoint.capability(place))
            except CallRefused as error:
                return f"the charge point does not say whether it takes set-points: {error}"
            self._unable[place.evse] = setpoint.lacks(answer)
        return self._unable[place.evse]

    async def _fall_back(self, order: Order, place: Place) -> bool:
        """See to it that the charge point has the profile to fall back to, of all points that were ever ordered."""
        now_us = self._clock.now_us()
        wanted = {**self._fallbacks(place), order.point: order.fallback}
        if wanted == self._fallback.get(place.evse):
            return True
        of_station = place.connection.purpose != "TxDefaultProfile"
        if order.point == SETPOINT or (SETPOINT in wanted and not of_station):
            limit = None if of_station else wanted.get(place.limit)
            payload = setpoint.fallback_profile(wanted[SETPOINT], place, now_us, limit)
        else:
            payload = profile.fallback_profile(order.fallback, place, self._point.version, now_us)
        if not await self._set(order, payload, "the profile to fall back to"):
            return False
        self._fallback[place.evse] = wanted
        await self._keep(place.thing, wanted)
        return True

    def _fallbacks(self, place: Place) -> dict[str, float]:
        """Return what a Thing's points fall back to, of those that were ever ordered and can be still."""
        kept = self._kept.get(place.thing, {}) | self._fallback.get(place.evse, {})
        able = {place.limit, SETPOINT} if self._point.version == "2.1" else {place.limit}
        return {point: value for point, value in kept.items() if point in able and point in place.points}

    async def _keep(self, thing: str, fallbacks: dict[str, float]) -> None:
        if self._kept.get(thing) == fallbacks:
            return
        station = self._point.station
        here = {place.thing for place in station.places.values()}
        kept = {one: found for one, found in self._kept.items() if one in here} | {thing: fallbacks}
        try:
            await self._point.common.book.keep_fallbacks(station.key, kept)
        except GridspineError as error:  # the charge point has it: it is kept with the next order
            log.warning("station=%s what it falls back to is not kept: %s", self._point.identity, error.detail)
        else:
            self._kept = kept

    async def _set(self, order: Order, payload: dict[str, Any], what: str) -> bool:
        answer = await self._session.call("SetChargingProfile", payload)
        if answer["status"] != "Accepted":
            words = f"the charge point answers {what} with {status_words(answer)}"
            await self._orders.progress(order, "rejected", words)
            return False
        return True

    # -- asking ------------------------------------------------------------------------------------------------

    async def ask(self, place: Place) -> bool:
        """Ask what limit and set-point hold, and take the answer in as readings; False when it does not say."""
        version = self._point.version
        of_power = SETPOINT in place.points and version == "2.1"
        try:
            payload = profile.ask(place, version, "W" if of_power else "")
            period, unit = profile.now(await self._session.call("GetCompositeSchedule", payload), version)
            values = {place.limit: profile.told(period, unit, place)} if place.limit else {}
            if of_power:
                values[SETPOINT] = setpoint.told(period, unit, place)
            units, now_us = {**LIMITS, SETPOINT: "W"}, self._clock.now_us()
            rows = [Row(name, units[name], now_us, value) for name, value in values.items() if value is not None]
            if not rows or self._point.place(place.evse) is None:
                return False
            await self._point.readings(place, rows)
        except (Unanswered, CallRefused, GridspineError) as error:
            log.info("station=%s does not say what limit holds: %s", self._point.identity, error)
            return False
        return True

    async def _ask_again(self, place: Place) -> None:
        """Ask what is told only when it changes: what limit holds, and the state of the connector."""
        if place.commanded:
            await self.ask(place)
        if not self._states or "connectorState" not in place.points or place.evse == 0:
            return
        try:
            answer = await self._session.call("TriggerMessage", profile.state_asked(place, self._point.version))
            self._states = answer["status"] == "Accepted"
        except CallRefused:
            self._states = False
        except Unanswered as error:
            log.info("station=%s does not tell its state: %s", self._point.identity, error)

    async def read(self, place: Place) -> str:
        """Have an EVSE send its meter values now; return what went wrong, "" for nothing."""
        version, before = self._point.version, self._point.metered.get(place.evse, 0)
        evse = {"connectorId": place.evse} if version == "1.6" else {"evse": {"id": place.evse}}
        payload = {"requestedMessage": "MeterValues", **({} if place.evse == 0 else evse)}
        try:
            answer = await self._session.call("TriggerMessage", payload)
            if answer["status"] != "Accepted":
                return f"the charge point answers {answer['status']}"
            await within(self._clock, _METERED_S, self._metered(place.evse, before))
            if place.commanded:
                await self.ask(place)
        except TimeoutError:
            return f"no meter values within {_METERED_S:g} s"
        except (Unanswered, CallRefused, Malformed) as error:
            return str(error)
        except GridspineError as error:
            return error.detail
        return ""

    async def _metered(self, evse: int, before: int) -> None:
        while self._point.metered.get(evse, 0) == before:
            await self._clock.sleep(0.1)
