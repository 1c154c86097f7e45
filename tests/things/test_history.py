"""What a record says of a Thing, and whose time it was."""

import msgspec
import pytest

from gridspine.infra.registry.port import Event
from gridspine.things.alarm import Alarm, AlarmChanged, AlarmKind, Priority, encode_change
from gridspine.things.history import READERS, periods, words
from gridspine.things.thing import Former, Thing


def event(type_, of="urn:x:m", **data):
    return msgspec.json.encode(Event("id", type_, 7, of, "urn:x:ann", data))


@pytest.mark.parametrize(
    ("topic", "body", "kind", "said"),
    [
        ("ledger", event("thing.suspended", why="works"), "life", "suspended: works"),
        ("ledger", event("command.applied", "urn:c", state="applied", reason="shown",
                         lease={"thing": "urn:x:m", "point": "p", "value": 5}), "command", "p to 5: applied shown"),
        ("events", event("thing.changed", patch={"title": "T", "adapter": "x"}), "change", "changed: adapter, title"),
        ("events", event("incident.opened", "urn:i", subject="urn:x:m", title="12 MW"), "incident", "12 MW, opened"),
    ],
)  # fmt: skip
def test_what_is_told(topic, body, kind, said):
    entry = READERS[topic]("place", body, 9)
    assert (entry.thing, entry.kind, entry.at_us, words(entry)) == ("urn:x:m", kind, 7, said)
    assert entry.receipt == ("id" if topic == "ledger" else "")


@pytest.mark.parametrize(
    ("topic", "body"),
    [
        ("events", event("thing.registered")), ("events", event("thing.retired")), ("ledger", event("grant.approved")),
        ("events", event("incident.opened", "urn:i", subject="a source")), ("ledger", b"nonsense"),
        ("ledger", b'"type":"thing.'), ("events", b'{"type":"thing.x"}'), ("ledger", event("command.applied", "urn:c")),
    ],
)  # fmt: skip
def test_what_says_nothing_of_a_thing(topic, body):
    assert READERS[topic]("place", body, 9) is None


def test_what_is_too_much_is_left_out():
    entry = READERS["ledger"]("place", event("thing.examined", words=["x" * 10_000]), 9)
    assert list(entry.data) == ["omitted"]


@pytest.mark.parametrize(
    ("over_us", "acknowledged_us", "stage"),
    [(None, None, "raised"), (5, None, "over"), (None, 9, "acknowledged"), (5, 9, "acknowledged"), (12, 9, "over")],
)
def test_alarms(over_us, acknowledged_us, stage):
    by = "ann" if acknowledged_us else ""
    alarm = Alarm(1, "urn:x:m/p", AlarmKind.HIGH, Priority.HIGH, 1, 2, 1, 4.0, over_us, by, acknowledged_us)
    entry = READERS["alarms"]("alarms:5", encode_change(AlarmChanged(alarm)), 9)
    assert (entry.thing, entry.id, entry.at_us, entry.type) == ("urn:x:m", "alarms:5", 9, f"alarm.{stage}")
    assert words(entry) == f"high of p, {stage}"


def test_whose_time_it_was():
    def thing(owner, *former):
        blocks = tuple(Former(at, "m", name, until) for at, (name, until) in enumerate(former))
        return Thing("urn:x:m", owner, "T", "m", former=blocks)

    assert periods(thing("a"), "a") == [(0, None)]
    assert periods(thing("a"), "b") == []
    sold = thing("b", ("a", 10), ("b", 20))  # b gave it another model later
    assert periods(sold, "a") == [(0, 10)]
    assert periods(sold, "b") == [(10, None)]
    back = thing("a", ("a", 10), ("b", 20))
    assert periods(back, "a") == [(0, 10), (20, None)]
    assert periods(back, "b") == [(10, 20)]
