"""The directory's start: from a snapshot, from a stale or foreign one, from none; the same Things each time."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from things_plant import model

from gridspine.infra.log.port import Topic
from gridspine.infra.log.sqlite import SqliteEventLog
from gridspine.infra.registry.sql import SqlRegistry, sqlite_url
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.errors import Conflict, GridspineError
from gridspine.things import directory as directory_module
from gridspine.things.directory import Directory, Thing
from gridspine.things.point import NOT_YOURS, PointTable

TOPICS = (Topic("points", control=True), Topic("events", control=True))


class House:
    """A registry, a log and a directory on them; `again` is a restart."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = VirtualClock()
        self.open()

    def open(self) -> None:
        self.log = SqliteEventLog(self.folder / "log", TOPICS)
        self.registry = SqlRegistry(sqlite_url(self.folder / "registry.db"), self.clock, self.log)
        self.points = PointTable()
        self.points.add_model(model())
        self.things = Directory(self.registry, self.points, self.clock)

    @property
    def snapshot(self) -> Path:
        return self.folder / "things.npz"

    def close(self) -> None:
        self.registry.close()
        self.log.close()

    async def again(self) -> None:
        self.close()
        self.open()
        await self.things.load(self.log, self.snapshot)

    async def register(self, *names: str, organisation: str = "org") -> None:
        lot = [Thing(f"urn:xx:{name}", organisation, name, "urn:x:plant", devices=("urn:dd:1",)) for name in names]
        assert not [one for one in await self.things.register_all(lot, actor="a") if isinstance(one, GridspineError)]

    def everything(self) -> list[Thing]:
        return list(self.things.list())


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.close()


def test_a_start_gives_the_same_things_with_and_without_a_snapshot(house: House, monkeypatch) -> None:
    read_one_by_one: list[int] = []
    whole = Directory._read_all
    monkeypatch.setattr(Directory, "_read_all", lambda self: (read_one_by_one.append(1), whole(self))[1])

    async def story() -> None:
        await house.things.load(house.log, house.snapshot)
        read_one_by_one.clear()
        await house.register("b", "a")
        await house.register("c", organisation="other")
        before = house.everything()
        house.things.save(house.log, house.snapshot)
        await house.again()
        assert (house.everything(), read_one_by_one) == (before, [])
        await house.register("d", "e")  # after the snapshot: the log's tail names them
        later = house.everything()
        await house.again()
        assert (house.everything(), read_one_by_one) == (later, [])
        assert [thing.id for thing in house.things.of_device("urn:dd:1")] == [f"urn:xx:{n}" for n in "bacde"]
        names = ["urn:xx:c/aPlain", "urn:xx:e/aPlain"]
        resolved = house.points.resolve(names, ["", ""], "org").point.tolist()
        assert resolved == [NOT_YOURS, house.things.get("urn:xx:e").first]
        house.snapshot.unlink()
        await house.again()
        assert (house.everything(), read_one_by_one) == (later, [1])

    asyncio.run(story())


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not much", b"\0" * 500])
def test_a_damaged_snapshot_falls_back_to_the_registry(house: House, damage: bytes) -> None:
    async def story() -> None:
        await house.things.load(house.log)
        await house.register("a", "b")
        before = house.everything()
        house.snapshot.write_bytes(damage)
        await house.again()
        assert house.everything() == before

    asyncio.run(story())


def test_the_snapshot_of_another_state_of_the_registry_is_not_believed(house: House, tmp_path: Path) -> None:
    """A backup is restored: what was registered after it is gone, whatever the snapshot says; its numbers stay."""

    async def story() -> None:
        await house.things.load(house.log)
        await house.register("kept")
        house.things.save(house.log, house.snapshot)
        house.close()
        shutil.copy(tmp_path / "registry.db", tmp_path / "backup.db")
        house.open()
        await house.things.load(house.log, house.snapshot)
        await house.register("lost", "too")
        highest = max(thing.first for thing in house.everything())
        house.things.save(house.log, house.snapshot)
        house.close()
        shutil.copy(tmp_path / "backup.db", tmp_path / "registry.db")
        house.open()
        await house.things.load(house.log, house.snapshot)
        assert [thing.id for thing in house.everything()] == ["urn:xx:kept"]
        await house.register("new", "newer")
        assert min(house.things.get(f"urn:xx:{n}").first for n in ("new", "newer")) > highest

    asyncio.run(story())


def test_refused_things_take_no_numbers_and_long_lots_have_turns(house: House, monkeypatch) -> None:
    monkeypatch.setattr(directory_module, "_TURN", 3)

    async def story() -> None:
        await house.things.load(house.log)
        await house.register(*"abcdefgh")
        with pytest.raises(Conflict):
            await house.things.register(Thing("urn:xx:a", "org", "again", "urn:x:plant"), actor="a")
        count = house.points.count
        await house.register("z")
        assert house.things.get("urn:xx:z").first == count
        assert [thing.title for thing in house.everything()] == [*"abcdefgh", "z"]

    asyncio.run(story())
