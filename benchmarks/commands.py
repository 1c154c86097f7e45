"""How long a command takes to its device: HTTP request → policy → log → order → log → MQTT, decoded at the device.

``uv run python benchmarks/commands.py [--short]``

Each command is accepted and durable before it is answered, and its order durable before it is sent. Once in orders to
many and once one by one, at the rate of the goal; one by one each has a request, a token (no signature: the demo
profile) and a recorded decision of its own. Each device is told something new every two seconds: what comes while its
last order has not left replaces it, and would never be told. Who asks and the devices are one process beside the node:
on two cores they, the node's event loop and its writer share what there is, and what is late is late for want of them.
"""

import argparse
import json
import os
import socket

from rig import SETTINGS, Rig, answer, child, report

from gridspine.apps.cli.connect import check

THINGS, CONNECTIONS = 2_000, 20
NAME = "urn:dev:ops:32473-battery-"
MODEL = "https://gridspine.org/models/battery"
RATE, GOAL_MS, GOAL_CPU_US = 1000, 50, 700


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def devices(rig: Rig) -> list[tuple[str, str, list[str]]]:
    """Register batteries and the devices that speak for them; return username, password and Things of each."""
    found = []
    for at in range(CONNECTIONS):
        asked = {"kind": "device", "name": f"gateway {at}", "roles": ["device"], "password": True}
        made = check(rig.operator.post("/principals", json=asked)).json()
        things = [f"{NAME}{number:05}" for number in range(at, THINGS, CONNECTIONS)]
        body = [
            {"id": thing, "title": thing, "model": MODEL, "adapter": "mqtt", "devices": [made["id"]]}
            for thing in things
        ]
        check(rig.operator.post("/things/batch", json=body))
        found.append((made["id"], made["password"], things))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--profile", default="")
    options = parser.parse_args()
    seconds, port = (3.0 if options.short else 15.0), free_port()
    settings = f'{SETTINGS}[adapters]\nallow = ["mqtt"]\n[adapters.settings.mqtt.mqtt]\nport = {port}\n'
    with Rig(settings, profile=options.profile) as rig:
        rig.start()
        token = rig.principal("dispatcher", ["operator"])
        secret = json.dumps({"token": token, "devices": devices(rig)})
        http, mqtt = rig.url.removeprefix("http://"), f"127.0.0.1:{port}"
        told = [(50, 4.0, 500), (50, seconds, RATE), (1, seconds, RATE)]
        first = 0
        for at, (batch, for_s, rate) in enumerate(told):
            words = ["--name", NAME, "--things", str(THINGS), "--connections", "32", "--first", str(first)]
            words += ["--rate", str(rate), "--batch", str(batch), "--seconds", str(for_s)]
            with child("commands_load.py", http, mqtt, *words, secret=secret) as load:
                answer(load)
                used = rig.cpu_s()
                got = answer(load)
            used = (rig.cpu_s() - used) / max(1, got["asked"])
            first += got["asked"]
            if not at:
                continue  # each point's first order is unlike those that follow, and so is a node's first second
            assert got["told"] and not got["refused"], got
            how = f"orders to {batch}" if batch > 1 else "one by one"
            said = (
                f"{got['asked'] / got['seconds']:,.0f} commands/s, {how}, {THINGS:,} devices on {CONNECTIONS} "
                f"connections, {got['told']:,} of {got['asked']:,} told before a newer order replaced them; "
                f"{os.cpu_count()} cores shared with who asks and the devices"
            )
            report(f"command to device over MQTT, {how}, p50", "", got["p50_ms"], "ms", said)
            report(f"command to device over MQTT, {how}, p99", f"≤ {GOAL_MS}", got["p99_ms"], "ms", said)
            goal = f"≤ {GOAL_CPU_US}" if batch == 1 else ""
            report(f"processor time of the node a command, {how}", goal, round(used * 1e6), "µs", said)


if __name__ == "__main__":
    main()
