"""Commands: the way through their states, confirmation by readings, and their events' encoding."""

import itertools
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.kernel.errors import Conflict, Corrupt
from gridspine.kernel.quality import Quality
from gridspine.things.adapter import Order
from gridspine.things.command import (
    ORDER_BODY,
    TRANSITIONS,
    Command,
    CommandChanged,
    OrderIssued,
    State,
    StopChanged,
    become,
    decode_event,
    encode_event,
    event_key,
    finish,
    new_command,
)
from gridspine.things.confirm import Awaited, Watchlist
from gridspine.things.lease import Authority, Lease

STATES: tuple[State, ...] = get_args(State)


def lease(**given: Any) -> Lease:
    fields: dict[str, Any] = {"value": 1.0, "role": "setpoint", "from_us": 0, "until_us": 10, "issued_us": 0, **given}
    return Lease(id="l", command="c", thing="urn:x:1", point="p", authority=Authority.OWNER, principal="me", **fields)


def led_to(*states: State, **given: Any) -> Command:
    command = new_command(lease(**given), "key", 0)
    for at, state in enumerate(states):
        command = become(command, state, at + 1, f"because {at}")
    return command


def test_the_usual_way() -> None:
    command = led_to("accepted", "sent", "acknowledged", "applied", "ended")
    assert [change.state for change in command.changes] == [
        "requested",
        "accepted",
        "sent",
        "acknowledged",
        "applied",
        "ended",
    ]
    assert command.sent_us == 2
    assert (command.state, command.reason, command.final) == ("ended", "because 4", True)


@pytest.mark.parametrize(("start", "goal"), list(itertools.product(STATES, STATES)))
def test_only_listed_transitions_are_possible(start: State, goal: State) -> None:
    ways: dict[State, tuple[State, ...]] = {
        "requested": (),
        "awaiting-approval": ("awaiting-approval",),
        "accepted": ("accepted",),
        "refused": ("refused",),
        "sent": ("accepted", "sent"),
        "acknowledged": ("accepted", "acknowledged"),
        "applied": ("accepted", "sent", "applied"),
        "rejected": ("accepted", "rejected"),
        "failed": ("accepted", "failed"),
        "expired": ("accepted", "expired"),
        "superseded": ("accepted", "superseded"),
        "ended": ("accepted", "sent", "applied", "ended"),
        "cancelled": ("accepted", "cancelled"),
    }
    command = led_to(*ways[start])
    if goal in TRANSITIONS.get(start, ()):
        assert become(command, goal, 99).state == goal
    else:
        with pytest.raises(Conflict, match="cannot become"):
            become(command, goal, 99)


def test_an_acknowledged_command_that_nothing_confirmed_expires() -> None:
    assert finish(led_to("accepted", "sent", "acknowledged"), 9).state == "expired"
    assert finish(led_to("accepted"), 9).state == "expired"
    assert finish(led_to("accepted", role="limit_max"), 9).state == "ended"
    assert finish(led_to("accepted", "sent", "applied"), 9).state == "ended"


@pytest.mark.parametrize(
    ("value", "quality", "observed_us", "received_us", "shown"),
    [
        (1000.0, 0, 11, 12, True),
        (1100.0, 0, 11, 12, True),
        (900.0, 0, 11, 12, True),
        (1100.1, 0, 11, 12, False),
        (1000.0, 0, 10, 12, False),
        (1000.0, 0, 9, 12, False),
        (1000.0, 0, 11, 10, False),
        (1000.0, Quality.INVALID, 11, 12, False),
        (1000.0, Quality.QUESTIONABLE, 11, 12, False),
        (1000.0, Quality.SUBSTITUTED, 11, 12, False),
        (1000.0, Quality.CLOCK_UNSYNCHRONISED, 11, 12, False),
        (1000.0, Quality.INACCURATE, 11, 12, True),
        (float("nan"), 0, 11, 12, False),
    ],
)
def test_what_a_reading_must_show(value: float, quality: int, observed_us: int, received_us: int, shown: bool) -> None:
    assert Awaited(1000.0, 100.0, 10).shown_by(value, quality, observed_us, received_us) is shown


def test_the_watchlist_finds_what_is_waited_for() -> None:
    watchlist = Watchlist()
    a, b, c = ("a", "p"), ("b", "p"), ("c", "p")
    for key, number in ((a, 7), (b, 7), (c, 3)):
        watchlist.set(key, number)
    assert watchlist.hits(np.array([1, 3, 7, 3], np.int32)).tolist() == [1, 2, 3]
    assert watchlist.keys(7) == [a, b]
    watchlist.set(a, 3)
    watchlist.set(b, None)
    assert watchlist.hits(np.array([1, 3, 7, 3], np.int32)).tolist() == [1, 3]
    watchlist.set(a, None)
    watchlist.set(c, None)
    assert len(watchlist) == 0


texts = st.text(max_size=20)
leases = st.builds(
    Lease,
    id=texts,
    command=texts,
    thing=texts,
    point=texts,
    value=st.floats(allow_nan=False, allow_infinity=False),
    role=st.sampled_from(["setpoint", "limit_max", "limit_min"]),
    authority=st.sampled_from(Authority),
    principal=texts,
    from_us=st.integers(0, 2**60),
    until_us=st.integers(0, 2**60),
    issued_us=st.integers(0, 2**60),
    priority=st.integers(-9, 9),
)
events = st.one_of(
    st.builds(lambda lease, key, at: CommandChanged(new_command(lease, key, at)), leases, texts, st.integers(0, 2**60)),
    st.builds(
        OrderIssued,
        order=st.builds(
            Order,
            command=texts,
            thing=texts,
            point=texts,
            value=st.none() | st.floats(allow_nan=False, allow_infinity=False),
            until_us=st.integers(0, 2**60),
            fallback=st.floats(allow_nan=False, allow_infinity=False),
            sequence=st.integers(0, 2**60),
        ),
        at_us=st.integers(0, 2**60),
        carries=st.lists(texts).map(tuple),
        reasons=st.lists(texts).map(tuple),
    ),
    st.builds(StopChanged, st.booleans(), st.integers(0, 2**60), texts, texts),
)


@given(events)
def test_events_survive_their_encoding(event: Any) -> None:
    assert decode_event(encode_event(event)) == event
    assert isinstance(event_key(event), str)
    assert encode_event(event).startswith(ORDER_BODY) == isinstance(event, OrderIssued)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"type":"else"}', b'{"type":"stop","stopped":1}', b"\xff"])
def test_damaged_events_are_named_so(body: bytes) -> None:
    with pytest.raises(Corrupt):
        decode_event(body)


def test_events_of_a_release_before_are_read() -> None:
    """What 0.1.0 wrote: no schedules, no batches, no watts."""
    lease_ = (
        b'{"id":"l","command":"c","thing":"urn:x:b","point":"p","value":1.0,"role":"setpoint","authority":"owner",'
        b'"principal":"me","fromUs":0,"untilUs":60,"issuedUs":0,"priority":0}'
    )
    changes = b'[{"state":"requested","atUs":0,"reason":""}]'
    command = b'{"type":"command","command":{"id":"c","key":"k","lease":' + lease_ + b',"changes":' + changes + b"}}"
    order = (
        b'{"type":"order","order":{"command":"c","thing":"urn:x:b","point":"p","value":1.0,"until_us":60,'
        b'"fallback":0.0,"sequence":1,"traceparent":""},"atUs":0,"carries":["c"],"reasons":[]}'
    )
    read = decode_event(command)
    assert isinstance(read, CommandChanged)
    assert (read.command.lease.steps, read.command.watts, read.command.question) == ((), 0.0, "")
    issued = decode_event(order)
    assert isinstance(issued, OrderIssued)
    assert (issued.order.plan, issued.moved_w, issued.switched_us) == ((), 0.0, 0)
