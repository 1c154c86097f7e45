"""Settlement lines: what one bid comes to, from two register records, in exact numbers; pure, and made again by anyone.

::

    start record   import 81 240.5   export 12.0        import  = 81 940.5 - 81 240.5 =    700 Wh
    end record     import 81 940.5   export 1 512.0     export  =  1 512.0 -     12.0 =  1 500 Wh
    baseline                             1 200 Wh       net     =                        - 800 Wh
    shed           delivered = 1 200 - (-800)           =  2 000 Wh, of 2 000 Wh bid
    amount         2 kWh · 0.25 EUR                     =  0.50 EUR: 50 minor units, half to even

A register that fell started again from 0 at its roll-over, or its meter was exchanged, and both meters' readings are
known; a fall that neither explains settles nothing. A register that is missing settles nothing, and the line says so.
"""

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import Literal

import msgspec

from gridspine.energy.bid import WH_OF, Bid, price_of
from gridspine.energy.register_record import RegisterReading, RegisterRecord, exact, interpolated, serves
from gridspine.kernel.errors import Invalid
from gridspine.things.meter_exchange import Exchange

Outcome = Literal["settled", "estimated", "unsettled"]
_DIGITS = 60
_ROLLED = Decimal("0.5")
"""The part of a register's range that a fall by roll-over is larger than: less is not believed to be one."""


class MeterExchanged(msgspec.Struct, frozen=True, rename="camel"):
    """A meter was exchanged at ``at_us`` [µs since 1970]; of each register the last and first value, exact decimals.

    ``event`` is the ledger's event by which it was noted.
    """

    at_us: int
    final: dict[str, str]
    first: dict[str, str]
    event: str


def exchanged(one: Exchange) -> MeterExchanged:
    """Return an exchange as a line tells it."""
    final, first = ({name: exact(value) for name, value in values.items()} for values in (one.final, one.first))
    return MeterExchanged(one.at_us, final, first, one.event)


class SettlementLine(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What ``bid`` comes to by the records ``start`` and ``end``.

    Energies are exact decimals [Wh], "" where not settled. ``amount_minor`` is what ``buyer`` owes ``organisation`` in
    units of 10^-``minor_digits`` of ``currency``. ``reason`` says why nothing is settled. ``number`` counts
    corrections; ``supersedes`` is the line that it takes the place of. ``quality`` is that of all readings together.
    """

    id: str
    organisation: str
    buyer: str
    bid: str
    programme: str
    meter: str
    from_us: int
    until_us: int
    start: str
    end: str
    outcome: Outcome
    reason: str = ""
    import_wh: str = ""
    export_wh: str = ""
    baseline_wh: int = 0
    delivered_wh: str = ""
    paid_wh: str = ""
    price: str = ""
    currency: str = ""
    minor_digits: int = 2
    amount_minor: int = 0
    quality: int = 0
    exchanges: tuple[MeterExchanged, ...] = ()
    number: int = 0
    supersedes: str = ""
    made_us: int = 0
    version: int = 1

    @property
    def amount(self) -> str:
        """The amount in its currency, as people read it."""
        return f"{Decimal(self.amount_minor).scaleb(-self.minor_digits):.{self.minor_digits}f} {self.currency}"

    def same(self, other: "SettlementLine") -> bool:
        """Whether it comes to the same, from the same records."""
        fields = {"id": "", "number": 0, "supersedes": "", "made_us": 0, "version": 0}
        return msgspec.structs.replace(self, **fields) == msgspec.structs.replace(other, **fields)


def settle(
    bid: Bid, start: RegisterRecord, end: RegisterRecord, exchanges: Sequence[MeterExchanged] = (), *, id: str = "",
    number: int = 0, supersedes: str = "", made_us: int = 0,
) -> SettlementLine:  # fmt: skip
    """Return the line of an accepted ``bid``; nothing but its arguments counts."""
    within = tuple(one for one in exchanges if _touches(bid, start, end, one))
    line = SettlementLine(
        id=id, organisation=bid.organisation, buyer=bid.buyer, bid=bid.id, programme=bid.programme, meter=bid.meter,
        from_us=bid.from_us, until_us=bid.until_us, start=start.id, end=end.id, outcome="unsettled",
        baseline_wh=bid.baseline_wh, price=bid.price, currency=bid.currency, minor_digits=bid.minor_digits,
        exchanges=within, number=number, supersedes=supersedes, made_us=made_us,
    )  # fmt: skip
    missing = [f"{name} at the {one.which}" for one in (start, end) for name in bid.registers if one.of(name) is None]
    if missing:
        return msgspec.structs.replace(line, reason=f"nothing is known of {' and of '.join(missing)}")
    try:
        with localcontext() as context:
            context.prec = _DIGITS
            return _settled(bid, line, start, end)
    except Invalid as error:
        return msgspec.structs.replace(line, reason=error.detail)


def _settled(bid: Bid, line: SettlementLine, start: RegisterRecord, end: RegisterRecord) -> SettlementLine:
    import_wh = counted_wh(bid.import_register, start, end, line.exchanges)
    export_wh = counted_wh(bid.export_register, start, end, line.exchanges) if bid.export_register else Decimal(0)
    net_wh = import_wh - export_wh
    delivered_wh = bid.baseline_wh - net_wh if bid.direction == "shed" else net_wh - bid.baseline_wh
    paid_wh = min(max(delivered_wh, Decimal(0)), Decimal(bid.energy_wh))
    owed = paid_wh / 1000 * price_of(bid.price)
    minor = owed.scaleb(bid.minor_digits).quantize(Decimal(1), rounding=ROUND_HALF_EVEN)
    readings = [*start.readings, *end.readings]
    quality = 0
    for one in readings:
        quality |= one.quality
    return msgspec.structs.replace(
        line, outcome="estimated" if any(one.estimated for one in readings) else "settled", quality=quality,
        import_wh=_text(import_wh), export_wh=_text(export_wh), delivered_wh=_text(delivered_wh),
        paid_wh=_text(paid_wh), amount_minor=int(minor),
    )  # fmt: skip


def counted_wh(point: str, start: RegisterRecord, end: RegisterRecord, exchanges: Sequence[MeterExchanged]) -> Decimal:
    """Return what a register counted between two records [Wh]; raise `Invalid` for a fall that nothing explains."""
    first, last = start.of(point), end.of(point)
    assert first is not None
    assert last is not None
    if first.unit != last.unit or last.observed_us < first.observed_us:
        raise Invalid(f"{point}: its unit changed between the two instants, or they are one")
    total, before = Decimal(0), Decimal(first.value)
    for one in sorted(exchanges, key=lambda one: one.at_us):
        if point in one.final and first.observed_us < one.at_us <= last.observed_us:
            total += _risen(point, before, Decimal(one.final[point]), first.rollover)
            before = Decimal(one.first[point])
    total += _risen(point, before, Decimal(last.value), first.rollover)
    return total * WH_OF[first.unit]


def _risen(point: str, before: Decimal, after: Decimal, rollover: str) -> Decimal:
    if after >= before:
        return after - before
    if rollover and before - after > _ROLLED * Decimal(rollover):
        return Decimal(rollover) - before + after
    raise Invalid(f"{point}: it fell from {before:f} to {after:f}, and neither a roll-over nor an exchange explains it")


def _touches(bid: Bid, start: RegisterRecord, end: RegisterRecord, one: MeterExchanged) -> bool:
    pairs = [(start.of(name), end.of(name)) for name in bid.registers]
    return any(first and last and first.observed_us < one.at_us <= last.observed_us for first, last in pairs)


def _text(value: Decimal) -> str:
    return f"{value.normalize():f}" if value else "0"


def check_record(bid: Bid, record: RegisterRecord) -> None:
    """Raise `Invalid` where ``bid`` cannot be settled by a record: it is another's, or an estimate by no rule."""
    at_us = bid.from_us if record.which == "start" else bid.until_us
    if (record.bid, record.meter, record.at_us) != (bid.id, bid.meter, at_us):
        raise Invalid(f"the record of the {record.which} is another bid's, or of another instant")
    for one in record.readings:
        _check_reading(bid, record, one)


def _check_reading(bid: Bid, record: RegisterRecord, one: RegisterReading) -> None:
    where = f"{one.point} at the {record.which}"
    sampled = [sample.quality for sample in one.between] if one.method == "interpolated" else [one.quality]
    if not all(serves(quality, record.which) for quality in sampled):
        raise Invalid(f"{where}: its quality is too bad to settle anything by")
    if one.estimated and bid.estimate == "none":
        raise Invalid(f"{where}: it is an estimate, and the bid agreed to none")
    if one.method == "interpolated":
        if len(one.between) != 2 or interpolated(*one.between, record.at_us) != one.value:
            raise Invalid(f"{where}: it does not lie on the line between the two readings that it names")
        if max(abs(s.observed_us - record.at_us) for s in one.between) > bid.wait_s * 1_000_000:
            raise Invalid(f"{where}: the readings that it lies between are further away than the bid allows")
    elif abs(one.observed_us - record.at_us) > bid.tolerance_s * 1_000_000:
        raise Invalid(f"{where}: it was read further away than the bid allows")
    elif (one.method == "exact") != (one.observed_us == record.at_us):
        raise Invalid(f"{where}: it is called {one.method}, and was not read then")


def check_line(
    bid: Bid, line: SettlementLine, start: RegisterRecord, end: RegisterRecord, exchanges: Sequence[MeterExchanged]
) -> None:
    """Raise `Invalid`, saying what differs, unless ``line`` is just what bid, records and exchanges come to."""
    if bid.state != "accepted":
        raise Invalid(f"the bid is {bid.state}: nothing is owed for it")
    if (start.which, end.which) != ("start", "end"):
        raise Invalid("a record of the start and one of the end are needed")
    check_record(bid, start)
    check_record(bid, end)
    again = settle(bid, start, end, exchanges, id=line.id, number=line.number, supersedes=line.supersedes,
                   made_us=line.made_us)  # fmt: skip
    again = msgspec.structs.replace(again, version=line.version)
    for name in SettlementLine.__struct_fields__:
        said, found = getattr(line, name), getattr(again, name)
        if said != found:
            raise Invalid(f"{name}: the line says {said!r}, the registers come to {found!r}")
