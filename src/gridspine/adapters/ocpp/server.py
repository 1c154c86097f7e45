"""The listener ``ocpp``: lets charge points in, one connection each, and serves them."""

import asyncio
import contextlib
import logging
import math
import ssl
from http import HTTPStatus
from typing import Any

from websockets.frames import CloseCode

from gridspine.adapters.ocpp import answers_2, answers_16
from gridspine.adapters.ocpp.admission import Admission, Rejected
from gridspine.adapters.ocpp.chargepoint import ChargePoint, Common
from gridspine.adapters.ocpp.newcomer import MAX_NEWCOMERS, answer_newcomer
from gridspine.adapters.ocpp.schema import schemas
from gridspine.adapters.ocpp.session import Answer, Session, TurnedAway
from gridspine.adapters.ocpp.station import Place, Station, Stations
from gridspine.adapters.ocpp.told import Told
from gridspine.adapters.ocpp.websocket import Closed, WebSocket
from gridspine.adapters.ocpp.wire import SUBPROTOCOLS, Call, Code, Malformed, Version
from gridspine.infra.runtime.address_count import AddressCount
from gridspine.infra.runtime.waiting import first_to_end, within
from gridspine.kernel.errors import GridspineError
from gridspine.kernel.time import US
from gridspine.things.adapter import Order, Source
from gridspine.things.adapter_orders import OrdersInForce

log = logging.getLogger(__name__)

LISTENER = "ocpp"
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: %d\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
)  # fmt: skip
_LEAVING_S, _LEAVING_BYTES = 1.0, 65_536
"""For how long, and how much, is read of who is turned away."""
_SHARES = 30
"""How often in the time between two refreshments it is looked who is due: not all at once."""
_ANSWERS: dict[Version, answers_16.Answers] = {
    "1.6": answers_16.ANSWERS,
    "2.0.1": answers_2.ANSWERS,
    "2.1": answers_2.ANSWERS,
}


class _Busy(Closed):
    """There are too many of its kind: it is to come again later."""


class _Live:
    """A charge point's connection; ``gone`` once nothing of it runs any more."""

    def __init__(self, socket: WebSocket) -> None:
        self.socket = socket
        self.gone = asyncio.Event()
        self.session: Session | None = None
        self.point: ChargePoint | None = None
        self.told: Told | None = None
        self.newcomer = False

    async def end(self, code: CloseCode, reason: str) -> None:
        """Close the connection and wait until it is gone."""
        try:
            await self.socket.close(code, reason)
        except Closed:
            pass
        finally:
            self.socket.abort()
        await self.gone.wait()


class Server:
    """Serves the listener."""

    def __init__(self, common: Common, stations: Stations) -> None:
        self.ready = asyncio.Event()
        self.fresh = asyncio.Event()
        """Whether `stations` are as the bindings are: who comes meanwhile waits for that."""
        self.stations = stations
        self.orders = OrdersInForce(common.context, "the charge point")
        self._common = common
        self._admission = Admission(common.context, common.settings)
        self._live: dict[str, _Live] = {}
        self._connections: set[asyncio.Task[Any]] = set()
        self._addresses = AddressCount(common.settings.max_per_address)
        self._unknown = AddressCount(common.settings.max_handshakes_per_address)
        self._opening = self._leaving = 0

    @property
    def connected(self) -> list[str]:
        """Who is connected."""
        return sorted(self._live)

    async def run(self) -> None:
        """Open the listener and serve until cancelled; what is then under way is not answered."""
        host, port = await self._common.context.listen(LISTENER, self._on_connection)
        log.info("listening: %s:%d%s", host, port, self._common.settings.path)
        self.ready.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.ready.clear()
            lives = list(self._live.values())
            await asyncio.gather(*(live.end(CloseCode.GOING_AWAY, "the node stops") for live in lives))
            for task in self._connections:
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    async def deliver(self, order: Order) -> None:
        """Have the charge point of an order's Thing told."""
        self.wake(order.thing)

    def wake(self, thing: str) -> None:
        """Have the charge point of ``thing`` told what it must now obey."""
        found = self.stations.of(thing)
        live = None if found is None else self._live.get(found[0].key)
        if live is not None and live.told is not None:
            live.told.wake.set()

    def live(self, thing: str) -> tuple[ChargePoint, Session, Place] | None:
        """Return the charge point of ``thing``, None while it is not connected or speaks for the Thing no more."""
        found = self.stations.of(thing)
        live = None if found is None else self._live.get(found[0].key)
        if found is None or live is None or live.point is None or live.session is None:
            return None
        if not self._common.context.may_publish(live.point.source, thing):
            return None
        return live.point, live.session, found[1]

    def told(self, thing: str) -> tuple[Told, Place] | None:
        """Return who tells the charge point of ``thing``, None while it is not connected."""
        found = self.stations.of(thing)
        live = None if found is None else self._live.get(found[0].key)
        return None if found is None or live is None or live.told is None else (live.told, found[1])

    async def refresh(self) -> None:
        """Have every charge point asked anew, every ``refresh_s``, for ever, what it tells only when it changes."""
        clock, every_s = self._common.context.clock, self._common.settings.refresh_s
        while True:
            await clock.sleep(every_s / _SHARES)
            now_us = clock.monotonic_us()
            for live in self._live.values():
                if live.told is not None:
                    live.told.refresh(now_us, round(every_s * US))

    async def rebind(self, stations: Stations) -> None:
        """Serve other bindings; cut whoever has no Thing here any more."""
        self.stations = stations
        cut = []
        for key, live in list(self._live.items()):
            point, station = live.point, stations.get(key)
            if point is None or live.told is None:
                continue
            if live.newcomer:
                if station is not None:
                    cut.append(live.end(CloseCode.SERVICE_RESTART, "it is taken in: connect anew"))
            elif station is None or not self._may(point.source, station):
                cut.append(live.end(CloseCode.POLICY_VIOLATION, "no Thing here is the charge point's any more"))
            elif station != point.station:
                point.station = station
                live.told.wake.set()
        await asyncio.gather(*cut)

    def _may(self, source: Source, station: Station) -> bool:
        return any(self._common.context.may_publish(source, thing) for thing in self.stations.things(station))

    # -- connections -------------------------------------------------------------------------------------------

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        settings, task = self._common.settings, asyncio.current_task()
        assert task is not None
        if len(self._live) >= settings.max_connections or self._opening >= settings.max_handshakes:
            await self._turn_away(reader, writer, f"{len(self._live)} are served, {self._opening} in handshake")
            return
        ours = [f"ocpp{version}" for version in settings.versions]
        socket = WebSocket(
            reader, writer, ours, max_message_bytes=settings.max_message_bytes, trace=self._common.context.trace
        )
        address = socket.address
        if not self._addresses.enter(address):
            await self._turn_away(reader, writer, f"{address} has {settings.max_per_address} already")
            return
        self._connections.add(task)
        try:
            admitted = await self._opened(socket)
            if admitted is not None:
                await self._serve(socket, *admitted)
        except _Busy as error:
            await self._turn_away(reader, writer, str(error))
        except (Closed, TimeoutError, OSError, ssl.SSLError, GridspineError) as error:
            log.info("connection dropped: peer=%s %s", socket.peer, error or type(error).__name__)
        finally:
            self._addresses.leave(address)
            self._connections.discard(task)
            writer.close()

    async def _turn_away(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, why: str) -> None:
        """Tell who comes to come again later; what it asks for is read out, else a reset could overtake the answer."""
        log.warning("connection refused: %s", why)
        self._common.counters.add("too_many")
        with contextlib.suppress(OSError, RuntimeError):
            writer.write(_BUSY % math.ceil(self._common.settings.hold_off_s))
            if writer.can_write_eof():
                writer.write_eof()
        self._leaving += 1
        try:
            if self._leaving <= self._common.settings.max_handshakes:
                await within(self._common.context.clock, _LEAVING_S, _read_out(reader))
        except (TimeoutError, OSError):
            pass
        finally:
            self._leaving -= 1
            writer.close()

    async def _opened(self, socket: WebSocket) -> tuple[Station, Source, Version] | None:
        if not self._unknown.enter(socket.address):
            raise _Busy(f"too many of {socket.address} are in handshake")
        self._opening += 1
        try:
            return await within(self._common.context.clock, self._common.settings.connect_timeout_s, self._open(socket))
        finally:
            self._opening -= 1
            self._unknown.leave(socket.address)

    async def _open(self, socket: WebSocket) -> tuple[Station, Source, Version] | None:
        """Answer the handshake; None when it led to nothing."""
        request = await socket.request()
        await self.fresh.wait()
        try:
            station, source = await self._admission.admit(request, socket.certificate, self.stations)
        except Rejected as refusal:
            self._common.counters.add(f"rejected:{refusal.status.value}")
            log.warning("connection refused: peer=%s %s", socket.peer, refusal)
            await socket.reject(refusal.status, HTTPStatus(refusal.status).phrase, refusal.headers)
            return None
        if not station.places and sum(live.newcomer for live in self._live.values()) >= MAX_NEWCOMERS:
            self._common.counters.add("too_many")
            await socket.reject(HTTPStatus.SERVICE_UNAVAILABLE, "too many wait to be taken in", {"Retry-After": "300"})
            return None
        if not await socket.accept(request):
            return None
        if socket.subprotocol is None:
            self._common.counters.add("no_common_version")
            log.warning("connection refused: station=%s speaks no version of ours", station.identity)
            await socket.close(CloseCode.PROTOCOL_ERROR, f"one of {', '.join(SUBPROTOCOLS)} is needed")
            return None
        return station, source, SUBPROTOCOLS[socket.subprotocol]

    async def _serve(self, socket: WebSocket, station: Station, source: Source, version: Version) -> None:
        key = station.key
        while (before := self._live.get(key)) is not None:
            await before.end(CloseCode.NORMAL_CLOSURE, "the charge point connected anew")
        live = self._live[key] = _Live(socket)
        try:
            record = await self._common.book.load(key)
            station = self.stations.get(key) or station  # bindings may have changed meanwhile
            live.newcomer = not station.places
            live.point = ChargePoint(self._common, station, source, version, record)
            live.session = Session(
                socket, schemas(version), self._answering(live), self._common.settings, self._common.context.clock,
                self._common.counters,
            )  # fmt: skip
            live.told = Told(live.point, live.session, self.orders)
            log.info("connected: station=%s version=%s peer=%s", key, version, socket.peer)
            await live.point.tell_again()
            await first_to_end(live.session.run(), live.told.run())
        except TurnedAway as error:
            self._common.counters.add("turned_away")
            log.warning("station=%s is to come again later: %s", key, error)
            self._admission.hold_off(key, error.wait_s)
            await socket.close(CloseCode.TRY_AGAIN_LATER, "it cannot be kept now: come again later")
        except Closed as end:
            log.info("connection ended: station=%s %s", key, end)
        finally:
            del self._live[key]
            live.gone.set()

    def _answering(self, live: _Live) -> Answer:
        """Return what answers the calls of a charge point."""
        assert live.point is not None
        point, answers = live.point, _ANSWERS[live.point.version]

        async def answer(call: Call) -> dict[str, Any]:
            if live.newcomer:
                return await answer_newcomer(point, call)
            handler = answers.get(call.action)
            if handler is None:
                raise Malformed(Code.NOT_SUPPORTED, f"{call.action} is not supported by this node")
            boots = point.boots
            answered = await handler(point, call.payload)
            await point.heard(call.payload)
            if point.boots != boots and live.told is not None:
                live.told.wake.set()
            return answered

        return answer


async def _read_out(reader: asyncio.StreamReader) -> None:
    read = 0
    while read < _LEAVING_BYTES and (data := await reader.read(_LEAVING_BYTES)):
        read += len(data)
