"""Real devices for Modbus tests: the demonstration's inverter and battery as processes, and a relay that watches."""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from gridspine.energy.models import load_models
from gridspine.things.adapter import Binding, Order

THING = "urn:dev:ops:32473-modbus-1"


@dataclass
class DeviceProcess:
    """A demonstration device running as a process of its own."""

    kind: str
    options: tuple[str, ...]
    process: subprocess.Popen[str]
    ready: dict[str, Any]

    @property
    def port(self) -> int:
        return int(self.ready["port"])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)
        if self.process.stdout:
            self.process.stdout.close()


StartDevice = Callable[..., DeviceProcess]


def binding(kind: str, port: int, thing: str = THING, **connection: Any) -> Binding:
    """Return the binding of a device at a TCP port, polled five times a second."""
    model = {"inverter": "pv_inverter"}.get(kind, kind)
    defaults = {"port": port, "intervalS": 0.2, "timeoutS": 2.0}
    return Binding(thing, kind, "org", load_models()[model].id, defaults | connection)


def order(clock_now_us: int, point: str, value: float | None, seconds: float, **more: Any) -> Order:
    """Return an order for ``point`` that holds for ``seconds`` [s] from ``clock_now_us``."""
    defaults = {"command": "c1", "thing": THING, "fallback": 0.0, "sequence": 1}
    return Order(point=point, value=value, until_us=clock_now_us + round(seconds * 1e6), **(defaults | more))


@dataclass
class Relay:
    """A Modbus TCP gateway between adapter and devices, by unit id, that watches every request.

    ``requests`` are (unit, function code, address); ``overlaps`` counts requests sent before the last was answered;
    ``mute`` swallows answers; ``refuse`` maps (unit, function code) to an exception code given instead.
    """

    ports: dict[int, int]
    port: int = 0
    requests: list[tuple[int, int, int]] = field(default_factory=list)
    overlaps: int = 0
    connections: int = 0
    mute: bool = False
    refuse: dict[tuple[int, int], int] = field(default_factory=dict)
    refusals: int = 0
    _outstanding: int = 0
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def writes(self) -> int:
        return sum(function in {6, 16} for _, function, _ in self.requests)

    def cut(self) -> None:
        """End every connection at once."""
        for writer in self._writers:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        upstream: dict[int, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}
        try:
            while True:
                await self._one(reader, writer, upstream)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            for _, end in upstream.values():
                end.close()
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upstream: dict[int, Any]) -> None:
        header = await reader.readexactly(7)
        body = await reader.readexactly(int.from_bytes(header[4:6], "big") - 1)
        unit, function = header[6], body[0]
        self.requests.append((unit, function, int.from_bytes(body[1:3], "big")))
        self.overlaps += len(reader._buffer) > 0  # type: ignore[attr-defined]
        if self.mute:
            return
        code = self.refuse.get((unit, function), 0 if unit in self.ports else 11)
        if code:
            self.refusals += 1
            writer.write(header[:4] + b"\0\3" + bytes([unit, function | 0x80, code]))
            return
        if unit not in upstream:
            upstream[unit] = await asyncio.open_connection("127.0.0.1", self.ports[unit])
        source, sink = upstream[unit]
        sink.write(header + body)
        answer = await source.readexactly(7)
        answer += await source.readexactly(int.from_bytes(answer[4:6], "big") - 1)
        writer.write(answer)


@contextlib.asynccontextmanager
async def relaying(ports: dict[int, int]) -> AsyncIterator[Relay]:
    """Run a `Relay` to devices at ``ports`` by unit id."""
    relay = Relay(ports)
    server = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    relay.port = server.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        for sock in server.sockets:
            asyncio.get_running_loop().remove_reader(sock.fileno())
        await asyncio.sleep(0.05)  # who was just taken is given a transport: else nobody would close the socket
        server.close()
        relay.cut()
        await asyncio.sleep(0.05)
        await server.wait_closed()
