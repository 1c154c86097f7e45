"""A smart meter, as a process of its own: it shares no code with the node and speaks MQTT 3.1.1 like any device.

``python -m gridspine.apps.demo.meter --thing urn:… --port 1883 --username … --home-port 5007``

It measures a home: a load curve with base load, a fridge's compressor, morning and evening peaks and appliances that
come on by chance (``--seed``), plus whatever else hangs on the home's wires. Those devices (inverter, battery) say
their present power over loopback UDP, each second, as ``{"device": "pv", "power_w": -1500.0}``: this is the wire in
the wall, not telemetry. Sign: import positive, so a producing inverter is negative.

::

    load curve ──┐
    inverter ────┼─ net power ─→ registers (import, export) ─→ report by exception ─→ SenML JSON, QoS 1
    battery  ────┘

The password comes from the environment variable ``GRIDSPINE_METER_PASSWORD``, or else as the first line of standard
input; never from the command line. Messages count themselves (``seq``, ``run``). While the broker is away or does
not acknowledge, they wait, ``MAX_WAITING`` at most, and are sent with the times they were made at.

``--state`` names a file for what a meter keeps without power: its registers and its count.
"""

import argparse
import contextlib
import json
import math
import os
import random
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

MAX_WAITING = 10_000
MAX_DEVICES = 16
DEVICE_SILENT_S = 5.0
MAX_SILENCE_S = 15.0
PASSWORD_VARIABLE = "GRIDSPINE_METER_PASSWORD"  # noqa: S105 - its name, not its value
_POINTS = {
    # point: (unit, deadband in that unit, decimals)
    "activePower": ("W", 15.0, 1),
    "voltage": ("V", 0.5, 2),
    "frequency": ("Hz", 0.02, 3),
    "activeEnergyImport": ("Wh", 25.0, 3),
    "activeEnergyExport": ("Wh", 25.0, 3),
}
_APPLIANCES = (
    # power [W], how long [s], times a day
    (2000.0, 180.0, 6.0),
    (2400.0, 2700.0, 0.8),
    (1100.0, 5400.0, 0.5),
    (800.0, 600.0, 2.0),
)


class Load:
    """The home's own consumption [W, import positive] over the day, repeatable by its seed and the time."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a demonstration repeats itself
        self._base_w = self._random.uniform(90.0, 160.0)
        self._morning_w = self._random.uniform(250.0, 450.0)
        self._evening_w = self._random.uniform(600.0, 1100.0)
        self._fridge_at_s = self._random.uniform(0.0, 3600.0)
        self._running: list[tuple[float, float]] = []

    def power_w(self, time_s: float, step_s: float) -> float:
        """Return the power [W] at ``time_s`` [s since 1970 UTC], ``step_s`` [s] after the last call."""
        hour = time_s / 3600.0 % 24.0
        presence = 0.3 + _bump(hour, 7.5, 1.2) + 1.5 * _bump(hour, 19.0, 2.2)
        power_w = self._base_w + self._morning_w * _bump(hour, 7.5, 1.0) + self._evening_w * _bump(hour, 19.0, 2.0)
        if (time_s + self._fridge_at_s) % 3600.0 < 1200.0:
            power_w += 85.0
        self._running = [(until_s, w) for until_s, w in self._running if until_s > time_s]
        for appliance_w, lasts_s, a_day in _APPLIANCES:
            if self._random.random() < a_day / 86_400.0 * step_s * presence:
                self._running.append((time_s + lasts_s * self._random.uniform(0.7, 1.3), appliance_w))
        return power_w + sum(w for _, w in self._running) + self._random.gauss(0.0, 3.0)


def _bump(hour: float, centre: float, width: float) -> float:
    away = (hour - centre + 12.0) % 24.0 - 12.0
    return math.exp(-0.5 * (away / width) ** 2)


class Wires:
    """The other devices on the home's wires, heard over loopback UDP; one that falls silent counts no more."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", port))
        self._socket.setblocking(False)
        self._heard: dict[str, tuple[float, float]] = {}

    def power_w(self, now_s: float) -> float:
        """Return the sum of the devices' power [W, import positive] at ``now_s`` [s, monotonic]."""
        for _ in range(1000):
            try:
                self._hear(self._socket.recv(512), now_s)
            except BlockingIOError:
                break
        return sum(power_w for heard_s, power_w in self._heard.values() if now_s - heard_s < DEVICE_SILENT_S)

    def _hear(self, datagram: bytes, now_s: float) -> None:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            said = json.loads(datagram)
            device, power_w = str(said["device"])[:64], float(said["power_w"])
            if math.isfinite(power_w) and (device in self._heard or len(self._heard) < MAX_DEVICES):
                self._heard[device] = (now_s, power_w)

    def close(self) -> None:
        """Let go of the port."""
        self._socket.close()


class Registers:
    """Two registers that never fall [Wh], and the message count; kept in a file when there is one."""

    def __init__(self, seed: int, path: Path | None) -> None:
        self._path = path
        start = random.Random(seed + 1)  # noqa: S311 - a demonstration repeats itself
        self.values = {
            "activeEnergyImport": round(start.uniform(1e6, 9e6), 3),
            "activeEnergyExport": round(start.uniform(0.0, 4e6), 3),
            "seq": 0.0,
        }
        if path is not None and path.exists():
            self.values |= json.loads(path.read_text())

    def add(self, power_w: float, step_s: float) -> None:
        """Count ``power_w`` [W, import positive] over ``step_s`` [s]."""
        name = "activeEnergyImport" if power_w > 0 else "activeEnergyExport"
        self.values[name] += abs(power_w) * step_s / 3600.0

    def next_seq(self) -> int:
        """Return the next message's count, and keep registers and count."""
        self.values["seq"] += 1
        if self._path is not None:
            fresh = self._path.with_suffix(".new")
            fresh.write_text(json.dumps(self.values))
            fresh.replace(self._path)
        return int(self.values["seq"])


class Meter:
    """Measures and reports by exception: what moved beyond its deadband, and everything after ``MAX_SILENCE_S``."""

    def __init__(self, thing: str, seed: int, registers: Registers, wires: Wires | None) -> None:
        self._thing = thing
        self._load = Load(seed)
        self._registers = registers
        self._wires = wires
        self._noise = random.Random(seed + 2)  # noqa: S311 - a demonstration repeats itself
        self._frequency_hz = 50.0
        self._run = f"{time.time_ns():x}"
        self._reported: dict[str, float] = {}
        self._reported_s = -math.inf

    def measure(self, time_s: float, now_s: float, step_s: float) -> dict[str, float]:
        """Return all measurements at ``time_s`` [s since 1970 UTC]; ``now_s`` is monotonic."""
        power_w = self._load.power_w(time_s, step_s)
        if self._wires is not None:
            power_w += self._wires.power_w(now_s)
        self._registers.add(power_w, step_s)
        self._frequency_hz += 0.05 * (50.0 - self._frequency_hz) + self._noise.gauss(0.0, 0.003)
        return {
            "activePower": power_w,
            "voltage": 232.0 - 0.0004 * power_w + self._noise.gauss(0.0, 0.1),
            "frequency": self._frequency_hz,
            "activeEnergyImport": self._registers.values["activeEnergyImport"],
            "activeEnergyExport": self._registers.values["activeEnergyExport"],
        }

    def message(self, measured: dict[str, float], time_s: float, now_s: float) -> bytes | None:
        """Return the SenML pack to send, or None when nothing moved; counts and remembers it as reported."""
        everything = now_s - self._reported_s >= MAX_SILENCE_S
        chosen = {
            point: value
            for point, value in measured.items()
            if everything or abs(value - self._reported[point]) >= _POINTS[point][1]
        }
        if not chosen:
            return None
        if everything:
            self._reported_s = now_s
        self._reported |= chosen
        records: list[dict[str, Any]] = [
            {"n": point, "u": _POINTS[point][0], "v": round(value, _POINTS[point][2])}
            for point, value in chosen.items()
        ]
        records[0] |= {"bn": f"{self._thing}/", "bt": round(time_s, 3), "seq": self._registers.next_seq()}
        records[0]["run"] = self._run
        return json.dumps(records, separators=(",", ":")).encode()


def topic_of(thing: str) -> str:
    """Return the topic for the readings of ``thing``: what MQTT reserves is percent-encoded."""
    encoded = "".join(c if c.isascii() and (c.isalnum() or c in ":-._~()!*'@;,=$") else _percent(c) for c in thing)
    return f"gridspine/{encoded}/readings"


def _percent(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode())


def connect(arguments: argparse.Namespace, password: str) -> mqtt.Client:
    """Return a client that connects, comes back, and sends again what was not acknowledged."""
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2,
        client_id=arguments.thing,
        clean_session=False,
        protocol=mqtt.MQTTv311,
    )
    client.username_pw_set(arguments.username, password)
    if arguments.ca:
        client.tls_set(ca_certs=arguments.ca, certfile=arguments.certificate, keyfile=arguments.key)
    client.max_inflight_messages_set(20)
    client.max_queued_messages_set(MAX_WAITING)
    client.reconnect_delay_set(1, 30)
    client.on_connect = lambda _, __, ___, reason, ____: _say("connected" if reason == 0 else f"refused: {reason}")
    client.on_disconnect = lambda _, __, ___, reason, ____: _say(f"disconnected: {reason}")
    client.connect_async(arguments.host, arguments.port, keepalive=30)
    return client


def run(arguments: argparse.Namespace, password: str, stop: threading.Event) -> None:
    """Measure and send until ``stop``."""
    wires = Wires(arguments.home_port) if arguments.home_port else None
    registers = Registers(arguments.seed, Path(arguments.state) if arguments.state else None)
    meter = Meter(arguments.thing, arguments.seed, registers, wires)
    client = connect(arguments, password)
    client.loop_start()
    topic, dropped, last_s = topic_of(arguments.thing), 0, time.monotonic()
    while not stop.wait(arguments.interval_s):
        time_s, now_s = time.time(), time.monotonic()
        body = meter.message(meter.measure(time_s, now_s, now_s - last_s), time_s, now_s)
        last_s = now_s
        if body is not None and client.publish(topic, body, qos=1).rc == mqtt.MQTT_ERR_QUEUE_SIZE:
            dropped += 1
            _say(f"{MAX_WAITING} messages wait: {dropped} dropped so far")
    client.disconnect()
    client.loop_stop()
    if wires is not None:
        wires.close()


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description="A smart meter that publishes its readings over MQTT.")
    parser.add_argument("--thing", required=True, help="URN of the meter")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--username", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--interval-s", type=float, default=1.0, help="how often it measures [s]")
    parser.add_argument("--home-port", type=int, default=0, help="loopback UDP port of the home's other devices")
    parser.add_argument("--state", default="", help="file for registers and count")
    parser.add_argument("--ca", default=None, help="certificate authority of the broker: use TLS")
    parser.add_argument("--certificate", default=None, help="the meter's own certificate")
    parser.add_argument("--key", default=None, help="the certificate's key")
    return parser.parse_args(argv)


def main() -> None:
    """Run the meter until SIGTERM or SIGINT."""
    arguments = parse()
    password = os.environ.get(PASSWORD_VARIABLE) or sys.stdin.readline().rstrip("\n")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _, __: stop.set())
    run(arguments, password, stop)


def _say(text: str) -> None:
    print(f"meter: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
