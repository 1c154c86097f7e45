"""Arrow bodies of a fleet: the names are made once, values and times are all that a step adds."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from gridspine.kernel.codecs.arrow import SCHEMA
from gridspine.kernel.readings import Float64Array

READINGS_A_BODY = 25_000


class Sheets:
    """The bodies of each step: every point once, ``size`` [readings] a body."""

    def __init__(self, names: Sequence[str], size: int = READINGS_A_BODY) -> None:
        self._points = []
        for first in range(0, len(names), size):
            words = pa.array(names[first : first + size], pa.string())
            places = pa.array(np.arange(len(words), dtype=np.int32))
            self._points.append((first, pa.DictionaryArray.from_arrays(places, words)))

    def bodies(self, values: Float64Array, observed_us: int) -> Iterator[bytes]:
        """Yield Arrow IPC streams that say that every point read its of ``values`` (m,) at ``observed_us``."""
        for first, points in self._points:
            count = len(points)
            columns = [
                points,
                pa.array(np.full(count, observed_us), pa.timestamp("us", "UTC")),
                pa.array(values[first : first + count]),
                pa.array(np.zeros(count, np.uint16)),
            ]
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, SCHEMA) as writer:
                writer.write_batch(pa.record_batch(columns, schema=SCHEMA))
            yield bytes(sink.getvalue())
