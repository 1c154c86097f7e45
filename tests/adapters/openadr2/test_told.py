"""What a VEN is told of events: no more than its owner consented to."""

import pytest

from gridspine.adapters.openadr2 import message as m
from gridspine.adapters.openadr2 import wire
from gridspine.adapters.openadr2.book import Book, VenRecord
from gridspine.adapters.openadr2.event import tell
from gridspine.adapters.openadr2.ven import Ven
from gridspine.adapters.openadr2.view import view_of
from gridspine.adapters.openadr2.wire_event import MAX_EVENTS
from gridspine.energy.control import Control
from gridspine.energy.followed import Followed, Part
from gridspine.energy.programme import Programme, SignalDescriptor
from gridspine.energy.programme_enrolment import OptOut, ProgrammeEnrolment
from gridspine.energy.programme_event import EventInterval, ProgrammeEvent, Signal
from gridspine.kernel.time import MAX_US, US
from gridspine.testing.node import FakeNode

NOW_US = 1_800_000_000 * US
LIMIT, PRICE = "x-IMPORT_CAPACITY_LIMIT", "ELECTRICITY_PRICE"
BOTH = ["importLimitW", "targetW"]


def at(seconds):
    return NOW_US + seconds * US


def told(*, modes=BOTH, from_s=-10, asked_s=-20, until_us=MAX_US, outs=(), end_us=None, programme_modes=BOTH):
    """Return what a VEN is told of an hour of a price and two controls: (start, duration [s], names) of each run."""
    control = Control(target_w=-5000.0, import_limit_w=1000.0)
    price = (Signal("PRICE", (0.25,)),)
    intervals = (EventInterval(at(60), at(1860), price), EventInterval(at(1860), end_us or at(3660), price, control))
    event = ProgrammeEvent(
        id="urn:uuid:a", programme="p", organisation="o", title="t", intervals=intervals, created_us=NOW_US
    )
    described = (SignalDescriptor("PRICE", "KWH", "EUR"),)
    programme = Programme(id="p", organisation="o", title="P", modes=tuple(programme_modes), signals=described)
    enrolment = ProgrammeEnrolment(
        id="e", programme="p", owner="o", organisation="o", subject="s", kind="thing", modes=tuple(modes),
        state="active", from_us=at(from_s), asked_us=at(asked_s), until_us=until_us, opt_outs=tuple(outs),
    )  # fmt: skip
    found = tell([Part(enrolment, programme, (event,))], "ven", {}, 0, NOW_US)
    periods = [(one.event.period.start_us, one.event.period.duration_us) for one in found]
    names = [[signal.name for signal in one.event.signals] for one in found]
    return [
        (one.id, (a - NOW_US) // US, us // US, each) for one, (a, us), each in zip(found, periods, names, strict=True)
    ]


PRICES, ALL = ("a", 60, 1800, [PRICE]), ("a-1", 1860, 1800, [PRICE, LIMIT, "LOAD_DISPATCH"])


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({}, [PRICES, ALL]),
        ({"modes": ["importLimitW"]}, [PRICES, ("a-1", 1860, 1800, [PRICE, LIMIT])]),
        ({"programme_modes": ["importLimitW"]}, [PRICES, ("a-1", 1860, 1800, [PRICE, LIMIT])]),
        ({"modes": []}, [("a", 60, 3600, [PRICE])]),
        ({"from_s": 2000}, [("a-1", 2000, 1660, ALL[-1])]),
        ({"from_s": 2000, "asked_s": 2000}, [ALL]),
        ({"from_s": 3660}, []),
        ({"until_us": at(1000)}, [("a", 60, 940, [PRICE])]),
        ({"until_us": at(60)}, []),
        ({"end_us": MAX_US, "until_us": at(9000)}, [PRICES, ("a-1", 1860, 0, ALL[-1])]),
    ],
)
def test_a_ven_is_told_of_what_its_owner_consented_to(said, wanted):
    assert told(**said) == wanted


def test_what_lies_in_a_time_that_was_opted_out_of_is_not_told():
    assert told(outs=[OptOut("x", "", at(1860), at(3660))]) == [PRICES]
    assert told(outs=[OptOut("x", "", at(0), at(9000))]) == []
    assert told(outs=[OptOut("x", "", at(1860), at(2000))]) == [PRICES, ALL], "a part of it is no event of its own"
    assert told(outs=[OptOut("x", "urn:uuid:a")]) == [PRICES, ALL], "whether it is told hangs on who said so"


async def test_a_ven_is_told_of_no_more_than_a_message_holds():
    hour = EventInterval(at(60), at(3660), (), Control(import_limit_w=1000.0))
    events = tuple(
        ProgrammeEvent(
            id=f"urn:uuid:{number:03}", programme="p", organisation="o", title="t", intervals=(hour,), priority=number
        )
        for number in range(2 * MAX_EVENTS)
    )
    enrolment = ProgrammeEnrolment(
        id="e", programme="p", owner="o", organisation="o", subject="s", kind="thing", modes=("importLimitW",),
        state="active", from_us=NOW_US, until_us=MAX_US,
    )  # fmt: skip
    programme = Programme(id="p", organisation="o", title="P", modes=("importLimitW",))
    followed = Followed(parts=(Part(enrolment, programme, events),))
    view = await view_of(Book(FakeNode().store), Ven("ven"), VenRecord(), followed, 0, 0, NOW_US)
    assert list(view.numbers) == [f"{number:03}" for number in range(MAX_EVENTS)]
    told = tuple(m.Event(event=one.event) for one in view.events.values())
    said = wire.read(wire.write(m.DistributeEvent(request_id="1", vtn_id="v", events=told)))
    assert len(said.events) == MAX_EVENTS
