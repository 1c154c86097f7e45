"""Many followers of one data product in a process of its own: ``python followers.py HOST:PORT``.

Each line of standard input opens an event stream: ``{"product": "…", "purpose": "purpose 3"}``. When a stream ends it
says so as JSON: the reason (empty: the connection was reset), when its last byte was read, and when how many bytes were
read in the last second before that. Times are of the machine's monotonic clock, which all processes share.
"""

import json
import os
import selectors
import socket
import sys
import time
from collections import deque
from typing import Any
from urllib.parse import quote

LOOKED_BACK_S = 1.0


class Stream:
    """One event stream: what came, and when."""

    def __init__(self, address: str, product: str, purpose: str) -> None:
        host, _, port = address.rpartition(":")
        self.purpose, self.tail, self.flows, self.flowing = purpose, b"", False, False
        self.reads: deque[tuple[float, int]] = deque(maxlen=20_000)
        self.socket = socket.create_connection((host, int(port)))
        lines = [
            f"GET /products/{product}/stream?purpose={quote(purpose)} HTTP/1.1",
            f"Host: {address}",
            f"Authorization: Bearer {os.environ['BENCH_TOKEN']}",
            "Accept: application/vnd.apache.arrow.stream",
        ]
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self.socket.setblocking(False)

    def read(self) -> bool:
        """Read what is there; return whether the stream goes on."""
        try:
            got = self.socket.recv(1 << 18)
        except ConnectionResetError:
            return False
        if got:
            self.reads.append((time.monotonic(), len(got)))
            self.flows = self.flows or b"event: readings" in got
            self.tail = (self.tail + got)[-400:]
        return bool(got) and b"event: end" not in self.tail

    def ended(self) -> dict[str, Any]:
        """Return how the stream ended."""
        self.socket.close()
        now_s = time.monotonic()
        data = self.tail.partition(b"event: end")[2].partition(b"data: ")[2].partition(b"\n")[0]
        recent = [(at_s, size) for at_s, size in self.reads if at_s > now_s - LOOKED_BACK_S]
        reason = json.loads(data)["reason"] if data else ""
        return {"purpose": self.purpose, "reason": reason, "ended_s": now_s, "reads": recent}


def main(address: str) -> None:
    """Open what is asked for, read all, say what ends."""
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin, selectors.EVENT_READ)
    asked = b""
    while True:
        for found, _ in selector.select():
            if found.fileobj is sys.stdin:
                more = os.read(sys.stdin.fileno(), 1 << 16)
                if not more:
                    return
                *lines, asked = (asked + more).split(b"\n")
                for line in lines:
                    stream = Stream(address, **json.loads(line))
                    selector.register(stream.socket, selectors.EVENT_READ, stream)
                continue
            stream = found.data
            if not stream.read():
                selector.unregister(stream.socket)
                print(json.dumps(stream.ended()), flush=True)
            elif stream.flows and not stream.flowing:
                stream.flowing = True
                print(json.dumps({"purpose": stream.purpose, "flowing": True}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
