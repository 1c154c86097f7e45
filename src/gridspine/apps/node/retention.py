"""What is kept and for how long: the log trimmed behind everyone who needs it, and the disk's budget.

::

    topic        may go once …                                    and then goes
    readings     in the archive, and in the twins' snapshot       over log.retain_bytes, or older than readings_days
    commands     in two checkpoints, and receipted                older than control_days
    alarms       in two checkpoints                               older than control_days
    events       in two checkpoints                               older than control_days
    audit        always                                           older than audit_days, or over 2,000,000
    quarantine   always                                           older than quarantine_days, or over 100,000
    held         always                                           over 10,000
    points       never: they say what numbers mean
    ledger       never: it is the evidence, and what its hashes are made from
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import structlog

from gridspine.apps.node.authority import AUDIT
from gridspine.apps.node.paths import Paths
from gridspine.infra.archive.published import read_published
from gridspine.infra.log.age import first_since
from gridspine.infra.log.checkpoint import Checkpoints
from gridspine.infra.log.port import EventLog
from gridspine.infra.log.room import Room
from gridspine.infra.log.topics import READINGS
from gridspine.infra.runtime.clock import Clock
from gridspine.infra.runtime.settings import Settings
from gridspine.kernel.time import US
from gridspine.things.command import COMMANDS
from gridspine.things.held import HELD_TOPIC
from gridspine.things.quarantine import QUARANTINE

EVERY_S = 30.0
KEPT_RECORDS = {QUARANTINE: 100_000, HELD_TOPIC: 10_000, AUDIT: 2_000_000}
"""Records kept at most, whatever their age: whoever may ask, or send, at all can cause them."""
_DAY_US = 24 * 3600 * US
_FULL_SHARE, _TAKEN_AGAIN_SHARE = 1.0, 0.95
log = structlog.get_logger(__name__)


class Retention:
    """Trims a node's log, and sees to its budget; ``root`` is the data directory."""

    def __init__(
        self,
        settings: Settings,
        root: Path,
        eventlog: EventLog,
        room: Room,
        clock: Clock,
        checkpoints: Mapping[str, Checkpoints],
        snapshot_offsets: Mapping[int, int],
    ) -> None:
        self._settings = settings
        self._root = root
        self._log = eventlog
        self._room = room
        self._clock = clock
        self._checkpoints = checkpoints
        self._snapshot_offsets = snapshot_offsets
        self.used_bytes = 0
        """What the data directory took when it was last measured."""

    async def work(self) -> None:
        """Look from time to time, until cancelled."""
        while True:
            await asyncio.to_thread(self.look)
            await self._clock.sleep(EVERY_S)

    def look(self) -> None:
        """Let go of what may go, then weigh the rest against the budget; blocks."""
        kept = self._settings.retention
        for topic in self._checkpoints:
            self._trim_older(topic, kept.control_days, self._floor(topic))
        for topic, days in ((AUDIT, kept.audit_days), (QUARANTINE, kept.quarantine_days), (HELD_TOPIC, 0.0)):
            following = self._log.bounds(topic)[0][1]
            self._trim(topic, 0, following - KEPT_RECORDS[topic])
            self._trim_older(topic, days, following)
        self._trim_readings()
        self._weigh()

    def _floor(self, topic: str) -> int:
        """How far a topic with checkpoints may go: never past what a start, or a follower, still reads."""
        floor = self._checkpoints[topic].floor
        return min(floor, self._log.committed("receipts", topic).get(0, 0)) if topic == COMMANDS else floor

    def _trim(self, topic: str, partition: int, before: int) -> None:
        if before > self._log.bounds(topic)[partition][0]:
            self._log.trim(topic, partition, before)

    def _trim_older(self, topic: str, days: float, limit: int) -> None:
        if days:
            since_us = self._clock.now_us() - round(days * _DAY_US)
            self._trim(topic, 0, min(limit, first_since(self._log, topic, 0, since_us)))

    def _trim_readings(self, *, all_archived: bool = False) -> None:
        """Trim readings to what the settings say, or ``all_archived``: all that the archive has."""
        archived = read_published(Paths(self._root).archive).offsets
        days, retain = self._settings.retention.readings_days, self._settings.log.retain_bytes
        size = _size(Paths(self._root).log / READINGS)
        for partition, (first, following) in enumerate(self._log.bounds(READINGS)):
            limit = min(archived.get(partition, 0), self._snapshot_offsets.get(partition, 0))
            if all_archived:
                self._trim(READINGS, partition, limit)
                continue
            if days:
                since_us = self._clock.now_us() - round(days * _DAY_US)
                self._trim(READINGS, partition, min(limit, first_since(self._log, READINGS, partition, since_us)))
            if retain and size > retain:
                # Records are of like size: as many go as the log is over its measure.
                over = int((following - first) * (1 - retain / size))
                self._trim(READINGS, partition, min(first + over, limit))

    def _weigh(self) -> None:
        """Over the budget, all readings that the archive has leave the log; if that is not enough, none are taken."""
        budget = self._settings.retention.disk_budget_bytes
        self.used_bytes = _size(self._root)
        if not budget:
            return
        if self.used_bytes > budget:
            self._trim_readings(all_archived=True)
            self.used_bytes = _size(self._root)
        if self.used_bytes > _FULL_SHARE * budget and not self._room.withheld:
            self._room.withheld = (
                f"the data takes {self.used_bytes} bytes, over its budget of {budget} (retention.disk_budget_bytes): "
                "readings are refused until there is room; raise it, or keep less"
            )
            log.error("over the disk's budget: readings are refused", used_bytes=self.used_bytes, budget_bytes=budget)
        elif self.used_bytes <= _TAKEN_AGAIN_SHARE * budget and self._room.withheld:
            self._room.withheld = ""
            log.info("within the disk's budget again", used_bytes=self.used_bytes, budget_bytes=budget)


def _size(folder: Path) -> int:
    """Return the bytes of the files under ``folder``; those that go meanwhile count nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total
