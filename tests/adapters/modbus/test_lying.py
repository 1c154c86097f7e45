"""A device, or who stands between, that answers what was not asked: nothing of it becomes a value."""

import asyncio
import contextlib
import struct

import pytest

from gridspine.adapters.modbus.address import Endpoint
from gridspine.adapters.modbus.session import Session
from gridspine.infra.runtime.clock import SystemClock
from gridspine.kernel.errors import Unavailable


def answer(transaction, unit, pdu):
    return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu


GOOD = b"\x03\x04\x00\x07\x00\x08"
LIES = {
    "fewer registers": lambda transaction, unit: answer(transaction, unit, b"\x03\x02\x00\x07"),
    "more registers": lambda transaction, unit: answer(transaction, unit, b"\x03\x08" + b"\x00\x07" * 4),
    "a count that is not there": lambda transaction, unit: answer(transaction, unit, b"\x03\xff\x00\x07"),
    "an odd count of bytes": lambda transaction, unit: answer(transaction, unit, b"\x03\x03\x00\x07\x00"),
    "another request's answer": lambda transaction, unit: answer(transaction ^ 0xFF, unit, GOOD),
    "another unit's answer": lambda transaction, unit: answer(transaction, unit ^ 0x0F, GOOD),
    "another function": lambda transaction, unit: answer(transaction, unit, b"\x04" + GOOD[1:]),
    "no Modbus": lambda transaction, unit: b"HTTP/1.1 200 OK\r\n\r\n",
    "a length beyond any frame": lambda transaction, unit: struct.pack(">HHHB", transaction, 0, 65_535, unit) + GOOD,
    "noise without end": lambda transaction, unit: bytes(range(256)) * 256,
}


@contextlib.asynccontextmanager
async def device(lie):
    """Yield the port of a device that answers so, and then truly."""
    lies = [lie]

    async def serve(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                transaction, _, length, unit = struct.unpack(">HHHB", await reader.readexactly(7))
                await reader.readexactly(length - 1)
                said = lies.pop() if lies else lambda transaction, unit: answer(transaction, unit, GOOD)
                writer.write(said(transaction, unit))
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("lie", LIES)
async def test_what_was_not_asked_for_is_no_value_and_the_next_answer_is_taken(lie) -> None:
    async with device(LIES[lie]) as port:
        line = Session(Endpoint("tcp", host="127.0.0.1", port=port), SystemClock(), timeout_s=0.2)
        try:
            with pytest.raises(Unavailable):
                await line.read(1, 0, 2)
            async with asyncio.timeout(60):
                while True:
                    with contextlib.suppress(Unavailable):
                        assert await line.read(1, 0, 2) == (7, 8)
                        break
                    await asyncio.sleep(0.05)
        finally:
            await line.close()
