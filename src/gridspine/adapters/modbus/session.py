"""One Modbus connection: one request at a time, time-outs, reconnecting with back-off and jitter.

Several units behind a gateway, or on one serial line, share a `Session`; their requests queue in the order they come.
Reads are repeated where that is harmless (a busy device); a write is never sent twice by this file.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ExceptionResponse, ModbusPDU

from gridspine.adapters.modbus.address import Endpoint
from gridspine.adapters.modbus.register import BITS, Entity
from gridspine.infra.runtime.address_rule import AddressRule
from gridspine.infra.runtime.clock import Clock
from gridspine.infra.runtime.tasks import heed_cancellation
from gridspine.kernel.errors import Invalid, Unavailable
from gridspine.kernel.time import US
from gridspine.things.adapter import WireTrace

BUSY_CODES = frozenset({5, 6})
"""Acknowledge, server device busy: ask again later (Modbus Application Protocol V1.1b3 §7)."""
GATEWAY_CODES = frozenset({10, 11})
"""Gateway path unavailable, gateway target failed to respond: the unit is away, the connection is not."""
_CODE_WORDS = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "device failure",
    5: "acknowledge: still working",
    6: "device busy",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target did not respond",
}
_BUSY_TRIES = 3
_BUSY_PAUSE_S = 0.2
_SILENCES_BEFORE_RECONNECT = 3
_CHARACTER_BITS = 11
"""Bits of a character on a serial line: start, eight, parity or a second stop, stop."""
_FAST_BAUDRATE, _FAST_GAP_S = 19_200, 0.00175
"""Above this rate frames are a fixed time apart, below it three and a half characters (Modbus over Serial Line
V1.02, RTU framing; the clause was not read again)."""
_Client = AsyncModbusTcpClient | AsyncModbusSerialClient
_Send = Callable[[_Client], Awaitable[ModbusPDU]]
_READS: dict[Entity, Callable[[_Client], Callable[..., Awaitable[ModbusPDU]]]] = {
    "coil": lambda client: client.read_coils,
    "discrete": lambda client: client.read_discrete_inputs,
    "holding": lambda client: client.read_holding_registers,
    "input": lambda client: client.read_input_registers,
}
_READ_BY: dict[Entity, int] = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
_WRITES = {(True, True): 5, (False, True): 6, (True, False): 15, (False, False): 16}
"""Functions that write (Modbus Application Protocol 1.1b3 §6), by whether it is a coil, and one."""


class Unreachable(Unavailable):
    """There is no connection; nothing was sent."""


class Silent(Unavailable):
    """A request was sent and no answer came in time: what became of it is not known."""


class Forbidden(Unreachable):
    """The settings do not let this address be connected to."""


class Refused(Unavailable):
    """The device answered with an exception; ``exception_code`` says which."""

    def __init__(self, exception_code: int) -> None:
        words = _CODE_WORDS.get(exception_code, "an exception of its own")
        super().__init__(f"the device answered with exception {exception_code} ({words})")
        self.exception_code = exception_code


def _check_function(response: ModbusPDU, function: int) -> None:
    """Raise `Silent` for what answers another function: the library takes it for the answer."""
    if response.function_code != function:
        raise Silent(f"function {function} was asked for and {response.function_code} answered")


@contextmanager
def _heeding_cancellation() -> Iterator[None]:
    """Raise what ``asyncio.wait_for`` swallows: the library connects, and waits for an answer, by it."""
    try:
        yield
    finally:
        heed_cancellation()


class Backoff:
    """Growing pauses with jitter: half to one and a half times ``base_s`` [s], doubled up to ``cap_s`` [s]."""

    def __init__(self, clock: Clock, base_s: float, cap_s: float) -> None:
        self._clock, self._base_s, self._cap_s = clock, base_s, cap_s
        self._failures = 0

    def succeeded(self) -> None:
        """Start over."""
        self._failures = 0

    def failed_s(self) -> float:
        """Return how long to wait [s] after one more failure."""
        pause_s = min(self._cap_s, self._base_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return pause_s * (0.5 + int.from_bytes(self._clock.randbytes(4), "big") / 2**32)


def frame_gap_s(endpoint: Endpoint) -> float:
    """Return how long [s] a line must be still between two frames; 0 where there is no line."""
    if endpoint.transport != "rtu":
        return 0.0
    return _FAST_GAP_S if endpoint.baudrate > _FAST_BAUDRATE else 3.5 * _CHARACTER_BITS / endpoint.baudrate


class Session:
    """A connection to ``endpoint``; `generation` rises with every new one.

    ``addresses``, where given, decides which addresses its host's name may lead to.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        clock: Clock,
        *,
        timeout_s: float = 3.0,
        max_backoff_s: float = 60.0,
        addresses: AddressRule | None = None,
        trace: WireTrace | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.generation = 0
        self._clock = clock
        self._timeout_s = timeout_s
        self._lock = asyncio.Lock()
        self._client: _Client | None = None
        self._backoff = Backoff(clock, 0.5, max_backoff_s)
        self._not_before_us = 0
        self._why = ""
        """Why the last attempt to connect was not even made."""
        self._silences = 0
        self._answering: set[int] = set()
        """Units whose last request was answered: a frame of theirs that is spoilt is worth asking for again."""
        self._gap_us = round(frame_gap_s(endpoint) * US)
        self._quiet_since_us = 0
        self._addresses = addresses
        self._trace = trace

    def allow(self, timeout_s: float) -> None:
        """Let an answer take ``timeout_s`` [s]: the slowest unit behind a connection sets its time-out."""
        self._timeout_s = max(self._timeout_s, timeout_s)

    async def read(self, unit: int, address: int, count: int, entity: Entity = "holding") -> tuple[int, ...]:
        """Return ``count`` registers, or bits as 0 and 1, from ``address`` of ``unit``.

        Raises `Unreachable`, `Silent`, or `Refused`; a busy device is asked up to three times, and once more a unit of
        a serial line that answered its last request: there a frame is spoilt now and then.
        """
        for attempt in range(_BUSY_TRIES):
            try:
                response = await self._asked(
                    unit, lambda client: _READS[entity](client)(address, count=count, device_id=unit)
                )
                break
            except Refused as refusal:
                if refusal.exception_code not in BUSY_CODES or attempt == _BUSY_TRIES - 1:
                    raise
            await self._clock.sleep(_BUSY_PAUSE_S * 2**attempt)
        _check_function(response, _READ_BY[entity])
        came = tuple(int(bit) for bit in response.bits[:count]) if entity in BITS else tuple(response.registers)
        if len(came) != count:
            raise Silent(f"asked for {count} registers, {len(came)} came")
        return came

    async def write(
        self, unit: int, address: int, words: Sequence[int], entity: Entity = "holding", *, single: bool = False
    ) -> None:
        """Write holding registers or coils in one request, once; ``single`` by the function for one of them.

        Raises `Unreachable`, `Silent`, or `Refused`.
        """
        if entity == "coil":
            bits = [bool(word) for word in words]
            if single:
                done = await self._exchange(unit, lambda client: client.write_coil(address, bits[0], device_id=unit))
            else:
                done = await self._exchange(unit, lambda client: client.write_coils(address, bits, device_id=unit))
        elif single:
            done = await self._exchange(unit, lambda client: client.write_register(address, words[0], device_id=unit))
        else:
            done = await self._exchange(unit, lambda client: client.write_registers(address, [*words], device_id=unit))
        _check_function(done, _WRITES[entity == "coil", single])

    async def close(self) -> None:
        """End the connection."""
        async with self._lock:
            self._drop()

    async def _asked(self, unit: int, send: _Send) -> ModbusPDU:
        """Return the answer to what is harmless to ask twice; a spoilt frame is asked for again, a dead unit is not."""
        try:
            return await self._exchange(unit, send)
        except Silent:
            if self.endpoint.transport != "rtu" or unit not in self._answering:
                raise
            self._answering.discard(unit)
        return await self._exchange(unit, send)

    async def _exchange(self, unit: int, send: _Send) -> ModbusPDU:
        async with self._lock:
            client = await self._connected()
            await self._gap()
            try:
                with _heeding_cancellation():
                    response = await send(client)
            except (ModbusException, OSError) as error:
                raise await self._silence(client, error) from error
            except asyncio.CancelledError:
                # The answer to a request nobody waits for any more must not be taken for the next one's.
                self._drop()
                raise
            self._silences = 0
            self._answering.add(unit)
            self._quiet_since_us = self._clock.monotonic_us()
            if isinstance(response, ExceptionResponse):
                if response.exception_code in GATEWAY_CODES:
                    raise Silent(f"unit away behind {self.endpoint}: {_CODE_WORDS[response.exception_code]}")
                raise Refused(response.exception_code)
            return response

    async def _gap(self) -> None:
        """Leave the line still for as long as two frames must be apart on it."""
        pause_us = self._quiet_since_us + self._gap_us - self._clock.monotonic_us()
        if self._gap_us and pause_us > 0:
            await self._clock.sleep(pause_us / US)

    async def _silence(self, client: _Client, error: Exception) -> Unavailable:
        self._silences += 1
        lost = not client.connected
        if lost or self._silences >= _SILENCES_BEFORE_RECONNECT:
            self._drop()
        elif self.endpoint.transport == "rtu":
            # A serial answer carries no number: let a late one go by before the line is used again.
            await self._clock.sleep(self._timeout_s)
        return Silent(f"{self.endpoint} {'closed the connection' if lost else 'did not answer'}: {error}")

    async def _connected(self) -> _Client:
        if self._client and self._client.connected:
            return self._client
        self._drop()
        if self._clock.monotonic_us() < self._not_before_us:
            raise Unreachable(f"{self._why or f'{self.endpoint} could not be reached'}; the next attempt waits")
        client = self._make_client(await self._host())
        self._why = ""
        try:
            with _heeding_cancellation():
                reached = await client.connect()
        except (ModbusException, OSError) as error:
            logging.getLogger(__name__).debug("connecting to %s failed: %s", self.endpoint, error)
            reached = False
        except asyncio.CancelledError:
            client.close()
            raise
        if not reached:
            client.close()
            self._not_before_us = self._clock.monotonic_us() + round(self._backoff.failed_s() * US)
            raise Unreachable(f"{self.endpoint} cannot be reached")
        self._client = client
        self._backoff.succeeded()
        self._silences = 0
        self.generation += 1
        return client

    async def _host(self) -> str:
        """Return the very address to connect to; a host's name where nobody has to check where it leads."""
        if self._addresses is None or self.endpoint.transport != "tcp":
            return self.endpoint.host
        try:
            return str(await self._addresses.find(self.endpoint.host, self.endpoint.port))
        except (Invalid, Unavailable) as error:
            self._not_before_us = self._clock.monotonic_us() + round(self._backoff.failed_s() * US)
            self._why = error.detail
            raise (Forbidden if isinstance(error, Invalid) else Unreachable)(error.detail) from error

    def _make_client(self, host: str) -> _Client:
        end = self.endpoint
        if end.transport == "tcp":
            return AsyncModbusTcpClient(
                host, port=end.port, timeout=self._timeout_s, retries=0, reconnect_delay=0, trace_packet=self._show
            )
        return AsyncModbusSerialClient(
            end.device,
            baudrate=end.baudrate,
            parity=end.parity,
            stopbits=end.stopbits,
            timeout=self._timeout_s,
            retries=0,
            reconnect_delay=0,
            trace_packet=self._show,
        )

    def _show(self, sending: bool, frame: bytes) -> bytes:
        if frame and self._trace is not None and self._trace.on:
            self._trace("out" if sending else "in", frame.hex(" "), peer=str(self.endpoint))
        return frame

    def _drop(self) -> None:
        if self._client:
            self._client.close()
            self._client = None
