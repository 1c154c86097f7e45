"""How a node's parts do: states and since when, what is said of each fault, and what `/ready` makes of it."""

import asyncio
import shutil
import sys
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from gridspine.apps.node.checks import ClockWatch
from gridspine.apps.node.condition import Condition, Conditions, Finding
from gridspine.infra.archive.published import Published, write_published
from gridspine.infra.log.writer import LIMITS, Priority
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.infra.runtime.meter import Histogram, Meter
from gridspine.kernel.time import US

settings_for = sys.modules["running_node"].settings_for
running = sys.modules["running_node"].running


class Clocks:
    """Two clocks that are set apart from each other."""

    def __init__(self):
        self.wall, self.monotonic = 1_700_000_000 * US, 5 * US

    def now_us(self):
        return self.wall

    def monotonic_us(self):
        return self.monotonic


def test_a_state_lasts_since_it_began():
    clock = VirtualClock()
    conditions = Conditions(clock)
    begin = clock.now_us()
    bad = Finding("disk", "warn", "2 MiB are left on the disk", "free some room")
    conditions.note([Finding("log", "ok", "fine"), bad])
    clock._now_us += 7 * US
    worse = Finding("disk", "warn", "1 MiB is left on the disk", "free some room")
    conditions.note([Finding("log", "ok", "fine"), worse])
    assert conditions.all == [Condition(worse, begin), Condition(Finding("log", "ok", "fine"), begin)]
    assert conditions.wrong == ["1 MiB is left on the disk: free some room"]
    conditions.note([Finding("log", "ok", "fine"), Finding("disk", "ok", "all right")])
    assert conditions.all[0] == Condition(Finding("disk", "ok", "all right"), begin + 7 * US)
    assert conditions.wrong == []
    conditions.note([])
    assert conditions.all == []
    assert conditions.state("disk") == "ok"


def test_the_worst_comes_first():
    conditions = Conditions(VirtualClock())
    conditions.note([Finding("a", "ok", "x"), Finding("b", "warn", "y"), Finding("c", "fail", "z", "do")])
    assert [one.finding.part for one in conditions.all] == ["c", "b", "a"]
    assert conditions.wrong == ["z: do", "y"]


def test_a_clock_that_is_set_is_noticed_and_one_that_runs_is_not():
    clocks = Clocks()
    watch = ClockWatch(clocks)
    clocks.wall += 3600 * US
    clocks.monotonic += 3600 * US - 900_000  # drift, and NTP slewing
    watch.look()
    assert watch.stepped_us == 0
    clocks.wall -= 30 * US
    watch.look()
    assert (watch.step_us, watch.stepped_us) == (-30 * US, clocks.wall)
    watch.look()
    assert watch.step_us == -30 * US


def test_a_histogram_counts_up_to_and_with_each_bound():
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 2.5):
        histogram.observe(value)
    assert histogram.cumulative() == [("1.0", 2.0), ("2.0", 4.0), ("+Inf", 5.0)]
    assert (histogram.count, histogram.sum) == (5, 7.5)
    meter = Meter()
    meter.submitted("http", 0.1)
    meter.submitted("http", 0.2)
    meter.submitted("mqtt", 0.2)
    assert {door: one.count for door, one in meter.submit.items()} == {"http": 2, "mqtt": 1}


async def parts(world):
    body = (await world.op.get("/status")).json()
    return {part["part"]: part for part in body["parts"]}, body["wrong"]


async def test_a_node_that_is_well_says_so_of_every_part(world):
    found, wrong = await parts(world)
    assert set(found) >= {"log", "registry", "disk", "writer", "gate", "ledger", "clock", "tasks", "quarantine",
                          "retention", "certificate:ca"}  # fmt: skip
    assert {part["state"] for part in found.values()} == {"ok"}, found
    assert all(part["since"].endswith("Z") and part["what"] for part in found.values())
    assert wrong == []


async def test_a_gate_that_was_held_up_for_a_moment_calls_nobody(world, monkeypatch):
    monkeypatch.setattr(world.node.gate, "confirm", lambda: None)
    world.node.gate._confirmed_us -= 1 * US
    assert world.node.gate.why_shut("") == "stale"
    found, _ = await parts(world)
    assert found["gate"]["state"] == "ok"


async def test_each_fault_names_its_part_and_what_to_do(world, monkeypatch):
    node = world.node
    failing = property(lambda _: "disk I/O error", lambda *_: None)  # a commit beside the test's must not end it
    monkeypatch.setattr(type(node.meter), "commit_error", failing, raising=False)
    node.gate._confirmed_us -= 10 * US
    monkeypatch.setattr(node.gate, "confirm", lambda: None)
    node.clock_watch._offset_us -= 60 * US
    monkeypatch.setattr(node.writer, "waiting", lambda priority: LIMITS[priority] * (priority == Priority.LIVE))
    monkeypatch.setattr(node.offences, "quarantined_principals", lambda: {"urn:x": "flood"})
    small = msgspec.structs.replace(node.settings.log, reserve_bytes=shutil.disk_usage(node.paths.root).free)
    node.settings = msgspec.structs.replace(node.settings, log=small)
    found, wrong = await parts(world)
    states = {name: part["state"] for name, part in found.items() if part["state"] != "ok"}
    assert states == {"log": "fail", "gate": "fail", "clock": "warn", "writer": "warn", "quarantine": "warn",
                      "disk": "warn"}  # fmt: skip
    assert len(wrong) == 6
    assert all(found[name]["toDo"] for name in states)
    assert "disk I/O error" in found["log"]["what"]
    assert "+60.0 s" in found["clock"]["what"]
    assert "live" in found["writer"]["what"]
    ready = await world.nobody.get("/ready")
    assert (ready.status_code, ready.json()) == (503, {"status": "log failing"})


async def test_a_registry_that_does_not_answer_is_said(world, monkeypatch):
    def fail(*_, **__):
        raise OSError("unable to open database file")

    monkeypatch.setattr(world.node.registry, "run", fail)
    found, _ = await parts(world)
    assert found["registry"]["state"] == "fail"
    assert "unable to open database file" in found["registry"]["what"]
    assert (await world.nobody.get("/ready")).json() == {"status": "registry failing"}


async def test_a_task_that_fails_is_named_with_its_error(world):
    async def broken():
        raise ValueError("no such thing")

    world.node.supervisor.start("adapter:x", broken)
    world.node.supervisor.start("mine", broken)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    found, _ = await parts(world)
    assert found["adapter:x"]["state"] == "fail"
    assert "ValueError: no such thing" in found["adapter:x"]["what"]
    assert "task mine failed" in found["tasks"]["what"]


@pytest.mark.parametrize(("days", "state"), [(10, "warn"), (-1, "fail"), (300, "ok")])
async def test_certificates_that_end_are_said(world, days, state):
    path = world.node.paths.keys / "server.crt"
    path.write_bytes(certificate(days))
    found, _ = await parts(world)
    assert found["certificate:server"]["state"] == state


async def test_an_archive_that_falls_behind_is_said(tmp_path):
    async with running(tmp_path / "data", settings_for(archive=True)) as world:
        await world.node.supervisor.stop("archive")
        thing = await world.thing()
        await world.send(f"{thing}/activeEnergyImport", [1, 2, 3])
        world.node.paths.archive.mkdir(exist_ok=True)
        write_published(world.node.paths.archive, Published({0: 0}, time_us=world.node.clock.now_us() - 600 * US))
        found, _ = await parts(world)
        assert found["archive"]["state"] == "warn"
        assert "wait for the archive" in found["archive"]["what"]


def certificate(days):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node")])
    end = datetime.now(UTC) + timedelta(days=days)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, end - timedelta(days=400), end)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
