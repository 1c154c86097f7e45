"""Both ends of a command, in one process on one clock: who asks by HTTP, and the devices that are told by MQTT.

``commands_load.py HTTP_ADDRESS MQTT_ADDRESS --things N --connections N --rate N/S --batch N --seconds S``; the bearer
token and the devices' passwords come by ``BENCH_TOKEN`` as JSON. Once the devices listen it says so in a line of JSON;
at the end another one says how long each order took from just before its request was sent until it was decoded at its
device.
"""

import argparse
import asyncio
import json
import os
import time
from typing import Any

import numpy as np
from load import Http, connect, request_head
from mqtt_load import packet, text

POINT = "activePowerSetpoint"
JSON = "application/json"


class Devices(asyncio.Protocol):
    """One connection that speaks for several Things: takes their orders, and acknowledges each at once."""

    def __init__(self, username: str, password: str, things: list[str], told: dict[float, float]) -> None:
        self._hello = (username, password, things)
        self._told = told
        self._buffer = bytearray()
        self.ready = asyncio.get_running_loop().create_future()
        self._left = len(things)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        username, password, _ = self._hello
        head = text("MQTT") + b"\x04\xc2\x00\x00" + text(username) + text(username) + text(password)
        self._transport.write(packet(0x10, head))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (found := _whole(self._buffer)) is not None:
            first, body = found
            self._take(first, body)

    def _take(self, first: int, body: bytes) -> None:
        if first == 0x20:
            if body[1]:
                raise RuntimeError(f"not let in: {body!r}")
            for number, thing in enumerate(self._hello[2]):
                topic = text(f"gridspine/{thing}/commands") + b"\x01"
                self._transport.write(packet(0x82, (number + 1).to_bytes(2, "big") + topic))
        elif first == 0x90:
            self._left -= 1
            if not self._left:
                self.ready.set_result(None)
        elif first >> 4 == 3:
            size = int.from_bytes(body[:2], "big") + 2
            order = json.loads(body[size + 2 :])
            self._told.setdefault(order["value"], time.perf_counter())
            self._transport.write(packet(0x40, body[size : size + 2]))


def _whole(buffer: bytearray) -> tuple[int, bytes] | None:
    """Take one packet off the buffer."""
    length = shift = 0
    for at in range(1, 5):
        if at >= len(buffer):
            return None
        length |= (buffer[at] & 127) << shift
        shift += 7
        if not buffer[at] & 128:
            break
    if len(buffer) < at + 1 + length:
        return None
    found = buffer[0], bytes(buffer[at + 1 : at + 1 + length])
    del buffer[: at + 1 + length]
    return found


async def run(options: argparse.Namespace, secret: dict[str, Any]) -> dict[str, Any]:
    """Ask at the rate, and wait for what is told."""
    asked: dict[float, float] = {}
    told: dict[float, float] = {}
    await _devices(options, secret["devices"], told)
    links = [await connect(options.http) for _ in range(options.connections)]
    free: asyncio.Queue[Http] = asyncio.Queue()
    for link in links:
        free.put_nowait(link)
    refused, number, tasks = [0], options.first, []
    print(json.dumps({"ready": len(links)}), flush=True)
    began = time.perf_counter()
    while time.perf_counter() - began < options.seconds:
        due = options.first + (time.perf_counter() - began) * options.rate
        while number + options.batch <= due:
            values = [(number + at, round(1 + (number + at) * 0.001, 3)) for at in range(options.batch)]
            number += options.batch
            tasks.append(asyncio.ensure_future(_ask(options, secret["token"], free, values, asked, refused)))
        await asyncio.sleep(0.001)
    await asyncio.gather(*tasks)
    took_s = time.perf_counter() - began
    for _ in range(500):
        if len(told) >= len(asked):
            break
        await asyncio.sleep(0.01)
    took = np.array([told[value] - at for value, at in asked.items() if value in told]) * 1000.0
    return {
        "asked": len(asked), "told": len(took), "refused": refused[0], "seconds": took_s,
        "p50_ms": round(float(np.percentile(took, 50)), 1), "p99_ms": round(float(np.percentile(took, 99)), 1),
    }  # fmt: skip


async def _devices(options: argparse.Namespace, devices: list[Any], told: dict[float, float]) -> None:
    host, _, port = options.mqtt.rpartition(":")
    loop = asyncio.get_running_loop()
    for username, password, things in devices:
        _, link = await loop.create_connection(
            lambda u=username, p=password, t=things: Devices(u, p, t, told), host, int(port)
        )
        await link.ready


async def _ask(
    options: argparse.Namespace, token: str, free: "asyncio.Queue[Http]", values: list[tuple[int, float]],
    asked: dict[float, float], refused: list[int],
) -> None:  # fmt: skip
    orders = [
        {"thing": f"{options.name}{number % options.things:05}", "point": POINT, "value": value, "durationS": 600}
        for number, value in values
    ]
    body = json.dumps(orders[0] if options.batch == 1 else orders).encode()
    target = "/commands" if options.batch == 1 else "/commands/batch"
    at = time.perf_counter()
    for _, value in values:
        asked[value] = at  # waiting for a connection counts
    link = await free.get()
    status, said = await link.send(request_head("POST", target, options.http, token, len(body), JSON), body)
    free.put_nowait(link)
    if status not in (200, 201):
        raise RuntimeError(f"{status}: {said[:300]!r}")
    refused[0] += said.count(b'"state":"refused"')


def main() -> None:
    """Run, and say what was measured."""
    parser = argparse.ArgumentParser()
    parser.add_argument("http")
    parser.add_argument("mqtt")
    parser.add_argument("--name", default="")
    parser.add_argument("--things", type=int, default=200)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--rate", type=float, default=1000.0)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first command, which its value tells")
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    print(json.dumps(asyncio.run(run(options, json.loads(os.environ["BENCH_TOKEN"])))), flush=True)


if __name__ == "__main__":
    main()
