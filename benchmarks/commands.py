"""How long a command takes to its device: HTTP request → policy → log → order → log → MQTT, decoded at the device.

``uv run python benchmarks/commands.py [--short]``

Each command is accepted and durable before it is answered, and its order durable before it is sent. Once in orders to
many, at the rate of the goal; once one by one, where each has a request, a signature of nobody (the demo profile) and a
recorded decision of its own.
"""

import argparse
import json
import socket

from rig import SETTINGS, Rig, answer, child, report

from gridspine.apps.cli.connect import check

THINGS, CONNECTIONS = 200, 20
NAME = "urn:dev:ops:32473-battery-"
MODEL = "https://gridspine.org/models/battery"
GOAL_MS = 50


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
        for rate, batch, goal in ((1000, 50, f"≤ {GOAL_MS}"), (300, 1, "")):
            words = ["--name", NAME, "--rate", str(rate), "--batch", str(batch), "--seconds", str(seconds)]
            used = rig.cpu_s()
            with child("commands_load.py", http, mqtt, *words, secret=secret) as load:
                got = answer(load)
            used = (rig.cpu_s() - used) / max(1, got["asked"])
            assert got["asked"] == got["told"] and not got["refused"], got
            how = f"orders to {batch}" if batch > 1 else "one by one"
            said = (
                f"{got['asked'] / got['seconds']:,.0f} commands/s, {how}, {THINGS} devices on {CONNECTIONS} "
                f"connections; processor time of the node a command {used * 1e6:.0f} µs"
            )
            report(f"command to device over MQTT, {how}, p50", "", got["p50_ms"], "ms", said)
            report(f"command to device over MQTT, {how}, p99", goal, got["p99_ms"], "ms", said)


if __name__ == "__main__":
    main()
