"""Identifiers: URNs, point names, and UUIDs in order of time."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.infra.runtime.clock import VirtualClock, new_id, new_urn
from gridspine.kernel.errors import Invalid
from gridspine.kernel.ids import check_point_name, check_urn, point_id, split_point_id, uuid7


@given(st.integers(0, 2**48 * 1000 - 1), st.binary(min_size=10, max_size=10))
def test_uuid7_has_its_time_version_and_variant(now_us: int, random: bytes) -> None:
    made = uuid7(now_us, lambda _: random)
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == now_us // 1000


def test_ids_sort_by_time_and_repeat_with_their_seed() -> None:
    clock, again = VirtualClock(seed=4), VirtualClock(seed=4)
    first = new_id(clock)
    assert first == new_id(again)
    clock.step_wall(0.001)
    assert first < new_id(clock)
    assert check_urn(new_urn(clock)).startswith("urn:uuid:")


@pytest.mark.parametrize("good", ["urn:uuid:0", "urn:dev:ops:32473-meter-7", "urn:x-y:a%20b"])
def test_urns(good: str) -> None:
    assert check_urn(good) == good


@pytest.mark.parametrize(
    "bad", ["", "urn:", "urn:x:", "urn:dev:a/b", "urn:-x:a", "URN:uuid:0", "urn:dev:é", "urn:dev:a b", "urn:dev:a\n",
            "http://x", "urn:dev:" + "a" * 300]
)  # fmt: skip
def test_what_is_no_urn(bad: str) -> None:
    with pytest.raises(Invalid):
        check_urn(bad)


@given(st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,63}", fullmatch=True))
def test_point_ids_come_apart_as_they_were_put_together(name: str) -> None:
    urn = "urn:dev:ops:32473-meter-7"
    assert split_point_id(point_id(check_urn(urn), check_point_name(name))) == (urn, name)


@pytest.mark.parametrize("bad", ["", "1a", "a-b", "a/b", "é", "a" * 65, "a\n"])
def test_what_is_no_point_name(bad: str) -> None:
    with pytest.raises(Invalid):
        check_point_name(bad)


@given(st.text(max_size=400))
def test_any_text_is_checked_without_another_error(text: str) -> None:
    for check in (check_urn, check_point_name):
        try:
            assert check(text) == text
        except Invalid:
            continue
    split_point_id(text)
