"""What an adapter's author brings to be judged: a device of its protocol that can be cut off, be silent, and refuse.

::

    judge ─ measure, cut, restore, silent ─► rig (a device on a real socket) ◄─ the protocol ─► adapter ─► `FakeNode`

A rig is made anew for every check. It lies beside the adapter as ``rig.py`` and has a function ``rig()``.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib import resources
from typing import Any, Protocol

import msgspec

from gridspine.kernel.errors import Invalid
from gridspine.testing.node import FakeNode
from gridspine.things.adapter import Binding, Order

AGAIN_S = 0.02
"""How soon a device tries to connect again [s]: by the machine's clock, it is on the other side of the wire."""


class Frame(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A recorded frame: its bytes as ``hex`` digits or as ``text``, what it ``means``, and where it is from.

    ``one_way``: it is only ever read, and so not encoded again.
    """

    name: str
    means: Any
    source: str
    hex: str = ""
    text: str = ""
    one_way: bool = False

    @property
    def data(self) -> bytes:
        """Its bytes."""
        return bytes.fromhex(self.hex) if self.hex else self.text.encode()


class Sample(msgspec.Struct, frozen=True):
    """What the device measures, as the node must get it: point ``name`` of ``thing``, ``value`` in ``unit``.

    ``unit`` "" is the point's own. Import is positive.
    """

    thing: str
    name: str
    value: float
    unit: str

    @property
    def point(self) -> str:
        """The point's id."""
        return f"{self.thing}/{self.name}"


class Rig(Protocol):
    """A device. ``pushes``: it connects to the adapter and sends; else it is polled. ``commands``: it takes orders.

    ``passwords`` are what it proves itself by, and must not be seen anywhere.
    """

    silent: bool
    """Take what comes, and answer nothing."""
    refuses: bool
    """Refuse what is ordered."""
    acknowledged: int
    """Messages of the device that the adapter acknowledged."""
    written: list[float | None]
    """Set-points that reached the device, in their order, refused ones too; None: it was told to let go."""

    @property
    def pushes(self) -> bool:
        """Whether it connects to the adapter."""
        ...

    @property
    def commands(self) -> bool:
        """Whether it takes orders."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """The adapter's settings, to find it by."""
        ...

    @property
    def secrets(self) -> Mapping[str, str]:
        """The adapter's secrets."""
        ...

    @property
    def passwords(self) -> Sequence[str]:
        """What the device proves itself by."""
        ...

    @property
    def samples(self) -> Sequence[Sample]:
        """What it can be made to measure: for each power at least one value of either sign."""
        ...

    @property
    def connections(self) -> int:
        """Connections that are open."""
        ...

    def bindings(self) -> Sequence[Binding]:
        """Return the Things, once it is started."""
        ...

    def order(self, value: float, until_us: int, sequence: int) -> Order:
        """Return an order to one of the Things; where ``commands`` is False, one that must be rejected."""
        ...

    def frames(self) -> Sequence[Frame]:
        """Return the recorded frames."""
        ...

    def decode(self, frame: bytes) -> Any:
        """Return what a frame means, by the adapter's own codec, as builtins; raise `GridspineError` for nonsense."""
        ...

    def encode(self, means: Any) -> bytes:
        """Return the frame that means this, by the adapter's own codec."""
        ...

    async def start(self, node: FakeNode) -> None:
        """Make the device ready, before the adapter runs; ``node`` may be told who signs in."""
        ...

    async def join(self, node: FakeNode) -> None:
        """The adapter runs: a device that pushes connects now, and goes on trying to."""
        ...

    async def measure(self, sample: Sample) -> None:
        """Measure this from now on; a device that pushes sends it."""
        ...

    async def cut(self) -> None:
        """Break every connection, and let none be made."""
        ...

    async def restore(self) -> None:
        """Let connections be made again."""
        ...

    async def stop(self) -> None:
        """End the device, and whatever it runs."""
        ...


def recorded(package: str, file: str = "frames.json") -> tuple[Frame, ...]:
    """Return the recorded frames in a package's ``file``; raise `Invalid` when it has none that can be read."""
    try:
        return msgspec.json.decode((resources.files(package) / file).read_bytes(), type=tuple[Frame, ...])
    except (OSError, msgspec.MsgspecError) as error:
        raise Invalid(f"{package}: {file}: {error}") from error


class PushingDevice:
    """How a device that pushes lives: it connects to the adapter's listener, and again whenever that ended.

    A rig's device is made of it, names its ``listener`` and what ends a connection without being a fault of the
    device, and says in `connected` what it does on one.
    """

    listener = ""
    ends: tuple[type[Exception], ...] = (OSError, EOFError)

    def __init__(self) -> None:
        self.silent = self.refuses = False
        self.acknowledged = 0
        self.written: list[float | None] = []
        self.node: FakeNode | None = None
        self._living: asyncio.Task[None] | None = None

    async def connected(self, host: str, port: int) -> None:
        """Connect to the adapter and talk until the connection ends."""
        raise NotImplementedError

    async def join(self, node: FakeNode) -> None:
        """Connect, and go on trying to."""
        self.node = node
        await self.restore()

    async def cut(self) -> None:
        """Break the connection, and try no more."""
        if self._living is not None:
            self._living.cancel()
            await asyncio.gather(self._living, return_exceptions=True)
            self._living = None

    async def restore(self) -> None:
        """Try again."""
        if self._living is None:
            self._living = asyncio.create_task(self._live(), name=f"device of {self.listener}")

    async def stop(self) -> None:
        """End."""
        await self.cut()

    async def _live(self) -> None:
        while True:
            address = self.node.address.get(self.listener) if self.node is not None else None
            if address is not None:
                with contextlib.suppress(*self.ends):
                    await self.connected(*address)
            await asyncio.sleep(AGAIN_S)


class TcpDevice:
    """A TCP server for a rig whose device is polled: ``serve`` talks on one connection, until it ends."""

    def __init__(self, serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> None:
        self.port = 0
        self._serve = serve
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @property
    def connections(self) -> int:
        """Connections that are open."""
        return len(self._open)

    async def start(self) -> None:
        """Listen: on any free port at first, then on the same again."""
        self._server = await asyncio.start_server(self._on_connection, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Break the connections, and listen no more."""
        if self._server is not None:
            self._server.close()
            for task, writer in list(self._open.items()):
                writer.transport.abort()
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)
            await self._server.wait_closed()
            self._server = None

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
                await self._serve(reader, writer)
        except asyncio.CancelledError:
            pass  # the device was stopped: the loop would report the task of a connection that ends so
        finally:
            writer.close()
            del self._open[task]
