"""What the load generator sends: bodies made once, in which only the times (and which of two values) change.

Each gateway has points of its own, and sends them in the order of time, as a device does. Values swing by more than
every deadband, registers stand: all of them are accepted.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
from rig import thing_id

from gridspine.kernel.codecs.arrow import encode_arrow

ARROW, SENML = "application/vnd.apache.arrow.stream", "application/senml+json"
POINTS = ("activeEnergyExport", "activeEnergyImport", "activePower", "frequency", "voltage")
_LOW = (5e6, 6e6, 1000.0, 50.0, 230.0)
_HIGH = (5e6, 6e6, 1200.0, 50.1, 232.0)
STEP_US = 100


@dataclass(frozen=True)
class Shape:
    """``gateways`` connections, each with ``things`` Things of five points; ``readings`` a post, over ``points``.

    Where ``points`` is fewer than a gateway has, post after post goes on with the next ones, round and round.
    """

    gateways: int
    things: int
    readings: int
    points: int
    media: str = ARROW


SHAPES = {
    "large": Shape(gateways=8, things=200, readings=10_000, points=1_000),
    "distinct": Shape(gateways=10, things=2_000, readings=10_000, points=10_000),
    "small": Shape(gateways=64, things=20, readings=100, points=100),
    "senml": Shape(gateways=8, things=200, readings=10_000, points=1_000, media=SENML),
}


def names_of(first: int, things: int) -> list[str]:
    """Return the point ids of ``things`` Things from number ``first`` on."""
    return [f"{thing_id(number)}/{name}" for number in range(first, first + things) for name in POINTS]


class Gateway:
    """Bodies of one gateway without an end."""

    def __init__(self, shape: Shape, number: int, start_us: int) -> None:
        self._shape = shape
        self._names = names_of(number * shape.things, shape.things)
        self._now_us = start_us
        self._make = _ArrowBody if shape.media == ARROW else _SenmlBody

    def bodies(self) -> Iterator[bytes]:
        """Yield bodies, each later than the one before; a new one spoils the last."""
        rounds = len(self._names) // self._shape.points
        own = [
            self._make(self._names[at * self._shape.points : (at + 1) * self._shape.points], self._shape.readings, odd)
            for odd in (0, 1)
            for at in range(rounds)
        ]
        for body in itertools.cycle(own):
            yield body.at(self._now_us)
            self._now_us += STEP_US * body.samples

    def spend_until(self, now_us: int) -> None:
        """Go on at ``now_us`` at the earliest: for a load that is slower than its time steps."""
        self._now_us = max(self._now_us, now_us)


def _columns(names: list[str], readings: int, odd: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Return place of the point, sample number and value of each reading, and how many samples each point has."""
    samples = readings // len(names)
    index = np.tile(np.arange(len(names), dtype=np.int32), samples)
    sample = np.repeat(np.arange(samples, dtype=np.int64), len(names))
    kind = index % len(POINTS)
    value = np.where((sample + odd) % 2 == 0, np.array(_LOW)[kind], np.array(_HIGH)[kind])
    return index, sample, value, samples


class _ArrowBody:
    """An Arrow stream whose column of times is written over in place."""

    def __init__(self, names: list[str], readings: int, odd: int) -> None:
        index, sample, value, self.samples = _columns(names, readings, odd if readings // len(names) % 2 else 0)
        self._offset = sample * STEP_US
        marked = self._offset + (1 << 50)
        self._body = bytearray(encode_arrow(names, index, marked, value, np.zeros(readings, np.uint16)))
        place = self._body.find(marked.tobytes())
        assert place >= 0, "the encoder compresses its columns: write them anew instead"
        self._times = np.frombuffer(self._body, np.int64, readings, place)

    def at(self, now_us: int) -> bytes:
        np.add(self._offset, now_us, out=self._times)
        return self._body  # type: ignore[return-value]


class _SenmlBody:
    """SenML whose first record carries the base time of all."""

    def __init__(self, names: list[str], readings: int, odd: int) -> None:
        index, sample, value, self.samples = _columns(names, readings, odd if readings // len(names) % 2 else 0)
        offset_s = (sample * STEP_US / 1e6).round(6)
        records = [
            {"n": names[i], "t": t, "v": v}
            for i, t, v in zip(index.tolist(), offset_s.tolist(), value.tolist(), strict=True)
        ]
        self._rest = msgspec.json.encode(records)[2:]

    def at(self, now_us: int) -> bytes:
        return b'[{"bt":%d.%06d,' % divmod(now_us, 1_000_000) + self._rest
