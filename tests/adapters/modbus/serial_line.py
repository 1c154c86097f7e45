"""A serial line of two pseudo-terminals, and units at its far end that speak Modbus RTU by code of their own.

Frames: unit, function, data, CRC-16 (low byte first), as in Modbus over Serial Line V1.02; the clauses were not read
again. `mbpoll` reads them in a test, so that the adapter's library and these units do not agree on a mistake.
"""

import os
import select
import threading
import tty
from collections.abc import Callable
from dataclasses import dataclass, field

ILLEGAL_ADDRESS = 2


def crc16(data: bytes) -> bytes:
    """Return the check of a frame."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ 0xA001 if value & 1 else value >> 1
    return value.to_bytes(2, "little")


@dataclass
class Units:
    """Units by number, each with its holding registers; ``spoil`` changes what they answer, on its way."""

    registers: dict[int, list[int]]
    asked: list[tuple[int, int, int]] = field(default_factory=list)
    """(unit, function, address) of each request whose check was right."""
    wrong: int = 0
    spoil: Callable[[bytes], bytes] = lambda answer: answer

    def answer(self, frame: bytes) -> bytes:
        """Return the answer to a whole request; b"" for one that is for nobody here, or spoilt."""
        if len(frame) < 8 or crc16(frame[:-2]) != frame[-2:]:
            self.wrong += 1
            return b""
        unit, function, address = frame[0], frame[1], int.from_bytes(frame[2:4], "big")
        self.asked.append((unit, function, address))
        if unit not in self.registers:
            return b""
        said = bytes((unit,)) + self._said(self.registers[unit], function, address, frame)
        return self.spoil(said + crc16(said))

    def _said(self, words: list[int], function: int, address: int, frame: bytes) -> bytes:
        count = 1 if function == 6 else int.from_bytes(frame[4:6], "big")
        if function not in {3, 4, 6, 16} or address + count > len(words):
            return bytes((function | 0x80, ILLEGAL_ADDRESS))
        if function in {3, 4}:
            found = b"".join(word.to_bytes(2, "big") for word in words[address : address + count])
            return bytes((function, len(found))) + found
        data = frame[4:6] if function == 6 else frame[7:-2]
        words[address : address + count] = [int.from_bytes(data[at : at + 2], "big") for at in range(0, 2 * count, 2)]
        return frame[1:6]


def length_of(frame: bytes) -> int:
    """Return how long the request that begins with ``frame`` is; 0 where that is not known yet."""
    if len(frame) < 7:
        return 0
    return 9 + frame[6] if frame[1] == 16 else 8


class Line:
    """A line from the terminal ``near`` to ``units``, carried by a thread; ``cut`` it, and ``mend`` it."""

    def __init__(self, units: Units) -> None:
        self.units = units
        self.mended = True
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.near = os.ttyname(self._slave)
        self._stop_out, self._stop_in = os.pipe()
        self._thread = threading.Thread(target=self._carry)
        self._thread.start()

    def _carry(self) -> None:
        heard = b""
        while True:
            # A frame ends where the line is still: what was begun and not gone on with is forgotten.
            ready, _, _ = select.select([self._master, self._stop_out], [], [], 0.05 if heard else None)
            if self._stop_out in ready:
                return
            if not ready:
                heard = b""
                continue
            heard += os.read(self._master, 1024)
            if not self.mended:
                heard = b""
            while (size := length_of(heard)) and len(heard) >= size:
                said = self.units.answer(heard[:size])
                heard = heard[size:]
                if said and self.mended:
                    os.write(self._master, said)

    def close(self) -> None:
        """Take the line down: whoever has it open is hung up on."""
        os.write(self._stop_in, b"x")
        self._thread.join(10)
        for descriptor in (self._master, self._slave, self._stop_out, self._stop_in):
            os.close(descriptor)
