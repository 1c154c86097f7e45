"""A granted subscriber, a process of its own: ``python listen.py ws://HOST:PORT PRODUCT [--probe THING]``.

It follows the product by WebSocket in Arrow, and says as JSON what it got when it is told to (a line on standard
input). With ``--probe`` it also says how old the readings of that Thing were when they came: from the device's time
stamp to here, on one clock, with the decoding.
"""

import argparse
import io
import json
import os
import sys
import threading
import time

import numpy as np
import pyarrow as pa
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

ARROW = "application/vnd.apache.arrow.stream"


class Got:
    """What came."""

    def __init__(self, probe: str) -> None:
        self.readings = self.frames = 0
        self.age_ms: list[float] = []
        self.ended = ""
        self._probe = probe

    def take(self, frame: bytes) -> None:
        """Count a frame's readings; note the age of the probe's."""
        with pa.ipc.open_stream(io.BytesIO(frame)) as stream:
            table = stream.read_all()
        self.frames += 1
        self.readings += len(table)
        if not self._probe:
            return
        now_us = time.time_ns() // 1000
        point = table.column("point").combine_chunks()
        names = point.dictionary
        mine = np.flatnonzero([name.startswith(self._probe) for name in names.to_pylist()])
        if len(mine):
            chosen = np.isin(point.indices.to_numpy(), mine)
            observed_us = table.column("observed").cast(pa.int64()).to_numpy()[chosen]
            self.age_ms += ((now_us - observed_us) / 1000.0).tolist()

    def said(self) -> dict[str, object]:
        """Return everything so far, and begin anew with the ages."""
        ages, self.age_ms = self.age_ms, []
        p50, p99 = (round(float(np.percentile(ages, p)), 2) for p in (50, 99)) if ages else (None, None)
        return {"readings": self.readings, "frames": self.frames, "probes": len(ages), "p50_ms": p50, "p99_ms": p99,
                "ended": self.ended}  # fmt: skip


def follow(url: str, got: Got) -> None:
    """Follow the product until the node ends it."""
    headers = {"Authorization": f"Bearer {os.environ['BENCH_TOKEN']}"}
    with connect(url, additional_headers=headers, max_size=None, compression=None) as socket:
        print(json.dumps({"listening": True}), flush=True)
        try:
            while True:
                frame = socket.recv()
                if isinstance(frame, bytes):
                    got.take(frame)
                else:
                    got.ended = frame
        except ConnectionClosed as closed:
            got.ended = got.ended or str(closed)


def main() -> None:
    """Follow, and answer each line of standard input."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("product")
    parser.add_argument("--probe", default="")
    given = parser.parse_args()
    got = Got(given.probe)
    url = f"{given.address}/products/{given.product}/socket?accept={ARROW}"
    threading.Thread(target=follow, args=(url, got), daemon=True).start()
    for _ in sys.stdin:
        print(json.dumps(got.said()), flush=True)


if __name__ == "__main__":
    main()
