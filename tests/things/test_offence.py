"""Offences: counted against the session, undone exactly, and quarantine of its principal alone."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gridspine.infra.registry.port import Event
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.time import US
from gridspine.things.adapter import Outcome, Source
from gridspine.things.offence import QUARANTINED, RELEASED, OffenceRule, Offences

RULE = OffenceRule(limit=10, share=0.5, window_s=60)


def source(name: str = "a", session: str = "") -> Source:
    return Source(name, "org", session or f"{name}-1")


def outcome(refused: int, good: int = 0) -> Outcome:
    return Outcome(refused + good, good, 0, 0, refused)


def test_a_session_that_keeps_offending_has_its_principal_quarantined_by_an_event() -> None:
    offences = Offences(VirtualClock(), RULE)
    assert not offences.count(source(), outcome(9), 0).records
    assert not offences.quarantined("a")
    (record,) = offences.count(source(), outcome(1), US).records
    event = msgspec.json.decode(record.body, type=Event)
    assert (event.type, event.subject, event.data["session"], event.data["refused"]) == (QUARANTINED, "a", "a-1", 10)
    assert offences.quarantined_principals() == {"a": "org"}
    assert not offences.count(source(), outcome(50), 2 * US).records  # once
    assert not offences.quarantined("b")


def test_good_batches_count_for_a_source_too() -> None:
    offences = Offences(VirtualClock(), RULE)
    for turn in range(40):
        assert not offences.count(source(), outcome(0, good=9), turn).records
        assert not offences.count(source(), outcome(1), turn).records
    assert not offences.quarantined("a")  # one in ten of all it sent


def test_sessions_are_counted_apart_and_windows_end() -> None:
    offences = Offences(VirtualClock(), RULE)
    for session in range(5):
        offences.count(source(session=str(session)), outcome(9), 0)
    offences.count(source(session="0"), outcome(9), 61 * US)
    assert not offences.quarantined("a")


def test_a_release_forgets_the_offences_and_is_an_event() -> None:
    offences = Offences(VirtualClock(), RULE)
    offences.count(source(), outcome(10), 0)
    record = offences.release("a", "operator")
    assert record is not None
    event = msgspec.json.decode(record.body, type=Event)
    assert (event.type, event.actor) == (RELEASED, "operator")
    assert not offences.quarantined("a")
    assert offences.release("a", "operator") is None
    assert not offences.count(source(), outcome(9), 1).records


def test_who_is_quarantined_survives_a_restart() -> None:
    offences, again = Offences(VirtualClock(), RULE), Offences(VirtualClock(), RULE)
    events = [
        *offences.count(source("a"), outcome(10), 0).records,
        *offences.count(source("b"), outcome(10), 0).records,
    ]
    events.append(offences.release("a", "operator"))
    for record in events:
        again.replay(msgspec.json.decode(record.body, type=Event))
    assert again.quarantined_principals() == offences.quarantined_principals() == {"b": "org"}


STEPS = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(0, 1), st.integers(0, 8), st.integers(0, 8), st.integers(0, 40)),
    max_size=15,
)


@given(kept=STEPS, lost=STEPS)
def test_a_group_that_is_undone_newest_first_leaves_no_trace(kept: list, lost: list) -> None:
    offences, other = Offences(VirtualClock(), RULE), Offences(VirtualClock(), RULE)
    time_us = 0
    for who, session, refused, good, later in kept:
        time_us += later * US
        for each in (offences, other):
            each.count(source(who, f"{who}{session}"), outcome(refused, good), time_us)
    counted = []
    for who, session, refused, good, later in lost:
        counted.append(offences.count(source(who, f"{who}{session}"), outcome(refused, good), time_us + later * US))
    for count in reversed(counted):
        offences.undo(count)
    assert offences.quarantined_principals() == other.quarantined_principals()
    for who, session, refused, good, later in lost:
        for each in (offences, other):
            each.count(source(who, f"{who}{session}"), outcome(refused, good), time_us + later * US)
        assert offences.quarantined_principals() == other.quarantined_principals()
