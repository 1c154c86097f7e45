"""Arrow bodies of a fleet: the names are made once, values and times are all that a step adds."""

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import pyarrow as pa

from gridspine.kernel.codecs.arrow import SCHEMA
from gridspine.kernel.readings import BoolArray, Float64Array

READINGS_A_BODY = 25_000


class Sheets:
    """The bodies of each step: every point once, ``size`` [readings] a body at most."""

    def __init__(self, names: Iterable[str], size: int = READINGS_A_BODY) -> None:
        self._points = []
        first, rest = 0, iter(names)
        while part := list(islice(rest, size)):
            places = pa.array(np.arange(len(part), dtype=np.int32))
            self._points.append((first, pa.DictionaryArray.from_arrays(places, pa.array(part, pa.string()))))
            first += len(part)

    def bodies(self, values: Float64Array, observed_us: int, present: BoolArray | None = None) -> Iterator[bytes]:
        """Yield Arrow IPC streams that say that every point read its of ``values`` (m,) at ``observed_us``.

        Points that are not ``present``, bool (m,), say nothing.
        """
        for first, every in self._points:
            points, told = every, values[first : first + len(every)]
            if present is not None and not (here := present[first : first + len(every)]).all():
                points, told = every.filter(pa.array(here)), told[here]
            count = len(points)
            columns = [
                points,
                pa.array(np.full(count, observed_us), pa.timestamp("us", "UTC")),
                pa.array(told),
                pa.array(np.zeros(count, np.uint16)),
            ]
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, SCHEMA) as writer:
                writer.write_batch(pa.record_batch(columns, schema=SCHEMA))
            yield bytes(sink.getvalue())
