"""What a Thing follows as assignments, programs and controls."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gridspine.adapters.ieee2030_5.client.der_control import read_control
from gridspine.adapters.ieee2030_5.der_program import ACTIVE, CANCELLED, SCHEDULED, SUPERSEDED, assignments
from gridspine.adapters.ieee2030_5.resources import der_control
from gridspine.adapters.ieee2030_5.settings import Settings
from gridspine.adapters.ieee2030_5.wire import decode
from gridspine.energy.control import Control
from gridspine.energy.envelope import Envelope, EnvelopeInterval
from gridspine.energy.followed import Followed, Part
from gridspine.energy.programme import Programme
from gridspine.energy.programme_enrolment import ProgrammeEnrolment
from gridspine.energy.programme_event import EventInterval, ProgrammeEvent, drawn, span
from gridspine.energy.site import Site
from gridspine.kernel.time import MAX_US, US

NOW_S = 1_700_000_000
LIMIT, MODES = Control(export_limit_w=1500.0), ("exportLimitW", "connect")


def event(id_, from_s, until_s, *, control=LIMIT, created_s=0, **more):
    intervals = (EventInterval((NOW_S + from_s) * US, (NOW_S + until_s) * US, control=control),)
    return ProgrammeEvent(
        id=id_, programme="p", organisation="o", title="t", intervals=intervals, **more,
        created_us=(NOW_S + created_s) * US,
    )  # fmt: skip


def followed(*events, modes=MODES, **more):
    programme = Programme(id="p", organisation="o", title="P", modes=modes, primacy=3)
    enrolment = ProgrammeEnrolment(
        id="e", programme="p", owner="o", organisation="o", subject="s", kind="site", from_us=0, until_us=MAX_US,
        modes=modes, state="active",
    )  # fmt: skip
    return Followed(parts=(Part(enrolment, programme, tuple(events)),), **more)


def statuses(*events, now_s=0):
    (one,) = assignments(followed(*events), (NOW_S + now_s) * US, 1)
    return {control.event: control.status for program in one.programs for control in program.controls}


def test_time_alone_moves_a_control() -> None:
    one = event("a", 10, 20)
    assert [statuses(one, now_s=at).get("a") for at in (0, 10, 19, 20)] == [SCHEDULED, ACTIVE, ACTIVE, None]


def test_superseded_from_when_a_better_one_begins() -> None:
    older, newer = event("a", 100, 200), event("b", 50, 300, created_s=1)
    assert statuses(older, newer) == {"a": SCHEDULED, "b": SCHEDULED}
    assert statuses(older, newer, now_s=60) == {"a": SUPERSEDED, "b": ACTIVE}


def test_a_part_that_is_left_is_not_superseded() -> None:
    older, newer = event("a", 0, 200), event("b", 50, 100, created_s=1)
    (one,) = assignments(followed(older, newer), (NOW_S + 60) * US, 1)
    first = next(control for control in one.programs[0].controls if control.event == "a")
    assert (first.status, first.potentially_superseded) == (ACTIVE, True)
    other = event("c", 0, 300, control=Control(connect=False), created_s=2)
    assert statuses(older, other)["a"] == ACTIVE, "another mode is not in its way"


def test_cancelled_stays_listed_until_it_would_have_been_over() -> None:
    gone = event("a", -10, 100, cancelled_us=NOW_S * US, reason="no need")
    assert statuses(gone) == {"a": CANCELLED}
    assert statuses(gone, now_s=100) == {}
    assert statuses(event("a", -10, 100, cancelled_us=NOW_S * US, reason="superseded by b")) == {"a": SUPERSEDED}


def test_a_programme_that_commands_nothing_has_no_program() -> None:
    (one,) = assignments(followed(modes=()), NOW_S * US, 1)
    assert one.programs == ()


def test_envelopes_are_never_looser_than_their_site() -> None:
    site = Site(id="s", organisation="o", title="S", export_limit_w=1000.0)
    intervals = (EnvelopeInterval(NOW_S * US, (NOW_S + 60) * US, Control(export_limit_w=5000.0)),)
    envelope = Envelope(id="v", site="s", organisation="o", title="E", intervals=intervals, default=LIMIT)
    (one,) = assignments(Followed(site, (envelope,)), NOW_S * US, 7)
    assert [program.default.export_limit_w for program in one.programs] == [1000.0]
    assert [control.control.export_limit_w for program in one.programs for control in program.controls] == [1000.0]


def enveloped(envelopes, at_us, **site):
    made = Site(id="s", organisation="o", title="S", **site)
    ((program,),) = (one.programs for one in assignments(Followed(made, tuple(envelopes)), at_us, 1))
    return program


_SPANS = st.lists(
    st.tuples(st.integers(0, 9), st.integers(1, 9), st.sampled_from([0.0, 500.0, 1500.0, None])), max_size=4
)


@given(
    st.lists(st.tuples(_SPANS, st.sampled_from([None, 900.0, 3000.0])), min_size=1, max_size=4),
    st.sampled_from([None, 1000.0]), st.integers(0, 60),
)  # fmt: skip
def test_of_several_envelopes_the_tightest_limit_is_told_at_every_moment(drawn, own_w, at_s) -> None:
    envelopes = []
    for number, (spans, default_w) in enumerate(drawn):
        intervals, end_s = [], NOW_S
        for gap_s, lasts_s, limit_w in spans:
            begin_s, end_s = end_s + gap_s, end_s + gap_s + lasts_s
            intervals.append(EnvelopeInterval(begin_s * US, end_s * US, Control(export_limit_w=limit_w)))
        default = Control(export_limit_w=default_w)
        one = Envelope(id=f"v{number}", site="s", organisation="o", title="E", default=default)
        envelopes.append(replace(one, intervals=tuple(intervals)))
    at_us = (NOW_S + at_s) * US
    program = enveloped(envelopes, at_us, export_limit_w=own_w)
    limits = [one.layer(at_us, at_us + US)[0].control.export_limit_w for one in envelopes]
    expected = min((one for one in [*limits, own_w] if one is not None), default=None)
    running = [one for one in program.controls if one.from_us <= at_us < one.until_us]
    assert len(running) <= 1
    told = running[0].control if running else program.default
    assert told.export_limit_w == expected
    assert [one.status for one in running] == [ACTIVE] * len(running)
    again = enveloped(envelopes, at_us + US, export_limit_w=own_w).controls
    before = {one.names: one[:5] for one in program.controls}
    assert all(before[one.names] == one[:5] for one in again), "time alone neither moves nor renames any"


def test_one_envelope_is_told_interval_by_interval() -> None:
    same = [EnvelopeInterval((NOW_S + at) * US, (NOW_S + at + 60) * US, LIMIT) for at in (0, 60, 120)]
    envelope = Envelope(id="v", site="s", organisation="o", title="E", intervals=tuple(same))
    program = enveloped([envelope], (NOW_S + 70) * US)
    assert [(one.from_us, one.until_us) for one in program.controls] == [
        (one.from_us, one.until_us) for one in same[1:]
    ]


def test_a_control_of_limits_has_another_name_when_they_change() -> None:
    interval = EnvelopeInterval(NOW_S * US, (NOW_S + 60) * US, LIMIT)
    envelope = Envelope(id="v", site="s", organisation="o", title="E", intervals=(interval,))
    changes = [{}, {"export_limit_w": 100.0, "version": 2}]
    names = {enveloped([envelope], NOW_S * US, **more).controls[0].key for more in changes}
    later = Envelope(id="v", site="s", organisation="o", title="E", default=LIMIT, intervals=(interval,), version=2)
    assert len(names | {enveloped([later], NOW_S * US).controls[0].key}) == 3


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(1, 60), st.booleans()), max_size=8), st.integers(-60, 120))
def test_something_always_holds_where_anything_was_asked(spans, now_s) -> None:
    events = [
        event(str(at), from_s, from_s + lasts_s, created_s=at, **({"cancelled_us": 1} if cancelled else {}))
        for at, (from_s, lasts_s, cancelled) in enumerate(spans)
    ]
    found = statuses(*events, now_s=now_s)
    running = {str(at) for at, (a, lasts, gone) in enumerate(spans) if a <= now_s < a + lasts and not gone}
    if running:
        assert ACTIVE in {found[one] for one in running}
    assert all(found[one] != CANCELLED for one in running)


@given(st.floats(0, 200), st.floats(0, 200), st.booleans(), st.sampled_from([(), (600,), (900,)]))
def test_a_device_begins_and_ends_by_chance_as_the_event_means(start_s, end_s, keeps_length, follows) -> None:
    """A device draws anything between what its control says; what the event lets anyone do is never left."""
    one = event("a", 0, 600, randomise_start_s=start_s, randomise_duration_s=end_s, randomise_keeps_length=keeps_length)
    more = tuple(EventInterval((NOW_S + at) * US, (NOW_S + at + 600) * US, control=LIMIT) for at in follows)
    one = replace(one, intervals=(*one.intervals, *more))
    (assigned,) = assignments(followed(one), (NOW_S - 1) * US, 1)
    for at, told in enumerate(assigned.programs[0].controls):
        seen = read_control(decode(der_control(Settings(pen=1), told, "/c", "/rsp").document("1.2")), 0)
        assert seen.problem == 0
        range_s = (seen.randomise_start_s, seen.randomise_duration_s)
        if follows == (600,) or (start_s and not keeps_length):
            assert range_s == (0, 0)
            begin_us, end_us = span(one, at, drawn(one, "e"))
            assert 0 <= begin_us - seen.from_us < US
            assert 0 <= seen.until_us - end_us < US
        else:
            assert range_s == (int(start_s), int(end_s))
            assert (seen.from_us, seen.until_us) == (one.intervals[at].from_us, one.intervals[at].until_us)
