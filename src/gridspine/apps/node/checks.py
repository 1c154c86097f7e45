"""The checks behind a node's conditions: one for each part, cheap enough to run every few seconds."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from shutil import disk_usage
from typing import TYPE_CHECKING

import msgspec
from cryptography import x509

from gridspine.apps.node.condition import LOOK_EVERY_S, Finding
from gridspine.infra.archive.published import read_published
from gridspine.infra.log.topics import READINGS
from gridspine.infra.log.writer import LIMITS, Priority
from gridspine.infra.runtime.clock import Clock
from gridspine.infra.runtime.tasks import TaskState
from gridspine.kernel.time import US, format_rfc3339

if TYPE_CHECKING:
    from gridspine.apps.node.node import Node

STEP_US = 1_000_000
"""A wall clock that moves by more than this [µs] against the monotonic one has been set."""
STEP_SHOWN_US = 3600 * US
EXPIRY_WARN_US = 21 * 86_400 * US
"""Certificates are renewed 30 days before their end: one that is this near to it was not."""
BUSY = 0.5
_PROBE_S = 5.0
_LATE_S = 60.0
_GATE_LOST_US = 5 * US
"""A gate that is unsure for less than this [µs] was held up: nothing is delivered meanwhile, and nobody has to come."""
_LOW_RESERVES = 4
_PARTS_OF_THEIR_OWN = {"archive", "ledger"}


class _Probe(msgspec.Struct):
    """Never written; asking for it shows that the registry answers."""


class ClockWatch:
    """Notices when the wall clock is set while the node runs."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset_us = clock.now_us() - clock.monotonic_us()
        self.step_us = 0
        """The last step [µs]: positive, the clock was put forward."""
        self.stepped_us = 0
        """When it was noticed [µs since 1970]; 0 for never."""

    def look(self) -> None:
        """Compare the clocks with how they stood before."""
        offset_us = self._clock.now_us() - self._clock.monotonic_us()
        if abs(offset_us - self._offset_us) > STEP_US:
            self.step_us, self.stepped_us = offset_us - self._offset_us, self._clock.now_us()
        self._offset_us = offset_us


async def look(node: "Node") -> list[Finding]:
    """Return what there is to say of each part of ``node`` now."""
    node.clock_watch.look()
    files = await asyncio.to_thread(lambda: list(_of_files(node)))
    return [await _registry(node), *files, *_of_memory(node)]


def certificates(keys: Path) -> dict[str, int]:
    """Return when each of the node's own certificates ends [µs since 1970]; blocks."""
    found = {}
    for name in ("ca", "server"):
        path = keys / f"{name}.crt"
        if path.exists():
            ends = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
            found[name] = int(ends.timestamp()) * US
    return found


async def _registry(node: "Node") -> Finding:
    try:
        async with asyncio.timeout(_PROBE_S):  # before Python 3.12 wait_for may swallow a cancellation
            await node.registry.run(lambda tx: tx.get(_Probe, "probe"), write=False)
    except Exception as error:
        words = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Finding("registry", "fail", f"the registry does not answer: {words}",
                       "look at the disk and at the log; a restart opens it anew")  # fmt: skip
    return Finding("registry", "ok", "answers")


def _of_files(node: "Node") -> Iterator[Finding]:
    """Parts whose state lies in files; blocks."""
    yield _disk(node)
    yield from _archive(node)
    yield _retention(node)
    for name, ends_us in certificates(node.paths.keys).items():
        yield _certificate(name, ends_us, node.clock.now_us())


def _certificate(name: str, ends_us: int, now_us: int) -> Finding:
    part, when = f"certificate:{name}", format_rfc3339(ends_us)
    if ends_us - now_us >= EXPIRY_WARN_US:
        return Finding(part, "ok", f"valid until {when}")
    to_do = "restart the node: it renews its own" if name == "server" else "replace the node's authority"
    if ends_us < now_us:
        return Finding(part, "fail", f"the certificate {name}.crt ended at {when}", to_do)
    return Finding(part, "warn", f"the certificate {name}.crt ends at {when}", to_do)


def _disk(node: "Node") -> Finding:
    free, reserve = disk_usage(node.paths.root).free, node.settings.log.reserve_bytes
    if node.room.withheld:
        return Finding("disk", "fail", node.room.withheld, "raise the budget, or keep less: see [retention]")
    if node.room.full:
        return Finding("disk", "fail", "the disk is nearly full: readings are refused",
                       "free some room on it; readings are taken again by themselves")  # fmt: skip
    if free < _LOW_RESERVES * reserve:
        return Finding("disk", "warn", f"{free >> 20} MiB are left on the disk",
                       f"free some room: below {reserve >> 20} MiB readings are refused")  # fmt: skip
    return Finding("disk", "ok", f"{free >> 20} MiB free")


def _archive(node: "Node") -> Iterator[Finding]:
    if not node.settings.archive.enabled:
        return
    task = next((task for task in node.supervisor.states() if task.name == "archive"), None)
    if task is not None and task.failures:
        yield _failing("archive", task)
        return
    published = read_published(node.paths.archive)
    behind = sum(
        following - max(first, published.offsets.get(partition, 0))
        for partition, (first, following) in enumerate(node.log.bounds(READINGS))
    )
    age_s = (node.clock.now_us() - published.time_us) / US
    if behind > 0 and published.time_us and age_s > node.settings.archive.flush_seconds + _LATE_S:
        yield Finding("archive", "warn", f"{behind} records wait for the archive, which wrote last {age_s:.0f} s ago",
                      "look for its process and at the disk's speed; readings stay in the log meanwhile")  # fmt: skip
    else:
        yield Finding("archive", "ok", f"{behind} records of the log not in it yet")


def _retention(node: "Node") -> Finding:
    retain = node.settings.log.retain_bytes
    size = sum(path.stat().st_size for path in _files(node.paths.log / READINGS))
    what = f"the log of readings has {size >> 20} MiB"
    if retain and size > retain * 1.5 + 2 * node.settings.log.segment_bytes:
        what += f", more than the {retain >> 20} MiB it is to keep"
        return Finding("retention", "warn", what, "see whether archive and snapshots go on: it is trimmed behind both")
    return Finding("retention", "ok", what)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*.db") if path.exists()]  # one may be trimmed away meanwhile


def _of_memory(node: "Node") -> Iterator[Finding]:
    if error := node.meter.commit_error:
        yield Finding("log", "fail", f"the last write to the log failed: {error}", "look at the disk; nothing that was "
                      "acknowledged is lost")  # fmt: skip
    else:
        yield Finding("log", "ok", f"{node.meter.commit.count} commits since the start")
    yield _writer(node)
    if node.gate.unconfirmed_us > _GATE_LOST_US:
        yield Finding("gate", "fail", "the gate is not sure of its grants: nothing is delivered", "look at task gate")
    else:
        yield Finding("gate", "ok", "sure of its grants")
    yield _clock(node)
    yield from _tasks(node)
    quarantined = sorted(node.offences.quarantined_principals())
    if quarantined:
        yield Finding("quarantine", "warn", f"{', '.join(quarantined)} in quarantine: what it sends is refused",
                      "look at what it sent, mend it, then release it")  # fmt: skip
    else:
        yield Finding("quarantine", "ok", "no source in it")


def _writer(node: "Node") -> Finding:
    waiting = {priority: node.writer.waiting(priority) for priority in Priority}
    full = [one.name.lower() for one in Priority if waiting[one] >= BUSY * LIMITS[one]]
    if full:
        return Finding("writer", "warn", f"more than half of the queue for {', '.join(full)} is taken",
                       "senders get 503 when it is full: slow them down, or give the node a faster disk")  # fmt: skip
    return Finding("writer", "ok", f"{sum(waiting.values())} waiting")


def _clock(node: "Node") -> Finding:
    seen = node.clock_watch
    if seen.stepped_us and node.clock.now_us() - seen.stepped_us < STEP_SHOWN_US:
        what = f"the clock was set by {seen.step_us / US:+.1f} s"
        return Finding("clock", "warn", what, "see that time is kept by NTP, without steps")
    return Finding("clock", "ok", "no step seen")


def _tasks(node: "Node") -> Iterator[Finding]:
    states = node.supervisor.states()
    for task in states:
        if task.name.startswith("adapter:"):
            yield _failing(task.name, task) if task.failures else Finding(task.name, "ok", _restarted(task))
    others = [task for task in states if not task.name.startswith("adapter:") and task.name not in _PARTS_OF_THEIR_OWN]
    failing = next((task for task in others if task.failures), None)
    if failing is not None:
        yield _failing("tasks", failing)
    else:
        yield Finding("tasks", "ok", f"{len(others)} run, {sum(task.restarts for task in states)} restarts")
    ledger = next((task for task in states if task.name == "ledger"), None)
    if ledger is not None and ledger.failures:
        yield _failing("ledger", ledger)
    else:
        yield Finding("ledger", "ok", "follows the log")


def _failing(part: str, task: TaskState) -> Finding:
    adapter = part.startswith("adapter:")
    to_do = "look at its settings and at what it connects to" if adapter else "look at the log of the node"
    return Finding(part, "fail", f"task {task.name} failed {task.failures} times: {task.error}", to_do)


def _restarted(task: TaskState) -> str:
    return "runs" if not task.restarts else f"runs; restarted {task.restarts} times"


async def watch(node: "Node") -> None:
    """Look every few seconds, so that changes are told when they happen."""
    while True:
        node.conditions.note(await look(node))
        await node.clock.sleep(LOOK_EVERY_S)
