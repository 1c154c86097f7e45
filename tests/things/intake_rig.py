"""An intake on a real log and writer, under a virtual clock, that can be stopped and started again."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec
from things_plant import NOW_US, Plant

from gridspine.infra.log.port import Stored, Topic
from gridspine.infra.log.room import Room
from gridspine.infra.log.sqlite import SqliteEventLog
from gridspine.infra.log.topics import READINGS
from gridspine.infra.log.writer import LogWriter
from gridspine.infra.registry.port import Event
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.codecs.batch import decode_batch
from gridspine.kernel.readings import NamedReadings, named_readings
from gridspine.kernel.time import US
from gridspine.things.adapter import Outcome, Source
from gridspine.things.books import Committed
from gridspine.things.flap import FlapJob
from gridspine.things.held import restore_held
from gridspine.things.intake import Intake
from gridspine.things.offence import OffenceRule, Offences
from gridspine.things.release import ReleaseJob
from gridspine.things.screen import Screen
from gridspine.things.silence import Silence, SilenceJob
from gridspine.things.twin import TwinState

TOPICS = [Topic("readings"), Topic("held"), Topic("quarantine"), Topic("events", control=True)]
SOURCE = Source("device", "org", "session-1")


class Disk:
    """Free space that a test sets."""

    free = 10**12


class Rig:
    """All that takes readings in. ``clock`` starts at `NOW_US`."""

    def __init__(self, folder: Path, plant: Plant, clock: VirtualClock | None = None) -> None:
        self.folder, self.plant, self.disk = folder, plant, Disk()
        self.clock = clock or VirtualClock(NOW_US)
        self.room = Room(folder, reserve_bytes=1_000_000, free_bytes=lambda: self.disk.free)
        self.log = SqliteEventLog(folder / "log", TOPICS, room=self.room)
        self.writer = LogWriter(self.log, asyncio.get_running_loop())
        self.twins, self.screen = TwinState(), Screen(plant.points)
        self.offences = Offences(self.clock, OffenceRule(limit=20, share=0.5))
        self.intake = Intake(plant.points, self.screen, self.twins, self.writer, self.offences, self.clock)
        self.silence = Silence(plant.points, self.twins, self.clock.now_us())
        self.told: list[Committed] = []
        self.intake.books.listeners.append(self.told.append)

    def fill_disk(self, *, full: bool = True) -> None:
        """Leave no room, or much; the log looks only now and then, so make it look."""
        self.disk.free = 0 if full else 10**12
        self.room._unchecked_bytes = 1 << 40

    async def stop(self, *, save: bool = True) -> None:
        await asyncio.to_thread(self.writer.close)
        if save:
            self.twins.save(self.folder / "twins.npz", dict(self.intake.books.applied))
        self.log.close()

    async def restart(self, *, save: bool = True) -> "Rig":
        """Stop, and rebuild everything from snapshot and log."""
        await self.stop(save=save)
        again = Rig(self.folder, self.plant, self.clock)
        at = again.twins.load(self.folder / "twins.npz").get(0, 0)
        for stored in again.log.read(READINGS, 0, at, max_records=10**6):
            again.twins.apply(decode_batch(stored.body))
        again.screen.restore(again.twins)
        for stored in again.read(READINGS):
            again.screen.remember(decode_batch(stored.body))
        restore_held(again.log, again.intake.books.held, again.screen.memory, again.twins, self.plant.points)
        for event in again.events():
            again.offences.replay(event)
        return again

    async def send(self, rows: list[tuple[str, float, float, int]], source: Source = SOURCE, **more: object) -> Outcome:
        """Send (point name, time [s after `NOW_US`], value, quality) of Thing 0; check that the counts add up."""
        outcome = await self.intake.submit(self.named(rows), source, **more)
        self.check_counts(outcome)
        return outcome

    def named(self, rows: list[tuple[str, float, float, int]], unit: str = "") -> NamedReadings:
        return named_readings(
            [(f"urn:dev:t0/{n}" if "/" not in n else n, unit, NOW_US + round(t * US), v, q) for n, t, v, q in rows]
        )

    def check_counts(self, outcome: Outcome) -> None:
        for counted in (outcome, self.intake.books.totals):
            parts = (counted.accepted, counted.suppressed, counted.duplicate, counted.refused)
            assert counted.received == sum(parts)
            assert min(parts) >= 0

    async def sweep(self) -> None:
        """What the node does every second."""
        for job in (
            ReleaseJob(self.intake.books),
            SilenceJob(self.silence, self.plant.points, self.twins, self.clock),
            FlapJob(self.screen.flaps, self.plant.points, self.clock),
        ):
            self.writer.submit(job)
        while any(self.writer.waiting(priority) for priority in (0, 1, 2)):
            await asyncio.sleep(0.001)
        await self.intake.submit(named_readings([]), SOURCE)  # a group after the last one is done

    def read(self, topic: str) -> Sequence[Stored]:
        return self.log.read(topic, 0, 0, max_records=10**6, max_bytes=1 << 40)

    def kept(self, topic: str = READINGS) -> list[tuple[str, float, float, int]]:
        """Return the readings of a topic as they were sent: (point name, time [s], value, quality)."""
        rows = []
        for stored in self.read(topic):
            batch = decode_batch(stored.body)
            for at in range(len(batch)):
                _, model = self.plant.points.place(int(batch.point[at]))
                time_s = (int(batch.observed_us[at]) - NOW_US) / US
                rows.append((model.name, time_s, float(batch.value[at]), int(batch.quality[at])))
        return rows

    def events(self) -> list[Event]:
        return [msgspec.json.decode(stored.body, type=Event) for stored in self.read("events")]

    def twin(self, name: str, thing: int = 0) -> tuple[float, float, int]:
        """Return value, time [s] and quality of a point's twin."""
        known = self.twins.get(self.plant.number(name, thing))
        return known.value, (known.observed_us - NOW_US) / US, known.quality
