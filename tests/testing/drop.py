"""A small adapter of an invented protocol, with every fault that the judge must see, each by its name.

::

    device → adapter   hello PASSWORD │ r ID POINT VALUE UNIT │ did SEQUENCE │ no SEQUENCE
    adapter → device   ok ID │ set SEQUENCE VALUE
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Any

from gridspine.kernel.errors import Invalid, Overloaded
from gridspine.kernel.ids import point_id
from gridspine.kernel.readings import named_readings
from gridspine.testing.rig import Frame, Sample
from gridspine.things.adapter import AdapterContext, Binding, Order, Source

THING = "urn:example:drop"
PASSWORD = "plain-secret-19"
QUALITY = """
protocol = "Drop"
versions = ["1"]
[permissions]
listen = ["drop"]
[bounds]
readings_waiting = 3
[signs]
activePower = "import positive"
"""
_kept: list[asyncio.Task[None]] = []


def decode(line: str, faults: frozenset[str] = frozenset()) -> list[Any]:
    words = line.split()
    if "decode-breaks" in faults:
        return [words[0], float(words[3])]
    try:
        if words[0] != "r":
            return list(words)
        return ["r", int(words[1]), words[2], float(words[3]), words[4]]
    except (IndexError, ValueError) as error:
        raise Invalid(f"no line of this protocol: {line[:50]!r}") from error


class Drop:
    name = "drop"

    def __init__(self, *faults: str) -> None:
        self.faults = frozenset(faults)
        self._peers: dict[asyncio.StreamWriter, Source] = {}
        self._latest: dict[str, Order] = {}
        self._every: list[Order] = []
        self._lost = False

    async def run(self, context: AdapterContext) -> None:
        self.context = context
        await context.listen("drop", self._serve)
        if "stores" in self.faults:
            await context.store.put("seen", b"1")
        if "forgets-order" in self.faults:
            self.restarted = await context.store.get("ran") is not None
            await context.store.put("ran", b"1")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._orders())
                group.create_task(self._bindings())
        except asyncio.CancelledError:
            if "will-not-end" in self.faults:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0.3)
                await asyncio.sleep(60)
            raise
        finally:
            if "leaves-task" in self.faults:
                _kept.append(asyncio.ensure_future(asyncio.sleep(1)))
            for writer in self._peers:
                writer.close()

    async def _bindings(self) -> None:
        while True:
            await self.context.bindings_changed()

    async def _orders(self) -> None:
        async for order in self.context.orders():
            last = self._latest.get(order.point)
            if last is not None and order.sequence < last.sequence and "sends-older" not in self.faults:
                continue
            if order.until_us <= self.context.clock.now_us() and "sends-over" not in self.faults:
                await self.context.progress(order.command, "failed", "it was over", sequence=order.sequence)
                continue
            self._latest[order.point] = order
            self._every.append(order)
            for writer in self._peers:
                self._send(writer, order)

    def _send(self, writer: asyncio.StreamWriter, order: Order) -> None:
        value = 0.0 if "forgets-order" in self.faults and self.restarted else order.value
        self._write(writer, f"set {order.sequence} {value}")

    def _write(self, writer: asyncio.StreamWriter, line: str) -> None:
        if "untraced" not in self.faults:
            self.context.trace("out", line)
        writer.write(f"{line}\n".encode())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks: list[asyncio.Task[None]] = []
        try:
            source = await self._introduce(reader)
            if source is None or ("once" in self.faults and self._lost):
                return
            self._peers[writer] = source
            for order in self._every if "queues-orders" in self.faults else self._latest.values():
                if order.until_us > self.context.clock.now_us():
                    self._send(writer, order)
            while line := (await reader.readline()).decode():
                if "untraced" not in self.faults:
                    self.context.trace("in", line)
                work = self._take(decode(line), writer, source)
                if "unbounded" in self.faults:
                    tasks.append(asyncio.ensure_future(work))
                else:
                    await work
        except Invalid as error:
            self.context.trace("note", error.detail)
        finally:
            self._lost = True
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._peers.pop(writer, None)

    async def _introduce(self, reader: asyncio.StreamReader) -> Source | None:
        hello = (await reader.readline()).decode().split()
        if "logs-password" in self.faults:
            logging.getLogger(__name__).warning("came: %s", hello)
        if "traces-password" in self.faults:
            self.context.trace("in", " ".join(hello))
        return await self.context.authorise(THING, hello[1]) if hello else None

    async def _take(self, said: list[Any], writer: asyncio.StreamWriter, source: Source) -> None:
        if said[0] in {"did", "no"}:
            await self._word(said, writer)
            return
        _, id_, name, value, unit = said
        allowed = self.context.may_publish(source, THING) and any(self.context.bindings())
        if not allowed and "reads-on" not in self.faults:
            raise Invalid("not your Thing")
        if "acknowledges-early" in self.faults:
            self._write(writer, f"ok {id_}")
        value = -value if "turns-sign" in self.faults else value
        unit = "" if "loses-unit" in self.faults else unit
        readings = named_readings([(point_id(THING, name), unit, self.context.clock.now_us(), value, 0)])
        try:
            await self.context.intake(readings, source)
        except Overloaded as error:
            if "drops" in self.faults:
                return
            raise Invalid("sent again after the connection is back") from error
        if "acknowledges-early" not in self.faults:
            self._write(writer, f"ok {id_}")

    async def _word(self, said: list[Any], writer: asyncio.StreamWriter) -> None:
        order = next(one for one in self._every if one.sequence == int(said[1]))
        state: Any = "acknowledged" if said[0] == "did" else "rejected"
        await self.context.progress(order.command, state, sequence=order.sequence)
        if said[0] == "no" and "insists" in self.faults:
            await self.context.clock.sleep(5)
            self._send(writer, order)
        if said[0] == "did" and "believes" in self.faults and order.value is not None:
            row = (point_id(THING, order.point), "W", self.context.clock.now_us(), order.value, 0)
            await self.context.intake(named_readings([row]), self.context.source_of(THING))


class DropRig:
    pushes = commands = True
    passwords = (PASSWORD,)
    samples = (Sample(THING, "activePower", 1500.0, "W"), Sample(THING, "activePower", -2000.0, "W"))

    def __init__(self, *faults: str) -> None:
        self.faults = frozenset(faults)
        self.silent = self.refuses = False
        self.settings: dict[str, Any] = {}
        self.secrets: dict[str, str] = {}
        self.acknowledged = self.connections = self._id = 0
        self.written: list[float | None] = []
        self._waiting: dict[int, str] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None

    def bindings(self) -> Sequence[Binding]:
        return (Binding(THING, "Drop", "org", "m", {}),)

    def order(self, value: float, until_us: int, sequence: int) -> Order:
        return Order(f"c{sequence}", THING, "activePowerSetpoint", value, until_us, 0.0, sequence)

    def frames(self) -> Sequence[Frame]:
        wrong = 1.0 if "wrong-meaning" in self.faults else -5.5
        means = ["r", 7, "activePower", wrong, "W"]
        return (
            () if "no-frames" in self.faults else (Frame("a reading", means, "by hand", text="r 7 activePower -5.5 W"),)
        )

    def decode(self, frame: bytes) -> Any:
        try:
            return decode(frame.decode(), self.faults)
        except UnicodeDecodeError as error:
            raise Invalid("no text") from error

    def encode(self, means: Any) -> bytes:
        return (" " if "wrong-writing" in self.faults else "").encode() + " ".join(map(str, means)).encode()

    async def start(self, node: Any) -> None:
        self.node = node
        node.add_user(THING, PASSWORD, THING)

    async def join(self, node: Any) -> None:
        await self.restore()

    async def measure(self, sample: Sample) -> None:
        self._id += 1
        self._waiting[self._id] = f"r {self._id} {sample.name} {sample.value} {sample.unit}\n"
        if self._writer is not None:
            self._writer.write(self._waiting[self._id].encode())

    async def cut(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def restore(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._live())

    async def stop(self) -> None:
        await self.cut()

    async def _live(self) -> None:
        while True:
            if "drop" in self.node.address:
                with contextlib.suppress(OSError):
                    await self._connect()
            await asyncio.sleep(0.01)

    async def _connect(self) -> None:
        reader, writer = await asyncio.open_connection(*self.node.address["drop"])
        self.connections += 1
        try:
            writer.write(f"hello {PASSWORD}\n{''.join(self._waiting.values())}".encode())
            self._writer = writer
            while line := (await reader.readline()).decode():
                kind, number, *value = line.split()
                if kind == "ok":
                    self.acknowledged += self._waiting.pop(int(number), None) is not None
                elif not self.silent:
                    self.written.append(float(value[0]))
                    writer.write(f"{'no' if self.refuses else 'did'} {number}\n".encode())
        finally:
            self._writer = None
            self.connections -= 1
            writer.close()
