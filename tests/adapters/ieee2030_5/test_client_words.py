"""What a utility's server says, read: controls, times, percentages; what is answered, and when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.adapters.ieee2030_5 import wire
from gridspine.adapters.ieee2030_5.client import reading
from gridspine.adapters.ieee2030_5.client.answer import FINAL, Standing, due, wanted
from gridspine.adapters.ieee2030_5.client.der_control import SeenProgram, read_control, read_program, with_last_good
from gridspine.adapters.ieee2030_5.client.held import holding
from gridspine.adapters.ieee2030_5.meter import read_usage_point, readings_of
from gridspine.energy.control import MAX_W, Control
from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import US

NOW_S = 1_700_000_000


def control(base, *, start=NOW_S, duration=600, mrid="AA", created=1, more=""):
    body = (
        f'<DERControl xmlns="{wire.SEP}" xmlns:c="https://csipaus.org/ns/v1.3" replyTo="/rsp" responseRequired="03">'
        f"<mRID>{mrid}</mRID><creationTime>{created}</creationTime>{more}<interval><duration>{duration}</duration>"
        f"<start>{start}</start></interval><DERControlBase>{base}</DERControlBase></DERControl>"
    )
    return wire.decode(body.encode())


def power(name, value, multiplier=0):
    return f"<{name}><multiplier>{multiplier}</multiplier><value>{value}</value></{name}>"


def random(start=0, duration=0):
    return f"<randomizeDuration>{duration}</randomizeDuration><randomizeStart>{start}</randomizeStart>"


def test_limits_targets_and_percentages_are_read() -> None:
    found = read_control(control(power("c:opModExpLimW", 15, 2) + "<rampTms>250</rampTms>"), 0)
    assert found.control == Control(export_limit_w=1500, ramp_s=2.5)
    assert read_control(control(power("opModTargetW", 300)), 0).control == Control(target_w=-300)
    assert read_control(control("<opModMaxLimW>2500</opModMaxLimW>"), 8000).control == Control(generation_limit_w=2000)
    assert read_control(control("<opModFixedW>-5000</opModFixedW>"), 8000).control == Control(target_w=4000)
    assert read_control(control("<opModConnect>false</opModConnect>"), 0).control == Control(connect=False)


@pytest.mark.parametrize(
    ("base", "problem"),
    [
        ("<opModMaxLimW>2500</opModMaxLimW>", 252), ("<opModVoltVar href='/c/1'/>", 252), ("<rampTms>1</rampTms>", 252),
        (power("c:opModExpLimW", -1), 253), (power("opModTargetW", 32767, 9), 253), (power("opModTargetW", 1, 10), 253),
        (power("opModTargetW", 40_000), 253), ("<opModConnect>maybe</opModConnect>", 253),
    ],
)  # fmt: skip
def test_what_cannot_be_followed_has_its_status(base, problem) -> None:
    found = read_control(control(base), 0)
    assert (found.problem, found.control) == (problem, Control())


@given(st.integers(0, 32767), st.integers(-9, 9))
def test_a_limit_beyond_all_limits_nothing_and_none_overflows(value, multiplier) -> None:
    found = read_control(control(power("c:opModImpLimW", value, multiplier)), 0)
    assert found.problem == 0
    assert found.control.import_limit_w == pytest.approx(min(value * 10.0**multiplier, MAX_W))


@given(st.integers(-300, 300), st.integers(-250, 250))
def test_chance_stays_between_what_was_asked_for(start, duration) -> None:
    found = read_control(control(power("c:opModImpLimW", 1), more=random(start, duration)), 0)
    assert found.from_us == (NOW_S + min(start, 0)) * US
    assert found.until_us == (NOW_S + max(start, 0) + 600 + max(duration, 0)) * US
    assert (found.randomise_start_s, found.randomise_duration_s) == (abs(start), abs(duration))
    assert found.problem == (253 if abs(start) + abs(duration) >= (found.until_us - found.from_us) / US else 0)


@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda t: f'<a xmlns="{wire.SEP}">{t}</a>'.encode()))
def test_any_document_is_a_control_or_invalid(body) -> None:
    try:
        read_control(wire.decode(body), 100.0)
    except Invalid:
        return


def program(mrid, primacy, *controls, default=""):
    given_ = f'<DERProgram xmlns="{wire.SEP}"><mRID>{mrid}</mRID><primacy>{primacy}</primacy></DERProgram>'
    held = f'<a xmlns="{wire.SEP}" xmlns:c="https://csipaus.org/ns"><DERControlBase>{default}</DERControlBase></a>'
    return read_program(wire.decode(given_.encode()), wire.decode(held.encode()), list(controls), 0)


def test_the_better_program_holds_mode_by_mode_and_the_newer_control_of_one() -> None:
    base = power("c:opModExpLimW", 100)
    first = program("01", 5, control(base, mrid="A1"), control(power("c:opModExpLimW", 50), mrid="A2", created=2))
    better = program("02", 1, control(power("c:opModImpLimW", 7), mrid="B1"), default=power("c:opModLoadLimW", 9))

    def span(one):
        return one.from_us, one.until_us

    now = holding([first, better], span, NOW_S * US)
    assert now.control == Control(export_limit_w=50, import_limit_w=7, load_limit_w=9)
    assert now.by == {"A2", "B1"}
    assert holding([first, better], span, (NOW_S + 600) * US).control == Control(load_limit_w=9)
    assert holding([SeenProgram("03", "", 1, Control())], span, 0).control == Control()


def stand(begin=0, end=10, **more):
    return Standing(begin, end, more.pop("held", True), **more)


@pytest.mark.parametrize(
    ("told", "stands", "now", "said"),
    [
        ([], stand(5), 0, [1]), ([], stand(), 0, [1, 2]), ([1], stand(), 3, [2]), ([1, 2], stand(), 10, [3]),
        ([1, 2], stand(gone=True), 3, [6]), ([1], stand(held=False), 3, [7]), ([1, 7], stand(held=False), 4, []),
        ([1, 2, 7], stand(held=False), 10, []), ([1, 2], stand(superseded=True), 3, [7]), ([], stand(), 10, [254]),
        ([1], stand(out=True), 3, [4]), ([1, 2, 4], stand(), 3, [5]), ([1, 2, 4], stand(out=True), 10, [8]),
        ([1, 4], stand(out=True), 10, [10]), ([], stand(problem=252), 0, [1, 252]),
        ([1, 2, 3], stand(gone=True), 3, []),
    ],
)  # fmt: skip
def test_responses_are_due_once_and_in_order(told, stands, now, said) -> None:
    assert list(due(told, stands, now)) == said


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans(), st.integers(0, 12)), max_size=12))
def test_nothing_is_answered_after_the_last_word(looks) -> None:
    told: list[int] = []
    for held, out, gone, now in sorted(looks, key=lambda one: one[3]):
        said = list(due(told, stand(3, 9, held=held, out=out, gone=gone), now))
        assert not (said and told and told[-1] in FINAL)
        told += said
    assert told.count(1) <= 1
    assert told.count(2) <= 1


def test_only_what_is_wanted_is_told() -> None:
    assert [status for status in (1, 2, 3, 4, 5, 6, 7, 252) if wanted(status, 0b101)] == [1, 4, 5]
    assert [status for status in (1, 2, 4, 252) if wanted(status, 0b010)] == [2, 252]
    assert not any(wanted(status, 0) for status in range(255))


@given(st.floats(-1e7, 1e7), st.sampled_from(sorted(reading.KINDS)))
def test_readings_that_are_written_are_read_by_the_other_side(value, point) -> None:
    value = abs(value) if reading.KINDS[point].register else value
    lfdi, made = "AB" * 20, {point: [reading.Read(NOW_S, 60, value)]}
    kinds = read_usage_point(
        wire.decode(reading.usage_point(lfdi, "t", "T", [point], site=True, every_s=60, pen=1).document("1.2")), "d"
    )
    assert kinds.site
    posted = wire.decode(reading.posted(lfdi, "t", made, every_s=60, pen=1).document("1.2"))
    (given_,) = posted.all("MirrorMeterReading")
    (found,) = readings_of(kinds.meters[0], given_, (NOW_S + 100) * US)
    assert found.point == point
    assert found.value == pytest.approx(value, abs=0.51 * 10 ** reading.KINDS[point].power)


def test_a_default_keeps_what_is_right_of_it() -> None:
    base = power("c:opModExpLimW", -1) + power("c:opModImpLimW", 70) + "<opModConnect>maybe</opModConnect>"
    assert program("01", 5, default=base).default == Control(import_limit_w=70)
    assert program("01", 5, default="<rampTms>1</rampTms>").default == Control()


def test_a_control_that_cannot_be_read_is_not_known_to_be_gone() -> None:
    base = power("c:opModExpLimW", 100)
    good, other = control(base, mrid="A1"), control(base, mrid="A2")
    before = program("01", 5, good, other)
    timeless = wire.decode(wire_text(good).replace(b"<interval>", b"<other>").replace(b"</interval>", b"</other>"))
    now = program("01", 5, timeless)
    assert (now.controls, now.unread) == ((), ("A1",))
    assert now.may_list(["A1"])
    assert not now.may_list(["A2"]), "which is listed no more"
    assert [one.mrid for one in with_last_good(now, before).controls] == ["A1"]
    nameless = program("01", 5, wire.decode(wire_text(good).replace(b"A1", b"?")))
    assert nameless.unread == ("",)
    assert nameless.may_list(["A2"]), "as it may be the one that has no name"
    assert [one.mrid for one in with_last_good(nameless, before).controls] == ["A1", "A2"]


def wire_text(element):
    """Return an element as it was written."""
    attributes = "".join(f' {name}="{value}"' for name, value in element.attributes.items())
    inner = element.text + "".join(wire_text(one).decode() for one in element.children)
    spaces = f' xmlns="{wire.SEP}" xmlns:csipaus="https://csipaus.org/ns"' if element.name == "DERControl" else ""
    return f"<{element.name}{spaces}{attributes}>{inner}</{element.name}>".encode()
