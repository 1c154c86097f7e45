"""The two ends of an MQTT benchmark, as lean as Python allows: many devices that publish, and a bare subscriber.

``mqtt_load.py publish HOST:PORT --devices 20 --messages 200000 --window 20`` makes every packet beforehand, says so by
a line of JSON, starts at a line on its standard input, and says what was sent and acknowledged. ``mqtt_load.py listen``
subscribes, acknowledges everything and says how many came: what is between it and the devices is then the broker alone.

All packets of a run have one length, so either end counts bytes instead of parsing.
"""

import argparse
import json
import selectors
import socket
import struct
import sys
import time
from typing import Any

import numpy as np

PASSWORD = "benchmark"
QOS_1 = 0x32
_BUFFER = 1 << 20
_HEADER_BYTES = 3
"""Before the topic: messages here take two bytes for their length."""


def thing(number: int) -> str:
    """Return the URN of a device; all are of one length."""
    return f"urn:dev:ops:32473-meter-{number:05}"


def packet(first: int, body: bytes) -> bytes:
    """Return an MQTT packet."""
    length, header = len(body), bytearray([first])
    while True:
        length, low = divmod(length, 128)
        header.append(low | (0x80 if length else 0))
        if not length:
            return bytes(header) + body


def text(value: str) -> bytes:
    """Return a text as MQTT writes it."""
    return struct.pack("!H", len(value.encode())) + value.encode()


def reading(number: int, n: int, start_us: int) -> bytes:
    """Return message ``n`` of device ``number``: three readings a millisecond after the ones before."""
    body = (
        f'[{{"bn":"{thing(number)}/","bt":{(start_us + n * 1000) / 1e6:.3f},"seq":{n + 1:8},'
        f'"n":"activePower","u":"W","v":{1000 + n % 1000}.5}},'
        f'{{"n":"frequency","u":"Hz","v":50.0{n % 10}}},{{"n":"voltage","u":"V","v":23{n % 10}.5}}]'
    )
    topic = text(f"gridspine/{thing(number)}/readings")
    return packet(QOS_1, topic + struct.pack("!H", n % 65_535 + 1) + body.encode())


def connected(address: tuple[str, int], client_id: str, username: str) -> socket.socket:
    """Return a socket on which MQTT 3.1.1 was agreed, with a session that is kept."""
    link = socket.create_connection(address)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link.sendall(packet(0x10, text("MQTT") + b"\x04\xc0\x00\x00" + text(client_id) + text(username) + text(PASSWORD)))
    answer = link.recv(4, socket.MSG_WAITALL)
    if answer[3:] != b"\x00":
        raise RuntimeError(f"not let in: {answer!r}")
    return link


class Device:
    """One connection: packets ready to go, at most ``window`` of them unacknowledged."""

    def __init__(self, address: tuple[str, int], number: int, messages: int, window: int) -> None:
        start_us = time.time_ns() // 1000 - messages * 1000
        packets = [reading(number, n, start_us) for n in range(messages)]
        self.size = len(packets[0])
        assert all(len(one) == self.size for one in packets)
        self.stream = memoryview(b"".join(packets))
        self.messages, self.window = messages, window
        self.acknowledged = self.half = self.sent_bytes = 0
        self.link = connected(address, f"device-{number}", f"m{number}")
        self.link.setblocking(False)

    def send(self) -> None:
        """Send as much as the window allows."""
        end = min(self.acknowledged + self.window, self.messages) * self.size
        if end > self.sent_bytes:
            try:
                self.sent_bytes += self.link.send(self.stream[self.sent_bytes : end])
            except BlockingIOError:
                return

    def hear(self) -> bool:
        """Take acknowledgements; True when all came."""
        data = self.link.recv(65_536)
        if not data:
            raise ConnectionError(f"closed after {self.acknowledged} acknowledgements")
        whole, self.half = divmod(self.half + len(data), 4)
        self.acknowledged += whole
        return self.acknowledged >= self.messages


def publish(address: tuple[str, int], devices: int, messages: int, window: int) -> dict[str, Any]:
    """Publish ``messages`` over all devices, once told to start."""
    clients = [Device(address, n, messages // devices, window) for n in range(devices)]
    say({"ready": True, "message_bytes": clients[0].size})
    sys.stdin.readline()
    started, used = time.time(), time.process_time()
    waiting = selectors.EpollSelector()
    for client in clients:
        waiting.register(client.link, selectors.EVENT_READ, client)
        client.send()
    while waiting.get_map():
        for key, _ in waiting.select():
            client = key.data
            if client.hear():
                waiting.unregister(client.link)
            client.send()
    ended, used = time.time(), time.process_time() - used
    for client in clients:
        client.link.setblocking(True)
        client.link.sendall(b"\xe0\x00")
        client.link.close()
    sent = sum(client.sent_bytes // client.size for client in clients)
    acknowledged = sum(client.acknowledged for client in clients)
    return {"sent": sent, "acknowledged": acknowledged, "started": started, "ended": ended, "cpu_s": used}


def listen(address: tuple[str, int], messages: int, size: int) -> dict[str, Any]:
    """Take ``messages`` of ``size`` [bytes] as the node would, and acknowledge them at once."""
    link = connected(address, "gridspine-node", "gridspine-node")
    link.sendall(packet(0x82, b"\x00\x01" + text("gridspine/+/readings") + b"\x01"))
    link.recv(5, socket.MSG_WAITALL)
    say({"ready": True})
    buffer, kept, got, started, used = bytearray(_BUFFER), 0, 0, 0.0, time.process_time()
    place = _HEADER_BYTES + len(text(f"gridspine/{thing(0)}/readings"))
    while got < messages:
        count = link.recv_into(memoryview(buffer)[kept:])
        if not count:
            raise ConnectionError(f"closed after {got} messages")
        started = started or time.time()
        kept += count
        whole = kept // size
        if whole:
            rows = np.frombuffer(buffer, np.uint8, whole * size).reshape(whole, size)
            answers = np.empty((whole, 4), np.uint8)
            answers[:, :2] = (0x40, 0x02)
            answers[:, 2:] = rows[:, place : place + 2]
            link.sendall(answers.tobytes())
            del rows
            got += whole
            buffer[: kept - whole * size] = buffer[whole * size : kept]
            kept -= whole * size
    result = {"received": got, "started": started, "ended": time.time(), "cpu_s": time.process_time() - used}
    link.sendall(b"\xe0\x00")
    link.close()
    return result


def say(words: dict[str, Any]) -> None:
    """Print a line of JSON."""
    print(json.dumps(words), flush=True)


def main() -> None:
    """Be one end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["publish", "listen"])
    parser.add_argument("address")
    parser.add_argument("--devices", type=int, default=20)
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--window", type=int, default=20)
    parser.add_argument("--size", type=int, default=0)
    options = parser.parse_args()
    host, _, port = options.address.rpartition(":")
    address = (host, int(port))
    if options.role == "publish":
        say(publish(address, options.devices, options.messages, options.window))
    else:
        say(listen(address, options.messages, options.size or len(reading(0, 0, time.time_ns() // 1000))))


if __name__ == "__main__":
    main()
