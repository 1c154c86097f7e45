"""Events, envelopes, enrolments: what is refused, what chance takes, who takes part when."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.energy.control import NOTHING, Control
from gridspine.energy.envelope import Envelope, EnvelopeInterval
from gridspine.energy.programme import Programme, ReportDescriptor, SignalDescriptor
from gridspine.energy.programme_enrolment import OptOut, ProgrammeEnrolment
from gridspine.energy.programme_event import EventInterval, ProgrammeEvent, Signal, drawn, spans
from gridspine.energy.site import Site
from gridspine.kernel.errors import Conflict, Invalid, NotFound
from gridspine.kernel.time import US

PROGRAMME = Programme(
    id="p", organisation="o", title="Peak", signals=(SignalDescriptor("PRICE", "KWH", "EUR"),),
    modes=("exportLimitW", "targetW"), targets=("north", "south"),
)  # fmt: skip
LIMIT = Control(export_limit_w=1_000.0)


def event(*intervals, **more):
    fields = {"id": "e", "programme": "p", "organisation": "o", "title": "Evening", "seed": "s", **more}
    return ProgrammeEvent(intervals=intervals or (EventInterval(100, 200, control=LIMIT),), **fields)


def changed(one, **fields):
    return msgspec.structs.replace(one, **fields)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (event(title=" "), "title"),
        (event(EventInterval(200, 100, control=LIMIT)), "intervals[0]"),
        (event(EventInterval(100, 200, control=LIMIT), EventInterval(199, 300, control=LIMIT)), "intervals[1]"),
        (event(EventInterval(1, 50, control=LIMIT)), "over"),
        (event(EventInterval(100, 200)), "says nothing"),
        (event(EventInterval(100, 200, control=Control(import_limit_w=1.0))), "importLimitW: it is not among"),
        (event(EventInterval(100, 200, control=Control(export_limit_w=-1.0))), "magnitude"),
        (event(EventInterval(100, 200, control=Control(target_w=float("nan")))), "power in W"),
        (event(EventInterval(100, 200, (Signal("GHG", (1.0,)),))), "GHG"),
        (event(EventInterval(100, 200, (Signal("PRICE", ()),))), "values"),
        (event(EventInterval(100, 200, (Signal("PRICE", (float("inf"),)),))), "finite"),
        (event(targets=("west",)), "west"),
        (event(priority=-1), "priority"),
        (event(randomise_start_s=1.0), "shorter than each interval"),
        (event(randomise_start_s=-1.0), "randomiseStartS"),
        (event(), "a second at least"),
    ],
)  # fmt: skip
def test_an_event_that_makes_no_sense_is_refused(wrong, words):
    with pytest.raises(Invalid, match=words.replace("[", "\\[")):
        wrong.check(PROGRAMME, 60)


def test_prices_may_be_negative_and_command_nothing():
    priced = event(EventInterval(100, 100 + US, (Signal("PRICE", (-0.05,)),)))
    priced.check(PROGRAMME, 0)
    assert not priced.commands and event().commands
    assert list(spans(priced, drawn(priced, "x"))) == []


def test_an_event_by_the_clock():
    one = event()
    assert [one.status(at) for at in (99, 100, 199, 200)] == ["scheduled", "active", "active", "completed"]
    ended = one.cancel(150, "me", "rain")
    assert (ended.status(150), ended.cancelled_by, ended.reason) == ("cancelled", "me", "rain")
    for late in (lambda: one.cancel(200, "me", ""), lambda: ended.cancel(160, "me", "")):
        with pytest.raises(Conflict):
            late()


@given(st.text(min_size=1, max_size=20), st.floats(0, 20), st.floats(0, 20), st.booleans())
def test_chance_stays_within_what_was_asked_and_is_the_same_again(enrolment, start_s, end_s, keeps_length):
    given_event = event(
        EventInterval(0, 60 * US, control=LIMIT), EventInterval(60 * US, 120 * US, control=LIMIT),
        EventInterval(180 * US, 240 * US, control=LIMIT), randomise_start_s=start_s, randomise_duration_s=end_s,
        randomise_keeps_length=keeps_length,
    )  # fmt: skip
    chance = drawn(given_event, enrolment)
    assert chance == drawn(given_event, enrolment)
    assert 0 <= chance.delay_us <= start_s * US and 0 <= chance.advance_us <= end_s * US
    found = list(spans(given_event, chance))
    assert [one[0] for one in found] == [at * US + chance.delay_us for at in (0, 60, 180)]
    sooner_us = chance.advance_us + (round(start_s * US) - chance.delay_us if keeps_length else 0)
    assert [one[1] for one in found] == [60 * US + chance.delay_us, 120 * US - sooner_us, 240 * US - sooner_us]
    assert all(begin < end for begin, end, _ in found)


def test_a_fleet_ends_within_the_hour_and_not_at_one_moment_where_the_length_is_kept():
    """IEEE 2030.5-2018 Table C.27: start 0, duration 3300, randomizeStart 300."""
    hour = event(EventInterval(0, 3600 * US, control=LIMIT), randomise_start_s=300.0, randomise_keeps_length=True)
    found = [one for at in range(400) for one in spans(hour, drawn(hour, f"enrolment {at}"))]
    assert {until_us - from_us for from_us, until_us, _ in found} == {3300 * US}
    assert len({until_us for _, until_us, _ in found}) == 400
    assert max(until_us for _, until_us, _ in found) <= 3600 * US


def test_an_event_that_was_kept_before_length_could_be_is_read_and_its_end_stays():
    kept = msgspec.to_builtins(event(EventInterval(0, 3600 * US, control=LIMIT), randomise_start_s=300.0))
    del kept["randomiseKeepsLength"]
    read = msgspec.json.decode(msgspec.json.encode(kept), type=ProgrammeEvent)
    assert {until_us for at in range(9) for _, until_us, _ in spans(read, drawn(read, str(at)))} == {3600 * US}


def test_a_fleet_does_not_move_at_one_moment():
    given_event = event(EventInterval(0, 3600 * US, control=LIMIT), randomise_start_s=600.0)
    delays = [drawn(given_event, f"enrolment {at}").delay_us for at in range(400)]
    assert len(set(delays)) == 400
    assert 250 * US < sum(delays) / 400 < 350 * US
    assert drawn(changed(given_event, seed="t"), "enrolment 1") != drawn(given_event, "enrolment 1")


def test_an_envelopes_default_holds_outside_of_its_intervals():
    envelope = Envelope(
        id="v", site="s", organisation="o", title="V", default=Control(export_limit_w=1.0, import_limit_w=9.0),
        intervals=(EnvelopeInterval(10, 20, Control(export_limit_w=5.0)), EnvelopeInterval(20, 30, Control())),
    )  # fmt: skip
    envelope.check()
    layer = envelope.layer(15, 40)
    assert [(one.from_us, one.until_us, one.control.export_limit_w) for one in layer] == [
        (15, 20, 5),
        (20, 30, 1),
        (30, 40, 1),
    ]
    assert all(one.control.import_limit_w == 9.0 for one in layer), "what an interval leaves out is the default's"
    assert [one.control.export_limit_w for one in envelope.layer(0, 12)] == [1, 5]
    assert [one.control.export_limit_w for one in envelope.layer(50, 60)] == [1]


@pytest.mark.parametrize(
    "fields",
    [
        {"title": ""}, {"default": Control(target_w=1.0)}, {"default": Control(export_limit_w=-1.0)},
        {"intervals": (EnvelopeInterval(20, 10, NOTHING),)},
        {"intervals": (EnvelopeInterval(10, 20, NOTHING), EnvelopeInterval(19, 30, NOTHING))},
    ],
)  # fmt: skip
def test_an_envelope_that_makes_no_sense_is_refused(fields):
    with pytest.raises(Invalid):
        changed(Envelope(id="v", site="s", organisation="o", title="V"), **fields).check()


@pytest.mark.parametrize(
    "fields",
    [
        {"title": ""}, {"phases": 4}, {"import_limit_w": -1.0}, {"guard": "urn:x:a"},
        {"things": ("urn:x:a", "urn:x:a")}, {"things": ("no urn",)}, {"location": (91.0, 0.0)},
        {"uncontrolled_load_w": float("nan")},
    ],
)  # fmt: skip
def test_a_site_that_makes_no_sense_is_refused(fields):
    with pytest.raises(Invalid):
        changed(Site(id="s", organisation="o", title="S"), **fields).check()


@pytest.mark.parametrize(
    "fields",
    [
        {"title": ""}, {"primacy": 256}, {"modes": ("fly",)}, {"default_control": Control(load_limit_w=1.0)},
        {"default_control": Control(target_w=1.0)}, {"description_url": "javascript:alert(1)"},
        {"signals": (SignalDescriptor("A"), SignalDescriptor("A"))}, {"reports": (ReportDescriptor("U", "p", 0),)},
        {"targets": ("",)},
    ],
)  # fmt: skip
def test_a_programme_that_makes_no_sense_is_refused(fields):
    with pytest.raises(Invalid):
        changed(PROGRAMME, **fields).check()


def enrolment(**fields):
    given_fields = {"from_us": 0, "until_us": 1_000, "state": "active", **fields}
    return ProgrammeEnrolment(
        id="n", programme="p", owner="o", organisation="h", subject="s", kind="site", **given_fields
    )


def test_opting_out_of_an_event_and_of_a_time():
    one = enrolment().out(OptOut("1", "e", until_us=500), 0).out(OptOut("2", "", 100, 200), 0)
    assert list(one.takes_part("e", 0, 50)) == []
    assert list(one.takes_part("f", 50, 300)) == [(50, 100), (200, 300)]
    again = one.in_again(event="e")
    assert list(again.takes_part("e", 0, 50)) == [(0, 50)]
    assert list(again.in_again(opt="2").takes_part("f", 50, 300)) == [(50, 300)]
    with pytest.raises(NotFound):
        again.in_again(event="e")


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 10)), max_size=5), st.integers(0, 20), st.integers(1, 20))
def test_one_takes_part_where_nothing_says_otherwise(outs, begin, length):
    one = enrolment(from_us=3, until_us=33)
    for number, (at, lasts) in enumerate(outs):
        one = one.out(OptOut(str(number), "", at, at + lasts), -1)
    parts = list(one.takes_part("e", begin, begin + length))
    for moment in range(50):
        expected = 3 <= moment < 33 and begin <= moment < begin + length
        expected = expected and not any(at <= moment < at + lasts for at, lasts in outs)
        assert any(a <= moment < b for a, b in parts) == expected


def test_an_enrolment_moves_as_it_may():
    asked = enrolment(state="requested")
    assert asked.decided("admit", "me", 5).state == "active"
    for state, verb in (("active", "admit"), ("refused", "withdraw"), ("requested", "end"), ("ended", "withdraw")):
        with pytest.raises(Conflict):
            enrolment(state=state).decided(verb, "me", 5)
    with pytest.raises(Conflict, match="end has passed"):
        asked.decided("admit", "me", 1_000)


def test_whom_an_event_is_for():
    assert event().aimed_at(enrolment().words)
    north = event(targets=("north",))
    assert not north.aimed_at(enrolment().words)
    assert north.aimed_at(enrolment().aimed(("north",)).words)
