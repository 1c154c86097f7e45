"""Mutations of bytes, seeded: the same seed gives the same inputs."""

import random
from collections.abc import Sequence

MAX_BYTES = 8192
_INTERESTING = (
    b"\x00", b"\xff", b"\x7f", b"\x80", b"\x00\x00", b"\xff\xff", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff",
    b"\x80\x00\x00\x00", b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"-1", b"0", b"1e309", b"9" * 20, b"-0", b"NaN", b"\xc3\x28",
    b"\xed\xa0\x80", b"\xf0\x9f\x94\x8c", b"\r\n", b"\n\n", b"\\u0000", b"\\ud800", b"[" * 64, b"{\"a\":" * 32, b"'", b'"', b",",
)  # fmt: skip


class Mutator:
    """Makes inputs from a pool of seeds and a dictionary of words."""

    def __init__(self, seeds: Sequence[bytes], words: Sequence[bytes], seed: int) -> None:
        self._random = random.Random(seed)
        self.pool = list(seeds) or [b""]
        self._words = (*words, *_INTERESTING)

    def keep(self, data: bytes, limit: int = 3000) -> None:
        """Take an input that showed something new as a seed."""
        if len(self.pool) < limit:
            self.pool.append(data)

    def next(self) -> bytes:
        """Return the next input."""
        pick = self._random.random
        data = bytearray(self.pool[int(pick() * len(self.pool))])
        for _ in range(1 + int(pick() ** 3 * 8)):
            self._change(data)
        return bytes(data[:MAX_BYTES])

    def _change(self, data: bytearray) -> None:
        pick = self._random.random
        size, kind = len(data), pick()
        at = int(pick() * size) if size else 0
        if size == 0 or kind < 0.12:
            word = self._words[int(pick() * len(self._words))]
            data[at:at] = word
        elif kind < 0.45:
            data[at] = data[at] ^ (1 << int(pick() * 8)) if kind < 0.30 else int(pick() * 256)
        elif kind < 0.55:
            data[at] = (data[at] + int(pick() * 33) - 16) & 0xFF
        elif kind < 0.67:
            del data[at : at + 1 + int(pick() ** 3 * 64)]
        elif kind < 0.75:
            word = self._words[int(pick() * len(self._words))]
            data[at : at + len(word)] = word
        elif kind < 0.83:
            end = at + 1 + int(pick() ** 2 * 64)
            to = int(pick() * size)
            data[to:to] = data[at:end]
        elif kind < 0.88:
            data[at:at] = self._random.randbytes(1 + int(pick() * 16))
        elif kind < 0.92:
            data[at : at + 4] = int(pick() * (1 << 32)).to_bytes(4, "little" if pick() < 0.5 else "big")
        elif kind < 0.95:
            del data[at:]
        else:
            other = self.pool[int(pick() * len(self.pool))]
            start = int(pick() * len(other))
            data[at:] = other[start:]
