"""The form of a twin: *adapter*, it talks to the device; or *emulator*, it behaves like it. One address either way.

::

            leases at the device end        leases at the emulator end
    adapter ───────────────────────► emulator ───────────────────────► adapter
            orders from here on             orders from here on
            go to the emulator              go to the wire again

An order belongs to the form it was made under: each change notes, for each point, the last sequence number before it.
So an order made for a device never reaches the emulator, and one made for the emulator never reaches a wire, whoever
starts again in between. What a wire may still have to be told, the end of a lease, goes on being told to it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import msgspec

from gridspine.things.adapter import Order

Form = Literal["adapter", "emulator"]
EMULATOR = ":emulator"
"""Under this name the orders for emulated Things are taken; no adapter is called so."""


class TwinForm(msgspec.Struct, frozen=True, rename="camel"):
    """The form of one Thing's twin since ``since_us`` [µs since 1970], by whom and why.

    In emulator form it is device number ``place`` of ``cohort``. ``before``: for each point the sequence of the last
    order made before this form, and ``under`` the form it was made under; ``owed``: orders that were with the wire when
    the twin became an emulator.
    """

    thing: str
    organisation: str
    form: Form
    since_us: int
    by: str
    reason: str
    cohort: str = ""
    place: int = 0
    before: Mapping[str, int] = {}
    under: Mapping[str, Form] = {}
    owed: tuple[Order, ...] = ()


class Cohort(msgspec.Struct, frozen=True, rename="camel"):
    """Twins of one model that are emulated together, from one seed: ``things`` by their place.

    ``step_s`` [s] is how often they report. ``external`` ones are emulated by somebody outside, who sends emulated
    readings; the node only keeps their orders from the wire.
    """

    id: str
    organisation: str
    model: str
    things: tuple[str, ...]
    seed: int
    step_s: float
    external: bool = False


class Forms:
    """The forms of all twins; those never changed are adapters and take no room."""

    def __init__(self) -> None:
        self._forms: dict[str, TwinForm] = {}

    def __len__(self) -> int:
        return len(self._forms)

    def __iter__(self) -> Iterator[TwinForm]:
        return iter(self._forms.values())

    def get(self, thing: str) -> TwinForm | None:
        """Return the form of a twin that was ever changed."""
        return self._forms.get(thing)

    def of(self, thing: str) -> Form:
        """Return the form of a twin."""
        known = self._forms.get(thing)
        return "adapter" if known is None else known.form

    def put(self, forms: Iterable[TwinForm]) -> None:
        """Let twins have these forms from now on."""
        for form in forms:
            self._forms[form.thing] = form

    def taker(self, order: Order, adapter: str) -> str:
        """Return who an order is for: ``adapter``, which serves its Thing, or the emulator."""
        known = self._forms.get(order.thing)
        if known is None:
            return adapter
        earlier = order.sequence <= known.before.get(order.point, 0)
        form = known.under[order.point] if earlier else known.form
        return EMULATOR if form == "emulator" else adapter

    def owed(self, now_us: int) -> list[Order]:
        """Return the orders that wires may still have to be told, though their twins went on in another form."""
        return [order for form in self._forms.values() for order in form.owed if order.until_us > now_us]


def changed(
    before: TwinForm | None, thing: str, organisation: str, form: Form, orders: Iterable[Order], now_us: int, *,
    by: str, reason: str, cohort: str = "", place: int = 0,
) -> TwinForm:  # fmt: skip
    """Return a twin's new form; ``orders`` are the last ones ever made for each of its points, in force or not."""
    known = before or TwinForm(thing, organisation, "adapter", 0, "", "")
    floors, under = dict(known.before), dict(known.under)
    owed = {order.point: order for order in known.owed if order.until_us > now_us}
    for order in orders:
        if order.sequence > floors.get(order.point, 0):
            floors[order.point], under[order.point] = order.sequence, known.form
            if known.form == "adapter":
                owed.pop(order.point, None)
                if order.until_us > now_us:
                    owed[order.point] = order
    return TwinForm(
        thing, organisation, form, now_us, by, reason, cohort, place, floors, under, tuple(owed.values())
    )  # fmt: skip
