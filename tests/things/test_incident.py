"""Incidents: one open per subject, owned until a named person closes it; on a real registry and log."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from gridspine.infra.log.port import Topic
from gridspine.infra.log.sqlite import SqliteEventLog
from gridspine.infra.registry.port import Event
from gridspine.infra.registry.sql import SqlRegistry, sqlite_url
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.errors import Conflict, Invalid, NotFound
from gridspine.kernel.time import US
from gridspine.things.incident import MAX_EVIDENCE, Incident, Incidents


class Book:
    def __init__(self, path: Path) -> None:
        self.clock = VirtualClock()
        self.log = SqliteEventLog(path / "log", [Topic("events", control=True)])
        self.registry = SqlRegistry(sqlite_url(path / "registry.db"), self.clock, self.log)
        self.incidents = Incidents(self.registry, self.clock)

    async def open(self, subject: str = "meter-7", **given: str) -> Incident:
        fields = {"organisation": "org", "title": "impossible values", "owner": "ann", "evidence": "12 MW", **given}
        deadline_us = self.clock.now_us() + 3600 * US
        return await self.incidents.open(subject, deadline_us=deadline_us, actor="node", **fields)

    def events(self) -> list[Event]:
        return [msgspec.json.decode(one.body, type=Event) for one in self.log.read("events", 0, 0)]

    def close(self) -> None:
        self.registry.close()
        self.log.close()


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    book = Book(tmp_path)
    yield book
    book.close()


async def test_its_whole_life_is_told(book: Book) -> None:
    opened = await book.open(work_order="look at the wiring")
    await book.incidents.note(opened.id, "called the installer", actor="ann")
    deadline_us = book.clock.now_us() + 7200 * US
    await book.incidents.assign(opened.id, owner="bob", deadline_us=deadline_us, actor="ann")
    closed = await book.incidents.close(opened.id, person="bob", because="CT turned round")
    assert closed == await book.incidents.get(opened.id)
    assert (closed.state, closed.closed_by, closed.closed_because) == ("closed", "bob", "CT turned round")
    assert (closed.owner, closed.deadline_us, closed.work_order) == ("bob", deadline_us, "look at the wiring")
    assert [event.type for event in book.events()] == [
        "incident.opened",
        "incident.noted",
        "incident.assigned",
        "incident.closed",
    ]
    assert {event.subject for event in book.events()} == {opened.id}
    assert book.events()[-1].actor == "bob"


async def test_one_is_open_per_subject_and_a_closed_one_makes_room(book: Book) -> None:
    first = await book.open()
    second = await book.open(evidence="13 MW")
    assert second.id == first.id
    assert [entry.text for entry in second.evidence] == ["12 MW", "13 MW"]
    assert (await book.open("other")).id != first.id
    await book.incidents.close(first.id, person="ann", because="fixed")
    assert (await book.open()).id != first.id
    assert len(await book.incidents.list(organisation="org")) == 3
    assert await book.incidents.list(organisation="another") == []


async def test_what_others_say_of_the_same_subject_stays_theirs(book: Book) -> None:
    ours, theirs = await book.open(), await book.open(organisation="another", evidence="hearsay")
    assert theirs.id != ours.id
    assert [entry.text for entry in theirs.evidence] == ["hearsay"]
    await book.incidents.close(theirs.id, person="eve", because="nothing to see")
    assert (await book.open()).id == ours.id, "it is still open"


async def test_only_a_named_person_with_a_reason_closes_and_only_once(book: Book) -> None:
    opened = await book.open()
    with pytest.raises(Invalid, match="person"):
        await book.incidents.close(opened.id, person=" ", because="fixed")
    with pytest.raises(Invalid, match="because"):
        await book.incidents.close(opened.id, person="ann", because="")
    assert (await book.incidents.get(opened.id)).state == "open"
    await book.incidents.close(opened.id, person="ann", because="fixed")
    with pytest.raises(Conflict, match="closed by ann"):
        await book.incidents.close(opened.id, person="bob", because="me too")
    with pytest.raises(Conflict):
        await book.incidents.note(opened.id, "late", actor="bob")
    assert len(book.events()) == 2, "what was refused is not told"


async def test_what_cannot_be(book: Book) -> None:
    with pytest.raises(Invalid, match="owner"):
        await book.open(owner="")
    with pytest.raises(Invalid, match="at most"):
        await book.open(evidence="x" * 10_001)
    with pytest.raises(NotFound):
        await book.incidents.get("urn:nothing")
    with pytest.raises(Invalid, match="deadline"):
        await book.incidents.open(
            "s", organisation="o", title="t", owner="a", deadline_us=1, evidence="e", actor="node"
        )
    assert await book.incidents.list() == []


async def test_evidence_is_bounded_and_says_so(book: Book) -> None:
    opened = await book.open()
    for at in range(MAX_EVIDENCE + 5):
        opened = await book.incidents.add_evidence(opened.id, f"number {at}", actor="node")
    assert len(opened.evidence) == MAX_EVIDENCE and opened.omitted == 6
    assert opened.evidence[0].text == "12 MW", "how it began stays"
    assert opened.evidence[-1].text == f"number {MAX_EVIDENCE + 4}"


async def test_overdue(book: Book) -> None:
    opened = await book.open()
    assert not opened.overdue(opened.deadline_us - 1)
    assert opened.overdue(opened.deadline_us)
    closed = await book.incidents.close(opened.id, person="ann", because="fixed")
    assert not closed.overdue(opened.deadline_us)
