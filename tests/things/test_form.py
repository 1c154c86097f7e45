"""Forms: an order is carried out by the form it was made under, whatever changes and starts again in between."""

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gridspine.things.adapter import Order
from gridspine.things.form import EMULATOR, Forms, TwinForm, changed

THING, POINTS = "urn:x:t", ("a", "b")


class Twin(RuleBasedStateMachine):
    """Orders and changes of form in any order; the last order of each point is what may be sent again."""

    def __init__(self) -> None:
        super().__init__()
        self.forms, self.now_us = Forms(), 1_000
        self.last: dict[str, Order] = {}
        self.made: dict[tuple[str, int], str] = {}
        self.until_us: dict[tuple[str, int], int] = {}

    @rule(point=st.sampled_from(POINTS), lasts=st.integers(1, 50), ends=st.booleans())
    def order(self, point: str, lasts: int, ends: bool) -> None:
        sequence = self.last[point].sequence + 1 if point in self.last else 1
        value = None if ends else 1.0
        self.last[point] = Order("c", THING, point, value, self.now_us + lasts, 0.0, sequence)
        self.made[point, sequence] = self.forms.of(THING)
        self.until_us[point, sequence] = self.now_us + lasts

    @rule(passes=st.integers(1, 60))
    def time(self, passes: int) -> None:
        self.now_us += passes

    @rule(form=st.sampled_from(["adapter", "emulator"]))
    def change(self, form: str) -> None:
        if form != self.forms.of(THING):
            known = self.forms.get(THING)
            form = changed(known, THING, "org", form, self.last.values(), self.now_us, by="me", reason="")
            self.forms.put([msgspec.json.decode(msgspec.json.encode(form), type=TwinForm)])

    @invariant()
    def the_last_order_goes_where_it_was_made_for(self) -> None:
        for point, order in self.last.items():
            wanted = EMULATOR if self.made[point, order.sequence] == "emulator" else "wire"
            assert self.forms.taker(order, "wire") == wanted

    @invariant()
    def what_a_wire_is_still_owed_was_made_for_it_and_is_not_over(self) -> None:
        for order in self.forms.owed(self.now_us):
            assert self.made[order.point, order.sequence] == "adapter"
            assert order.until_us > self.now_us

    @invariant()
    def the_last_order_of_a_wire_is_owed_to_it_while_the_twin_is_emulated(self) -> None:
        if self.forms.of(THING) == "emulator":
            owed = {(order.point, order.sequence) for order in self.forms.owed(self.now_us)}
            for point in self.last:
                mine = [sequence for (of, sequence), form in self.made.items() if of == point and form == "adapter"]
                if mine and self.until_us[point, max(mine)] > self.now_us:
                    assert (point, max(mine)) in owed


TestTwin = Twin.TestCase


def test_a_thing_whose_form_never_changed_takes_no_room() -> None:
    forms = Forms()
    order = Order("c", THING, "a", 1.0, 5, 0.0, 1)
    assert (forms.of(THING), forms.taker(order, "wire"), len(forms), forms.owed(0)) == ("adapter", "wire", 0, [])
