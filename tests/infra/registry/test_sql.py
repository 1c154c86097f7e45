"""The registry: documents, keys, sequences, outbox, migrations."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text

from gridspine.infra.log.port import MAX_RECORD_BYTES, Topic
from gridspine.infra.log.sqlite import SqliteEventLog
from gridspine.infra.registry.port import Event, Registry, Transaction
from gridspine.infra.registry.schema import HEAD
from gridspine.infra.registry.sql import SqlRegistry, sqlite_url
from gridspine.infra.registry.tables import metadata
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.errors import Conflict, DiskFull, TooLarge


class House(msgspec.Struct, frozen=True):
    name: str
    rooms: int = 1


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteEventLog]:
    log = SqliteEventLog(tmp_path / "log", [Topic("events", control=True)])
    yield log
    log.close()


@pytest.fixture
def registry(tmp_path: Path, log: SqliteEventLog) -> Iterator[SqlRegistry]:
    registry = SqlRegistry(sqlite_url(tmp_path / "registry.db"), VirtualClock(), log)
    yield registry
    registry.close()


def event(name: str) -> Event:
    return Event(id=name, type="house.changed", time_us=1, subject="s", actor="a", data={})


def test_put_get_list_delete(registry: Registry) -> None:
    def work(tx: Transaction) -> None:
        assert tx.put(House("one"), id="1", owner="a") == 1
        assert tx.put(House("two"), id="2", owner="b") == 1
        assert tx.put(House("one, larger", 2), id="1", owner="a", expected=1) == 2

    registry.transact(work)
    assert registry.read(lambda tx: tx.get(House, "1")) == House("one, larger", 2)
    assert registry.read(lambda tx: tx.list(House)) == [House("one, larger", 2), House("two")]
    assert registry.read(lambda tx: tx.list(House, owner="b")) == [House("two")]
    registry.transact(lambda tx: tx.delete(House, "1"))
    assert registry.read(lambda tx: tx.get(House, "1")) is None


def test_many_are_put_over_whatever_was_there(registry: Registry) -> None:
    registry.transact(lambda tx: tx.put(House("old"), id="7", owner="a"))
    many = {str(number): House(f"house {number}") for number in range(1_200)}
    registry.transact(lambda tx: tx.put_over(House, many, "a"))
    registry.transact(lambda tx: tx.put_over(House, {}, "a"))
    assert registry.read(lambda tx: tx.count(House)) == 1_200
    assert registry.read(lambda tx: tx.get(House, "7")) == House("house 7")
    assert registry.read(lambda tx: (tx.version(House, "7"), tx.version(House, "8"))) == (2, 1)


def test_a_stale_version_is_refused(registry: Registry) -> None:
    registry.transact(lambda tx: tx.put(House("one"), id="1"))
    with pytest.raises(Conflict):
        registry.transact(lambda tx: tx.put(House("mine"), id="1", expected=0))


def test_keys_are_unique_and_forgotten_with_their_document(registry: Registry) -> None:
    registry.transact(lambda tx: (tx.put(House("one"), id="1"), tx.bind_key("name", "one", "1")))
    with pytest.raises(Conflict):
        registry.transact(lambda tx: tx.bind_key("name", "one", "2"))
    assert registry.read(lambda tx: tx.find_key("name", "one")) == "1"
    registry.transact(lambda tx: tx.delete(House, "1"))
    assert registry.read(lambda tx: tx.find_key("name", "one")) is None


def test_an_exception_undoes_documents_numbers_and_events(registry: Registry, log: SqliteEventLog) -> None:
    def work(tx: Transaction) -> None:
        tx.put(House("one"), id="1")
        tx.next_number("points", 5)
        tx.emit("events", "k", event("never"))
        raise Conflict("no")

    with pytest.raises(Conflict):
        registry.transact(work)
    assert registry.read(lambda tx: tx.get(House, "1")) is None
    assert registry.transact(lambda tx: tx.next_number("points", 5)) == 0
    assert registry.transact(lambda tx: tx.next_number("points")) == 5
    assert log.bounds("events") == [(0, 0)]


def test_events_reach_the_log_in_order(registry: Registry, log: SqliteEventLog) -> None:
    for name in ("a", "b", "c"):
        registry.transact(lambda tx, name=name: tx.emit("events", "k", event(name)))
    kept = [msgspec.json.decode(r.body, type=Event).id for r in log.read("events", 0, 0)]
    assert kept == ["a", "b", "c"]


class FullLog:
    """A log whose disk is full until told otherwise."""

    def __init__(self, log: SqliteEventLog) -> None:
        self.log, self.full = log, True

    def append(self, records: Any) -> Any:
        if self.full:
            raise DiskFull("full")
        return self.log.append(records)


def test_events_wait_in_the_outbox_while_the_log_is_full(tmp_path: Path, log: SqliteEventLog) -> None:
    full: Any = FullLog(log)
    registry = SqlRegistry(sqlite_url(tmp_path / "r.db"), VirtualClock(), full)
    with pytest.raises(DiskFull):
        registry.transact(lambda tx: (tx.put(House("one"), id="1"), tx.emit("events", "k", event("a"))))
    assert registry.read(lambda tx: tx.get(House, "1")) == House("one")
    registry.close()
    full.full = False
    SqlRegistry(sqlite_url(tmp_path / "r.db"), VirtualClock(), full).close()  # relays when it opens
    assert len(log.read("events", 0, 0)) == 1


def test_an_event_the_log_cannot_take_never_waits_in_the_outbox(registry: SqlRegistry, log: SqliteEventLog) -> None:
    """There it would hold up every later one, and the next start."""

    def work(tx: Transaction) -> None:
        tx.put(House("one"), id="1")
        tx.emit("events", "k", msgspec.structs.replace(event("long"), data={"text": "x" * MAX_RECORD_BYTES}))

    with pytest.raises(TooLarge):
        registry.transact(work)
    assert registry.read(lambda tx: tx.get(House, "1")) is None
    registry.transact(lambda tx: tx.emit("events", "k", event("short")))
    assert [msgspec.json.decode(r.body, type=Event).id for r in log.read("events", 0, 0)] == ["short"]


async def test_run_works_off_the_loop(registry: Registry) -> None:
    await registry.run(lambda tx: tx.put(House("one"), id="1"))
    assert await registry.run(lambda tx: tx.get(House, "1"), write=False) == House("one")


def test_migrations_make_what_the_tables_say(tmp_path: Path, registry: Registry) -> None:
    engine = create_engine(sqlite_url(tmp_path / "registry.db"))
    found = inspect(engine)
    for table in metadata.tables.values():
        assert {c["name"] for c in found.get_columns(table.name)} == {c.name for c in table.columns}
    engine.dispose()
    config = Config()
    config.set_main_option("script_location", "gridspine.infra.registry:migrations")
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_a_newer_registry_is_refused_with_a_sentence(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "r.db")
    SqlRegistry(url, VirtualClock(), None).close()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(Conflict, match="newer than this release"):
        SqlRegistry(url, VirtualClock(), None)


class Shed(msgspec.Struct, frozen=True):
    label: str
    FORMAT: ClassVar[int] = 2

    @staticmethod
    def upgrade(format_: int, fields: dict[str, Any]) -> dict[str, Any]:
        assert format_ == 1
        return {"label": fields["name"]}


def test_a_document_of_an_older_format_is_upgraded_when_read(tmp_path: Path, registry: Registry) -> None:
    registry.transact(lambda tx: tx.put(Shed("new"), id="1"))
    engine = create_engine(sqlite_url(tmp_path / "registry.db"))
    with engine.begin() as connection:
        connection.execute(text('UPDATE document SET format = 1, body = CAST(\'{"name": "old"}\' AS BLOB)'))
    engine.dispose()
    assert registry.read(lambda tx: tx.get(Shed, "1")) == Shed("old")
