"""The stores that ``peers.py`` sets side by side: each started on free ports of loopback, filled, and asked."""

import contextlib
import http.client
import json
import socket
import subprocess
import time
import urllib.parse
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from rig import SETTINGS, Rig, seed, thing_id

from gridspine.energy.models import load_models
from gridspine.infra.archive.published import read_published
from gridspine.kernel.codecs.arrow import encode_arrow

FIRST_DAY = 20_454  # 2026-01-01
DAY_S = 86_400
EVERY_S = 60
POINT = "activePower"
Values = np.ndarray
"""Values float64 (points, steps): one a minute of each point."""


def time_s(step: Any) -> Any:
    """Return the observed time [s since 1970] of a step."""
    return FIRST_DAY * DAY_S + step * EVERY_S


class Peer(Protocol):
    """A store of readings that runs."""

    name: str
    durability: str

    @property
    def port(self) -> int:
        """Where it is reached."""
        ...

    @property
    def pid(self) -> int:
        """Its process."""
        ...

    def post(self) -> tuple[str, dict[str, str]]:
        """Return path and headers of a batch's request."""
        ...

    def body(self, values: Values, points: np.ndarray, steps: np.ndarray) -> bytes:
        """Return a batch."""
        ...

    def settle(self) -> None:
        """Wait until what was taken in can be asked for."""
        ...

    def one_day(self, point: int, day: int) -> list[float]:
        """Return a day of one point, in the order of time."""
        ...

    def daily_sums(self, days: int) -> list[float]:
        """Return the sum over all points of each day."""
        ...


class Unavailable(RuntimeError):
    """A store does not answer yet."""


def lines(values: Values, points: np.ndarray, steps: np.ndarray) -> bytes:
    """Return a batch in InfluxDB's line protocol."""
    rows = zip(points.tolist(), time_s(steps).tolist(), values[points, steps].tolist(), strict=True)
    return "\n".join(f"power,point={thing_id(p)} value={value} {at}000000000" for p, at, value in rows).encode()


def fetched(port: int, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> bytes:
    """Return the body of an answer; a query's connection is its own with each store."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    with contextlib.closing(connection):
        connection.request("GET" if body is None else "POST", path, body, headers or {})
        answer = connection.getresponse()
        said = answer.read()
    if answer.status in (413, 503):  # too much waits to be archived, for the node or for a query's memory
        raise Unavailable(f"{path[:80]}: {said[:300]!r}")
    if answer.status >= 300:
        raise RuntimeError(f"{path[:80]}: {answer.status} {said[:300]!r}")
    return said


class _Program:
    """A peer's process on free ports of loopback, in a folder of its own."""

    def __init__(self, command: Sequence[str], port: int, ready: str) -> None:
        self.port = port
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.pid = self._process.pid
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError, RuntimeError, http.client.HTTPException):
                fetched(port, ready)
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"{command[0]} did not start")
            time.sleep(0.1)

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Influx(_Program):
    """InfluxDB 1.x."""

    name, durability = "InfluxDB 1.6", "write-ahead log forced to disk with each batch"

    def __init__(self, program: Path, folder: Path) -> None:
        port = free_port()
        (folder / "influx.toml").write_text(
            f'reporting-disabled = true\nbind-address = "127.0.0.1:{free_port()}"\n[meta]\ndir = "{folder}/meta"\n'
            f'[data]\ndir = "{folder}/data"\nwal-dir = "{folder}/wal"\nquery-log-enabled = false\n'
            'wal-fsync-delay = "0s"\n'
            f'[http]\nbind-address = "127.0.0.1:{port}"\nlog-enabled = false\n[monitor]\nstore-enabled = false\n'
        )
        super().__init__([str(program), "-config", str(folder / "influx.toml")], port, "/ping")
        fetched(port, "/query?q=CREATE+DATABASE+b", b"")

    def post(self) -> tuple[str, dict[str, str]]:
        return "/write?db=b&precision=ns", {}

    def body(self, values: Values, points: np.ndarray, steps: np.ndarray) -> bytes:
        return lines(values, points, steps)

    def settle(self) -> None:
        """What is answered can be asked for."""

    def one_day(self, point: int, day: int) -> list[float]:
        where = f"point='{thing_id(point)}' AND time >= {day * DAY_S}s AND time < {(day + 1) * DAY_S}s"
        return [row[1] for row in self._rows(f"SELECT value FROM power WHERE {where}")]

    def daily_sums(self, days: int) -> list[float]:
        where = f"time >= {FIRST_DAY * DAY_S}s AND time < {(FIRST_DAY + days) * DAY_S}s"
        return [row[1] for row in self._rows(f"SELECT sum(value) FROM power WHERE {where} GROUP BY time(1d)")]

    def _rows(self, query: str) -> list[list[Any]]:
        words = urllib.parse.urlencode({"db": "b", "epoch": "s", "q": query})
        return json.loads(fetched(self.port, f"/query?{words}"))["results"][0]["series"][0]["values"]


class Victoria(_Program):
    """VictoriaMetrics, single node."""

    name, durability = "VictoriaMetrics 1.79", "in memory, on disk within seconds"

    def __init__(self, program: Path, folder: Path) -> None:
        port = free_port()
        words = [f"-httpListenAddr=127.0.0.1:{port}", f"-storageDataPath={folder}", "-retentionPeriod=100y",
                 "-search.latencyOffset=0s", "-search.disableCache", "-loggerLevel=ERROR"]  # fmt: skip
        super().__init__([str(program), *words], port, "/health")

    def post(self) -> tuple[str, dict[str, str]]:
        return "/write", {}

    def body(self, values: Values, points: np.ndarray, steps: np.ndarray) -> bytes:
        return lines(values, points, steps)

    def settle(self) -> None:
        fetched(self.port, "/internal/force_flush")

    def one_day(self, point: int, day: int) -> list[float]:
        span = {"start": day * DAY_S, "end": (day + 1) * DAY_S - 1}
        words = urllib.parse.urlencode({"match[]": f'power_value{{point="{thing_id(point)}"}}', **span})
        return json.loads(fetched(self.port, f"/api/v1/export?{words}"))["values"]

    def daily_sums(self, days: int) -> list[float]:
        # at the last second of each day: the window reaches back over that day and no other
        span = {"start": (FIRST_DAY + 1) * DAY_S - 1, "end": (FIRST_DAY + days) * DAY_S - 1, "step": "1d"}
        words = urllib.parse.urlencode({"query": "sum(sum_over_time(power_value[1d]))", **span})
        found = json.loads(fetched(self.port, f"/api/v1/query_range?{words}"))
        return [float(value) for _, value in found["data"]["result"][0]["values"]]


class Own:
    """This node."""

    name, durability = "gridspine", "screened, authorised, log forced to disk with each batch, twins, archive"

    def __init__(self, points: int) -> None:
        self.rig = Rig(SETTINGS + "[archive]\nflush_seconds = 1.0\n")
        seed(self.rig.data, load_models()["meter"], points)
        self.rig.start()
        self.port = int(self.rig.url.rpartition(":")[2])
        self.pid = self.rig.processes()[0].pid
        self._token = self.rig.principal("gateway", ["operator"])
        self._headers = {"Authorization": f"Bearer {self._token}"}
        self._names = [f"{thing_id(number)}/{POINT}" for number in range(points)]

    def post(self) -> tuple[str, dict[str, str]]:
        media = {"Content-Type": "application/vnd.apache.arrow.stream", "Backfill": "true"}
        return "/readings", {**self._headers, **media}

    def body(self, values: Values, points: np.ndarray, steps: np.ndarray) -> bytes:
        first = int(points.min())
        names = self._names[first : int(points.max()) + 1]
        quality = np.zeros(len(points), np.uint16)
        index = (points - first).astype(np.int32)
        return bytes(encode_arrow(names, index, time_s(steps) * 1_000_000, values[points, steps], quality))

    def settle(self) -> None:
        wanted = self.rig.status()["stored"]
        while self._archived() < wanted:
            time.sleep(0.5)
        deadline = time.monotonic() + 60
        while read_published(self.rig.data / "archive").version < 1 and time.monotonic() < deadline:
            time.sleep(0.2)
        time.sleep(3.0)  # the last commit, and the next child

    def one_day(self, point: int, day: int) -> list[float]:
        start, end = (datetime.fromtimestamp(at * DAY_S, UTC).isoformat() for at in (day, day + 1))
        span = f"observed >= TIMESTAMPTZ '{start}' AND observed < TIMESTAMPTZ '{end}'"
        where = f"point = '{self._names[point]}' AND {span}"
        return [row[1] for row in self._rows(f"SELECT observed, value FROM readings WHERE {where} ORDER BY observed")]

    def daily_sums(self, days: int) -> list[float]:
        return [row[0] for row in self._rows("SELECT sum(value_sum) FROM daily GROUP BY day ORDER BY day")]

    def stop(self) -> None:
        """End it."""
        self.rig.close()

    def _archived(self) -> int:
        """Return how many readings can be asked for; −1 while too many still wait for that."""
        try:
            return sum(int(row[0]) for row in self._rows("SELECT count(*) FROM readings"))
        except Unavailable:
            return -1

    def _rows(self, sql: str) -> list[list[Any]]:
        headers = self._headers | {"Content-Type": "application/json"}
        return json.loads(fetched(self.port, "/query", json.dumps({"sql": sql}).encode(), headers))["rows"]


def free_port() -> int:
    """Return a port nobody uses."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
