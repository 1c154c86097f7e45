"""Bids: so much energy less, or more, at a meter in a time, for a price; offered by one, accepted by another.

::

    offered ─┬─► accepted ─► from ──── until ─► settled from the meter's registers at both
             ├─► refused, withdrawn
             └─► lapsed: nobody accepted it before it began; by the clock, without anyone's help

    delivered = baseline - (import - export)         shed: less taken, or more given, than the baseline
    delivered = (import - export) - baseline         raise

The baseline is what the bid declares, and who accepts the bid accepts it: no other method is known here. Nothing is
commanded by a bid; how it is delivered is its owner's doing. Less than was bid is paid as far as it was delivered, more
is not paid, and nothing is taken for a shortfall.
Source: none; the flex offer of MIRABEL in spirit, with one profile and no choice in it.
"""

from decimal import Decimal, InvalidOperation
from typing import Literal, get_args

import msgspec

from gridspine.kernel.errors import Conflict, Invalid
from gridspine.kernel.ids import check_urn
from gridspine.kernel.time import MAX_US, US
from gridspine.things.model import PointModel, ThingModel

Direction = Literal["shed", "raise"]
State = Literal["offered", "accepted", "refused", "withdrawn"]
Status = Literal["offered", "lapsed", "accepted", "refused", "withdrawn", "running", "awaiting-settlement"]
Estimate = Literal["none", "interpolate"]
Verb = Literal["accept", "refuse", "withdraw"]
MAX_WH, MAX_DIGITS = 10**12, 4
MAX_LENGTH_US, MAX_AHEAD_US = 31 * 86_400 * US, 366 * 86_400 * US
MAX_WAIT_S = 7 * 86_400
WH_OF: dict[str, Decimal] = {"Wh": Decimal(1), "kWh": Decimal(1000), "MWh": Decimal(1_000_000)}
"""What one unit of a register is [Wh], exactly."""
_AFTER: dict[Verb, State] = {"accept": "accepted", "refuse": "refused", "withdraw": "withdrawn"}


class Bid(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A bid of ``organisation`` to ``buyer``, who runs ``programme``; ``event`` is one of its events, "" for none.

    ``energy_wh`` [Wh] is what is bid, ``baseline_wh`` [Wh, import positive] what would flow at ``meter`` in
    ``[from_us, until_us)`` without it. ``price`` is a decimal number per kWh in ``currency`` (ISO 4217), which has
    ``minor_digits`` digits after the point. A register is read at most ``tolerance_s`` [s] beside an instant;
    ``wait_s`` [s] is how long a missing one is waited for, and how far the readings lie apart from it at most between
    which it is estimated, where ``estimate`` says so.
    """

    id: str
    organisation: str
    buyer: str
    programme: str
    title: str
    meter: str
    import_register: str
    export_register: str = ""
    event: str = ""
    from_us: int
    until_us: int
    direction: Direction
    energy_wh: int
    baseline_wh: int
    price: str
    currency: str
    minor_digits: int = 2
    tolerance_s: int = 10
    wait_s: int = 900
    estimate: Estimate = "none"
    state: State = "offered"
    created_us: int = 0
    by: str = ""
    decided_us: int = 0
    decided_by: str = ""
    reason: str = ""
    version: int = 1

    def check(self, now_us: int) -> None:
        """Raise `Invalid` naming the field that is wrong."""
        if not 0 < len(self.title.strip()) <= 200:
            raise Invalid("title: 1 to 200 characters are needed")
        check_urn(self.meter)
        for name, value, allowed in (("direction", self.direction, Direction), ("estimate", self.estimate, Estimate)):
            if value not in get_args(allowed):
                raise Invalid(f"{name}: one of {', '.join(get_args(allowed))} is needed")
        if not now_us < self.from_us < self.until_us <= MAX_US:
            raise Invalid("from, until: it must begin after now, and end after it begins")
        if self.until_us - self.from_us > MAX_LENGTH_US or self.from_us - now_us > MAX_AHEAD_US:
            raise Invalid("from, until: it lasts 31 days at most, and begins within a year")
        if not 0 < self.energy_wh <= MAX_WH:
            raise Invalid("energyWh: a whole number of Wh, more than 0, is needed")
        if abs(self.baseline_wh) > MAX_WH:
            raise Invalid("baselineWh: a whole number of Wh, import positive, is needed")
        self._check_money()
        if not 1 <= self.wait_s <= MAX_WAIT_S or not 0 <= self.tolerance_s <= self.wait_s:
            raise Invalid(f"toleranceS, waitS: seconds; waitS at most {MAX_WAIT_S}, toleranceS no more than waitS")
        if 2 * self.tolerance_s * US >= self.until_us - self.from_us:
            raise Invalid("toleranceS: less than half of the bid's time, else one reading could be both registers")

    def _check_money(self) -> None:
        if len(self.currency) != 3 or not (
            self.currency.isascii() and self.currency.isalpha() and self.currency.isupper()
        ):
            raise Invalid("currency: three capital letters of ISO 4217 are needed")
        if not 0 <= self.minor_digits <= MAX_DIGITS:
            raise Invalid(f"minorDigits: 0 to {MAX_DIGITS}")
        price_of(self.price)

    @property
    def registers(self) -> tuple[str, ...]:
        """The points whose readings it is settled by: import, and export where the meter has it."""
        return tuple(name for name in (self.import_register, self.export_register) if name)

    def status(self, now_us: int) -> Status:
        """Return how it stands at ``now_us`` [µs since 1970]."""
        if self.state == "offered":
            return "offered" if now_us < self.from_us else "lapsed"
        if self.state != "accepted" or now_us < self.from_us:
            return self.state
        return "running" if now_us < self.until_us else "awaiting-settlement"

    def decided(self, verb: Verb, by: str, now_us: int, reason: str) -> "Bid":
        """Return it after ``verb``; raise `Conflict` when it was decided, or has begun."""
        status = self.status(now_us)
        if status != "offered":
            raise Conflict(f"the bid is {status}: it can only be {_AFTER[verb]} while it is offered, before it begins")
        return msgspec.structs.replace(
            self, state=_AFTER[verb], decided_us=now_us, decided_by=by, reason=reason[:500]
        )  # fmt: skip


def price_of(text: str) -> Decimal:
    """Return a price; raise `Invalid` for what is no plain decimal number. It may be negative."""
    try:
        price = Decimal(text) if len(text) <= 24 and text.isascii() else Decimal("NaN")
    except InvalidOperation:
        price = Decimal("NaN")
    exponent = price.as_tuple().exponent
    if not price.is_finite() or "e" in text.lower() or "_" in text or not isinstance(exponent, int) or exponent < -8:
        raise Invalid("price: a decimal number per kWh is needed, as text, with at most 8 digits after the point")
    if abs(price) > 10**9:
        raise Invalid("price: it is too large")
    return price


def registers_of(model: ThingModel) -> tuple[str, str]:
    """Return the points of a model that are its registers of active energy: import, and export or "".

    Raises `Invalid` where there is none of import, or it cannot be told which one.
    """
    found: dict[str, list[PointModel]] = {"import": [], "export": []}
    for point in model.points:
        kind = point.reading_type
        whole = kind.kind == "register" and kind.commodity == "electricity" and kind.phase == "all"
        if whole and kind.unit in WH_OF and kind.flow in found:
            found[kind.flow].append(point)
    names = []
    for flow, points in found.items():
        wanted = f"activeEnergy{flow.capitalize()}"
        chosen = [one for one in points if one.name == wanted] or points
        if len(chosen) > 1:
            raise Invalid(f"meter: its model has {len(chosen)} registers of {flow}, and none is called {wanted}")
        names.append(chosen[0].name if chosen else "")
    if not names[0]:
        raise Invalid(f"meter: its model has no register of energy imported in {', '.join(WH_OF)}")
    return names[0], names[1]
