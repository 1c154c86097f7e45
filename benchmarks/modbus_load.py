"""Many Modbus TCP devices in one process, as lean as Python allows: each a listener of its own, 20 registers, all live.

``modbus_load.py --devices 1000`` listens at ``127.1.x.y`` and says the port by a line of JSON; at each line on its
standard input it says what was asked of it, and how often since the last line.

::

    holding 0, 1    active power [W], int32        holding 2, 3     active energy imported [Wh], uint32
    holding 4 … 19  what else a three-phase meter has, one register each
"""

import argparse
import asyncio
import json
import struct
import sys
import time
from array import array
from typing import Any

REGISTERS = 20
_HEADER = struct.Struct(">HHHBBHH")


def address(number: int) -> str:
    """Return where device ``number`` listens."""
    return f"127.1.{number // 250}.{number % 250 + 1}"


class Count:
    """What was asked of all devices."""

    def __init__(self) -> None:
        self.requests = 0
        self.connections = 0
        self.began_s = time.monotonic()
        self.devices: set[Device] = set()
        self.at_s = array("d")
        self._asked_s = self.began_s

    def rate(self) -> dict[str, float]:
        """Return how often devices were asked in the last whole seconds since this was last asked.

        Whole seconds, for each is asked once a second: in 30.1 s some are asked 30 times, others 31, by their turn.
        ``polls_s`` [1/s] over ``over_s`` [s]; ``longest_s`` is the longest that one of them waited [s].
        """
        now_s = time.monotonic()
        over_s = int(now_s - self._asked_s)
        polls = sum(1 for at_s in self.at_s if at_s >= now_s - over_s)
        longest_s = max((one.longest_s for one in self.devices), default=0.0)
        self.at_s, self._asked_s = array("d"), now_s
        for one in self.devices:
            one.longest_s = 0.0
        return {"polls_s": polls / over_s if over_s else 0.0, "over_s": over_s, "longest_s": longest_s}


class Device(asyncio.Protocol):
    """One connection; every second all its values are others."""

    def __init__(self, count: Count, number: int) -> None:
        self._count, self._number = count, number
        self._heard = b""
        self.longest_s = self._last_s = 0.0

    def _note(self) -> None:
        now_s = time.monotonic()
        if self._last_s:
            self.longest_s = max(self.longest_s, now_s - self._last_s)
        self._last_s = now_s
        self._count.requests += 1
        self._count.at_s.append(now_s)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._count.connections += 1
        self._count.devices.add(self)

    def connection_lost(self, _error: Exception | None) -> None:
        """Count it."""
        self._count.connections -= 1
        self._count.devices.discard(self)

    def data_received(self, data: bytes) -> None:
        """Answer every whole request for holding registers."""
        data = self._heard + data if self._heard else data
        while len(data) >= _HEADER.size:
            transaction, _, _, unit, function, _, count = _HEADER.unpack_from(data)
            data = data[_HEADER.size :]
            said = bytes((unit, function, 2 * count)) + self._registers()[: 2 * count]
            self._transport.write(struct.pack(">HHH", transaction, 0, len(said)) + said)
            self._note()
        self._heard = data

    def _registers(self) -> bytes:
        now_s = int(time.monotonic() - self._count.began_s)
        odd = now_s % 2
        small = [2300 + 20 * odd] * 3 + [50 + 20 * odd] * 3 + [5000 + 4 * odd] + [800 + 100 * odd] * 4
        rest = [*small, 900 + 100 * odd, now_s, now_s, now_s, 95 - 2 * odd]
        return struct.pack(">iI16H", 1500 + 100 * odd + self._number, now_s, *rest)


async def serve(devices: int) -> None:
    """Listen, and answer questions about it."""
    count, loop = Count(), asyncio.get_running_loop()
    first = await loop.create_server(lambda: Device(count, 0), address(0), 0)
    port = first.sockets[0].getsockname()[1]
    servers = [first]
    for number in range(1, devices):
        servers.append(await loop.create_server(lambda number=number: Device(count, number), address(number), port))
    print(json.dumps({"port": port}), flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        said: dict[str, Any] = {"requests": count.requests, "at_s": time.monotonic(), "connections": count.connections}
        print(json.dumps(said | count.rate() | {"cpu_s": time.process_time()}), flush=True)


def main() -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--devices", type=int, default=1000)
    asyncio.run(serve(parser.parse_args().devices))


if __name__ == "__main__":
    main()
