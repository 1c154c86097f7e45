"""The directory's start: from a snapshot, from a stale or foreign one, from none; the same Things each time."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from things_plant import model

from gridspine.infra.log.port import Topic
from gridspine.infra.log.sqlite import SqliteEventLog
from gridspine.infra.registry.sql import SqlRegistry, sqlite_url
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.errors import Conflict, DiskFull, GridspineError, Invalid, NotFound
from gridspine.things import directory as directory_module
from gridspine.things import directory_file
from gridspine.things.directory import Directory, Thing
from gridspine.things.point import NOT_YOURS, PointTable
from gridspine.things.thing import MAX_FORMER

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
    whole = directory_file._read_all
    monkeypatch.setattr(directory_file, "_read_all", lambda *given: (read_one_by_one.append(1), whole(*given))[1])

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


def other_model() -> dict[str, Any]:
    properties = {"zOther": {"gs:readingType": {"unit": "V"}}, "aPlain": {"gs:readingType": {"unit": "W"}}}
    return {"@type": "tm:ThingModel", "id": "urn:x:other", "title": "Other", "properties": properties}


@pytest.mark.parametrize("how", ["snapshot before", "snapshot between", "snapshot after", "none"])
def test_changes_survive_a_restart(house: House, how: str) -> None:
    """Numbers stay with every change but another model or organisation; the log tells of each, a snapshot or not."""

    async def story() -> None:
        await house.things.load(house.log, house.snapshot)
        await house.register("a", "b", "c", "d")
        if how == "snapshot before":
            house.things.save(house.log, house.snapshot)
        kept = await house.things.change("urn:xx:a", actor="p", title="new", location=(48.2, 16.37), expected=1)
        assert (kept.version, kept.title, kept.first) == (2, "new", 0)
        await house.things.models.register(other_model(), organisation="org", actor="p")
        if how == "snapshot between":
            house.things.save(house.log, house.snapshot)
        before = house.things.get("urn:xx:b")
        moved = await house.things.change("urn:xx:b", actor="p", model="urn:x:other")
        assert (moved.points, moved.version) == (("aPlain", "zOther"), 2)
        assert moved.first == 4 * len(before.points)
        assert [(one.first, one.model, one.organisation) for one in moved.former] == [
            (before.first, "urn:x:plant", "org")
        ]
        given = await house.things.change("urn:xx:c", actor="p", organisation="other")
        assert given.first == moved.first + 2
        await house.things.retire("urn:xx:d", actor="p", reason="sold")
        if how == "snapshot after":
            house.things.save(house.log, house.snapshot)
        every, d = house.everything(), house.things.get("urn:xx:d")
        assert [thing.id for thing in every] == ["urn:xx:a", "urn:xx:b", "urn:xx:c"]
        await house.again()
        assert (house.everything(), house.things.get("urn:xx:d")) == (every, d)
        assert (house.things.count("org"), house.things.count("other")) == (2, 1)
        names = ["urn:xx:b/zOther", "urn:xx:b/bDeadband", "urn:xx:c/aPlain", "urn:xx:d/aPlain"]
        assert house.points.resolve(names, [""] * 4, "org").point.tolist() == [moved.first + 1, -1, -2, -2]
        assert house.points.place(before.first + 1)[0] == "urn:xx:b"
        with pytest.raises(NotFound):
            await house.things.change("urn:xx:d", actor="p", title="gone")
        await house.register("e")
        assert house.things.get("urn:xx:e").first == given.first + len(given.points)

    asyncio.run(story())


def test_what_cannot_be_changed_changes_nothing(house: House) -> None:
    async def story() -> None:
        await house.things.load(house.log)
        await house.register("a")
        before, count = house.things.get("urn:xx:a"), house.points.count
        wrong: list[tuple[type[GridspineError], dict[str, Any]]] = [
            (Conflict, {"title": "t", "expected": 2}), (Invalid, {"model": "urn:x:none"}), (Invalid, {"title": " "}),
            (Invalid, {"location": (91.0, 0.0)}), (Invalid, {"location": (0.0, float("nan"))}),
        ]  # fmt: skip
        for error, fields in wrong:
            with pytest.raises(error):
                await house.things.change("urn:xx:a", actor="p", **fields)
        assert await house.things.change("urn:xx:a", actor="p", title="a") == before
        assert (house.things.get("urn:xx:a"), house.points.count) == (before, count)
        for _ in range(MAX_FORMER):
            other = {"org": "other", "other": "org"}[house.things.get("urn:xx:a").organisation]
            await house.things.change("urn:xx:a", actor="p", organisation=other)
        with pytest.raises(Conflict):
            await house.things.change("urn:xx:a", actor="p", organisation="third")

    asyncio.run(story())


def test_a_retired_thing_comes_back_with_its_numbers(house: House) -> None:
    async def story() -> None:
        await house.things.load(house.log)
        await house.register("a", "b")
        before = house.things.get("urn:xx:a")
        await house.things.retire("urn:xx:a", actor="p")
        assert house.things.of_device("urn:dd:1") == [house.things.get("urn:xx:b")]
        with pytest.raises(Conflict):
            await house.things.register(Thing("urn:xx:a", "other", "a", "urn:x:plant"), actor="q")
        back = await house.things.register(Thing("urn:xx:a", "org", "again", "urn:x:plant"), actor="p")
        assert (back.first, back.version, back.retired, back.points) == (before.first, 3, False, before.points)
        await house.again()
        assert house.things.get("urn:xx:a") == back
        assert house.points.resolve(["urn:xx:a/aPlain"], [""], "org").point.tolist() == [before.first]

    asyncio.run(story())


def test_many_callers_share_transactions_and_each_gets_its_own_answer(house: House, monkeypatch) -> None:
    """One that is refused stops none of the others; a transaction that fails is found out about later."""

    async def story() -> None:
        await house.things.load(house.log)
        await house.register("a")
        turns: list[int] = []
        run = house.registry.run
        monkeypatch.setattr(house.registry, "run", lambda *a, **k: (turns.append(1), run(*a, **k))[1])
        names = ["b", "c", "a", "b", "d"]
        asked = [house.things.register(Thing(f"urn:xx:{n}", "org", n, "urn:x:plant"), actor="p") for n in names]
        asked.append(house.things.change("urn:xx:a", actor="p", title="changed"))
        became = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(one) for one in became] == [Thing, Thing, Conflict, Conflict, Thing, Thing]
        assert len(turns) == 1
        assert [thing.title for thing in house.everything()] == ["changed", "b", "c", "d"]
        monkeypatch.setattr(house.registry, "relay", lambda: (_ for _ in ()).throw(DiskFull("full")))
        with pytest.raises(DiskFull):
            await house.things.change("urn:xx:a", actor="p", title="later")
        assert house.things.get("urn:xx:a").title == "changed"
        monkeypatch.undo()
        await asyncio.to_thread(house.registry.relay)
        await house.things.settle()
        assert house.things.get("urn:xx:a").title == "later"

    asyncio.run(story())


def test_models_are_standing_data(house: House) -> None:
    """Another organisation's model is as good as none; the same points have one derived model for everybody."""

    async def story() -> None:
        await house.things.load(house.log)
        models = house.things.models
        kept = await models.register(other_model(), organisation="org", actor="p")
        assert await models.register(other_model(), organisation="org", actor="p") == kept
        for organisation, changed in (("other", {}), ("org", {"title": "Changed"})):
            with pytest.raises(Conflict):
                await models.register(other_model() | changed, organisation=organisation, actor="p")
        with pytest.raises(Invalid):
            await house.things.register(Thing("", "other", "t", "urn:x:other"), actor="q")
        derived = await models.derived(kept.points, organisation="org", actor="p")
        assert await models.derived(kept.points[::-1], organisation="other", actor="q") == derived
        await house.things.register(Thing("urn:xx:1", "org", "t", "urn:x:other"), actor="p")
        await house.things.register(Thing("urn:xx:2", "other", "t", derived.id), actor="q")
        house.things.save(house.log, house.snapshot)
        every = house.everything()
        await house.again()
        assert house.everything() == every
        again = house.things.models.get(derived.id, "third")
        assert again is not None
        assert again == derived
        assert [one.id for one in house.things.models.list("other")] == ["urn:x:plant"]
        assert [one.id for one in house.things.models.list("org")] == ["urn:x:other", "urn:x:plant"]

    asyncio.run(story())
