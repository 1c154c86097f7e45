"""Many charge points, as lean as Python allows: OCPP 2.0.1 over WebSockets, frames made by hand.

``ocpp_load.py HOST:PORT --points 10000 --events 0`` connects, answers what it is asked, says so by a line of JSON, and
stays until its standard input ends. With ``--events`` each of the points sends so many TransactionEvents, each after
the answer to the one before, at a line on standard input; how long that took is the second line.
"""

import argparse
import base64
import json
import os
import selectors
import socket
import struct
import sys
import time
from datetime import UTC, datetime

_HELLO = (
    "GET /ocpp/CP{number:05} HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: ocpp2.0.1\r\n"
    "Authorization: Basic {proof}\r\n\r\n"
)
_ONE_BYTE, _TWO_BYTES = 126, 127
_AT_ONCE = 64
"""Handshakes under way at once."""


def frame(text: str) -> bytes:
    """Return a text frame of a client, masked with zeroes: the mask is the protocol's, not a secret."""
    data = text.encode()
    length = bytes((0x80 | len(data),)) if len(data) < _ONE_BYTE else b"\xfe" + struct.pack("!H", len(data))
    return b"\x81" + length + b"\0\0\0\0" + data


class Point:
    """One charge point."""

    def __init__(self, address: tuple[str, int], number: int, password: str, events: int) -> None:
        self.number, self.left, self.sent, self.answered = number, events, 0, 0
        self.met = self.asked = False
        self.buffer = bytearray()
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        proof = base64.b64encode(f"CP{number:05}:{password}".encode()).decode()
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(_HELLO.format(number=number, key=key, proof=proof).encode())

    def read(self) -> None:
        """Take what came."""
        data = self.socket.recv(65_536)
        if not data:
            raise RuntimeError(f"CP{self.number:05} was cut off: {bytes(self.buffer[:200])!r}")
        self.buffer += data
        if not self.met:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            if b" 101 " not in self.buffer[:32]:
                raise RuntimeError(f"not let in: {bytes(self.buffer[:100])!r}")
            self.met = True
            del self.buffer[: end + 4]
        while (body := self._frame()) is not None:
            if body.startswith(b"[2"):
                self.asked = True
                self.socket.sendall(frame(json.dumps([4, json.loads(body)[1], "NotSupported", "", {}])))
            elif body.startswith(b"[3"):
                self.answered += 1
                self.go()
            elif body:
                raise RuntimeError(f"refused: {body[:200]!r}")

    def _frame(self) -> bytes | None:
        if len(self.buffer) < 2:
            return None
        length, at = self.buffer[1], 2
        if length == _ONE_BYTE:
            length, at = struct.unpack_from("!H", self.buffer, 2)[0], 4
        elif length == _TWO_BYTES:
            raise RuntimeError("a frame larger than any expected")
        if len(self.buffer) < at + length:
            return None
        kind, body = self.buffer[0] & 15, bytes(self.buffer[at : at + length])
        del self.buffer[: at + length]
        if kind == 9:
            self.socket.sendall(b"\x8a" + bytes((0x80 | len(body),)) + b"\0\0\0\0" + body)
        return body if kind == 1 else b""

    def go(self) -> None:
        """Send the next event, if one is left."""
        if not self.left:
            return
        kind = "Started" if self.sent == 0 else "Ended" if self.left == 1 else "Updated"
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        said = {
            "eventType": kind, "timestamp": now, "triggerReason": "MeterValuePeriodic", "seqNo": self.sent,
            "transactionInfo": {"transactionId": f"t{self.number}", "chargingState": "Charging"},
            "evse": {"id": 1, "connectorId": 1}, "meterValue": [{"timestamp": now, "sampledValue": [
                {"value": 1000.0 + self.sent, "measurand": "Energy.Active.Import.Register"},
                {"value": 7000.0 + self.sent % 100, "measurand": "Power.Active.Import"},
            ]}],
        }  # fmt: skip
        self.socket.sendall(frame(json.dumps([2, f"{self.sent}", "TransactionEvent", said])))
        self.sent, self.left = self.sent + 1, self.left - 1


def meet(waiting: selectors.BaseSelector, points: list[Point]) -> None:
    """Serve until all points are let in and were asked what limit holds, as whoever connects is."""
    left = {point.number for point in points}
    while left:
        for key, _ in waiting.select():
            point = key.data
            point.read()
            if point.met and point.asked:
                left.discard(point.number)


def main() -> None:
    """Connect, and send."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("--points", type=int, required=True)
    parser.add_argument("--events", type=int, default=0)
    options = parser.parse_args()
    host, _, port = options.address.partition(":")
    password = os.environ["BENCH_TOKEN"]
    waiting = selectors.DefaultSelector()
    points: list[Point] = []
    began = time.perf_counter()
    for start in range(0, options.points, _AT_ONCE):
        lot = [
            Point((host, int(port)), number, password, options.events)
            for number in range(start, min(start + _AT_ONCE, options.points))
        ]
        for point in lot:
            waiting.register(point.socket, selectors.EVENT_READ, point)
        points += lot
        meet(waiting, lot)
    print(json.dumps({"connected": len(points), "s": time.perf_counter() - began}), flush=True)
    waiting.register(sys.stdin, selectors.EVENT_READ, None)
    serve(waiting, points)


def serve(waiting: selectors.BaseSelector, points: list[Point]) -> None:
    """Answer what comes; a line on standard input lets the events begin, its end ends all."""
    began, left = 0.0, 0
    while True:
        for key, _ in waiting.select():
            if key.data is None:
                if not sys.stdin.readline():
                    return
                began, left = time.perf_counter(), sum(point.left for point in points)
                for point in points:
                    point.go()
                continue
            before = key.data.answered
            key.data.read()
            left -= key.data.answered - before
            if began and not left:
                print(json.dumps({"events": sum(p.answered for p in points), "s": time.perf_counter() - began}))
                sys.stdout.flush()
                began = 0.0


if __name__ == "__main__":
    main()
