"""OCPP: TransactionEvents a second, each checked by its schema and durable before its answer; what connections weigh.

``uv run python benchmarks/ocpp.py [--short]``. Node and charge points are processes of their own on this machine, which
share its cores; the node is started as anybody starts it, with a Thing for each charge point. An event carries two
readings and changes its transaction; it counts when it is answered: log and store then have it. After the run the
node's own counters must say the same.
"""

import argparse
import contextlib
import socket
import time

from rig import ORGANISATION, SETTINGS, Rig, answer, child, report, seed

from gridspine.apps.cli.connect import check
from gridspine.energy.models import load_models
from gridspine.things.directory import Thing
from gridspine.things.model import ThingModel

OCPP = """[adapters]
allow = ["ocpp"]
[adapters.settings.ocpp]
max_per_address = 100000
max_handshakes_per_address = 1000
max_connections = 20000
[adapters.settings.ocpp.ocpp]
port = {port}
"""
CHARGER = "https://gridspine.org/models/ev_charger"
MIB = 1 << 20


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def listens(port: int) -> None:
    """Return when the adapter listens: on a busy machine, some time after the node itself does."""
    for _ in range(600):
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.1)
    raise RuntimeError("the adapter does not listen")


def prepare(rig: Rig, points: int, port: int) -> str:
    """Make the device all charge points are, and their Things; return its password, once they can connect."""
    rig.start()
    asked = {"kind": "device", "name": "CPs", "roles": ["device"], "password": True}
    device = check(rig.operator.post("/principals", json=asked)).json()
    rig.stop()

    def make(number: int, model: ThingModel) -> Thing:
        connection = {"station": f"CP{number:05}", "device": device["id"]}
        return Thing(
            f"urn:dev:ops:32473-cp-{number:06}", ORGANISATION, f"Charger {number}", model.id, adapter="ocpp",
            connection=connection, devices=(device["id"],),
        )  # fmt: skip

    seed(rig.data, next(model for model in load_models().values() if model.id == CHARGER), points, make)
    rig.start()
    listens(port)
    return str(device["password"])


def throughput(points: int, events: int, profile: str = "") -> None:
    """Measure events a second."""
    port = free_port()
    with Rig(SETTINGS + OCPP.format(port=port), profile=profile) as rig:
        password = prepare(rig, points, port)
        arguments = (f"127.0.0.1:{port}", "--points", str(points), "--events", str(events))
        with child("ocpp_load.py", *arguments, secret=password) as load:
            answer(load)
            before_s = rig.cpu_s()
            said = answer(load, ask=True)
            cpu_s = rig.cpu_s() - before_s
    assert said["events"] == points * events, said
    words = (
        f"{points} charge points, one event open at each, 2 readings an event; "
        f"{1e6 * cpu_s / said['events']:.0f} µs of the node's processor time an event"
    )
    report("OCPP 2.0.1, TransactionEvents", "≥2,000", round(said["events"] / said["s"]), "events/s", words)


def weight(points: int) -> None:
    """Measure what connections weigh."""
    port = free_port()
    with Rig(SETTINGS + OCPP.format(port=port)) as rig:
        password = prepare(rig, points, port)
        empty = rig.pss_bytes()
        with child("ocpp_load.py", f"127.0.0.1:{port}", "--points", str(points), secret=password) as load:
            said = answer(load)
            full = rig.pss_bytes()
    words = f"{empty / MIB:.0f} MiB before; {(full - empty) / points / 1024:.1f} KiB a connection"
    report(f"OCPP, memory with {points:,} connected", "≤1,024 for 10,000", round(full / MIB), "MiB PSS", words)
    how = f"{points:,}, 64 at once: password, WebSocket, and the limit asked for"
    report("OCPP, connections", "", round(said["connected"] / said["s"]), "a second", how)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true", help="a look, not a measurement")
    parser.add_argument("--profile", default="", help="a file for a sampled profile of the node")
    parser.add_argument("--only", choices=("throughput", "weight"), default="")
    options = parser.parse_args()
    if options.only != "weight":
        throughput(100 if options.short else 200, 20 if options.short else 200, options.profile)
    if options.only != "throughput":
        weight(500 if options.short else 10_000)


if __name__ == "__main__":
    main()
