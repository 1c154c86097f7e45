"""Shares: no organisation fills the room of all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.kernel.errors import Overloaded
from gridspine.things.share import Shares


def fill(shares: Shares, thing: str, room: int = 1_000) -> int:
    """Enter as many as there is room for; how many."""
    for at in range(room):
        try:
            shares.check(thing, "places")
        except Overloaded:
            return at
        shares.enter(f"{thing}{at}", thing)
    raise AssertionError("it is never full")


@given(st.integers(10, 300))
def test_whoever_fills_it_leaves_room_for_others(room: int) -> None:
    shares = Shares(room, lambda thing: thing)
    first = fill(shares, "a")
    assert 0.7 * room <= first <= 0.9 * room
    assert fill(shares, "b"), "there is room for another"
    with pytest.raises(Overloaded):
        shares.check("a", "places")
    for at in range(first):
        shares.leave(f"a{at}")
    shares.leave("a0")
    shares.check("a", "places")


def test_what_belongs_to_nobody_known_fills_all_of_it_and_no_more() -> None:
    shares = Shares(5, lambda _thing: "")
    assert fill(shares, "a") == 5
    shares.check("a", "places", freed=1)
    with pytest.raises(Overloaded, match="5 places"):
        shares.check("a", "places", more=1, freed=1)


def test_who_has_no_id_of_its_own_is_given_one() -> None:
    shares = Shares(10, lambda organisation: organisation)
    places = [shares.place("a") for _ in range(8)]
    with pytest.raises(Overloaded, match="your organisation"):
        shares.check("a", "searches at a time")
    shares.check("b", "searches at a time")
    for place in places:
        shares.leave(place)
    assert len(shares) == 0
