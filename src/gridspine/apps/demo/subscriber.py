"""A subscriber: follows a product's stream and remembers what it got, when, and how the stream ended."""

import time
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
import numpy as np

from gridspine.kernel.time import US

Got = tuple[str, int, float]
"""Point id, observed [µs], value."""


@dataclass(slots=True)
class Subscriber:
    """What came by one stream. ``latency_ms`` is from the device's time stamp to here, for fresh readings."""

    got: list[Got] = field(default_factory=list)
    latency_ms: list[float] = field(default_factory=list)
    first_cursor: str = ""
    cursor: str = ""
    status: int = 0
    ended: str = ""
    ended_us: int = 0

    async def follow(self, http: httpx.AsyncClient, product: str) -> None:
        """Follow ``product`` until the stream ends."""
        async with http.stream("GET", f"/products/{product}/stream", timeout=None) as answer:
            self.status = answer.status_code
            if not answer.is_success:
                return
            event = cursor = ""
            async for line in answer.aiter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    event = value
                elif name == "id":
                    cursor = value
                    self.first_cursor = self.first_cursor or value
                elif name == "data" and event == "readings":
                    self._take(msgspec.json.decode(value))
                    self.cursor = cursor
                elif name == "data" and event == "end":
                    self.ended, self.ended_us = msgspec.json.decode(value)["reason"], time.time_ns() // 1000

    def percentile_ms(self, percent: float) -> float:
        """Return a percentile of the latencies [ms]; 0 when there are none."""
        return float(np.percentile(self.latency_ms, percent)) if self.latency_ms else 0.0

    def _take(self, pack: list[dict[str, Any]]) -> None:
        now_s = time.time()
        for record in pack:
            self.got.append(reading(record))
            self.latency_ms.append((now_s - record["t"]) * 1000.0)


def reading(record: dict[str, Any]) -> Got:
    """Return a SenML record as a reading to compare."""
    return record["n"], round(record["t"] * US), record["v"]
