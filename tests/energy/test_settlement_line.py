"""Settlement lines: exact, the same whoever makes them, and by no reading that does not serve."""

from decimal import Decimal

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.energy.bid import Bid, price_of, registers_of
from gridspine.energy.models import load_models
from gridspine.energy.register_record import RegisterRecord, Samples, exact, reading_at
from gridspine.energy.settlement_line import MeterExchanged, check_line, settle
from gridspine.kernel.errors import Conflict, Invalid
from gridspine.kernel.quality import Quality
from gridspine.kernel.time import US

METER = load_models()["meter"]
IMPORT, EXPORT = (METER.point(name) for name in ("activeEnergyImport", "activeEnergyExport"))
FROM_US, UNTIL_US = 1_000_000 * US, 1_003_600 * US
wh = st.decimals(0, 10**7, places=3)


def bid(**more):
    fields = {
        "id": "urn:uuid:0", "organisation": "home", "buyer": "grid", "programme": "p", "title": "B",
        "meter": "urn:x:m", "import_register": "activeEnergyImport", "export_register": "activeEnergyExport",
        "from_us": FROM_US, "until_us": UNTIL_US, "direction": "shed", "energy_wh": 2_000, "baseline_wh": 1_200,
        "price": "0.25", "currency": "EUR", "state": "accepted", **more,
    }  # fmt: skip
    return Bid(**fields)


def samples(*rows):
    at, value, quality = zip(*rows, strict=True) if rows else ((), (), ())
    return Samples(np.array(at, np.int64), np.array(value, np.float64), np.array(quality, np.int64))


def record(asked, which, values, rollover=None, number=0):
    at_us = asked.from_us if which == "start" else asked.until_us
    found = []
    for point, value in zip((IMPORT, EXPORT), values, strict=True):
        kind = msgspec.structs.replace(point.reading_type, rollover=rollover)
        one = msgspec.structs.replace(point, reading_type=kind)
        if value is not None:
            found.append(reading_at(asked, one, which, samples((at_us, float(value), 0))))
    missing = tuple(p.name for p, value in zip((IMPORT, EXPORT), values, strict=True) if value is None)
    return RegisterRecord(id=f"{which}{number}", organisation="home", buyer="grid", bid=asked.id, meter=asked.meter,
                          which=which, at_us=at_us, readings=tuple(found), missing=missing)  # fmt: skip


@given(
    st.tuples(wh, wh), st.tuples(wh, wh), st.integers(-10_000, 10_000), st.integers(1, 10**6),
    st.decimals(-10, 10, places=4), st.sampled_from(["shed", "raise"]), st.integers(0, 4),
)  # fmt: skip
def test_a_line_is_exact_and_checks_against_itself(before, used, baseline_wh, energy_wh, price, direction, digits):
    asked = bid(
        baseline_wh=baseline_wh, energy_wh=energy_wh, price=f"{price:f}", direction=direction, minor_digits=digits
    )
    after = [Decimal(exact(float(a + b))) for a, b in zip(before, used, strict=True)]
    start, end = record(asked, "start", before), record(asked, "end", after)
    line = settle(asked, start, end, id="l")
    net = (after[0] - before[0]) - (after[1] - before[1])
    delivered = baseline_wh - net if direction == "shed" else net - baseline_wh
    paid = min(max(delivered, Decimal(0)), Decimal(energy_wh))
    assert (line.outcome, Decimal(line.delivered_wh), Decimal(line.paid_wh)) == ("settled", delivered, paid)
    owed = paid / 1000 * price * 10**digits
    assert abs(line.amount_minor - owed) <= Decimal("0.5"), "rounded once, at the end"
    check_line(asked, line, start, end, ())
    for change in ({"amount_minor": line.amount_minor + 1}, {"paid_wh": "1e9"}, {"outcome": "estimated"}):
        with pytest.raises(Invalid):
            check_line(asked, msgspec.structs.replace(line, **change), start, end, ())


@pytest.mark.parametrize(
    ("amount", "paid"), [(0, "0.5"), (2, "1.5"), (2, "2.5"), (-2, "-2.5"), (0, "-0.5")],
)  # fmt: skip
def test_half_a_cent_goes_to_the_even_one(amount, paid):
    asked = bid(baseline_wh=1_000, energy_wh=1_000, price=f"{Decimal(paid) / 100}")
    line = settle(asked, record(asked, "start", (0, 0)), record(asked, "end", (0, 0)))
    assert (line.amount_minor, line.delivered_wh) == (amount, "1000")


def test_a_missing_register_settles_nothing_and_is_named():
    asked = bid()
    line = settle(asked, record(asked, "start", (1, None)), record(asked, "end", (2, 3)))
    assert (line.outcome, line.amount_minor, line.paid_wh) == ("unsettled", 0, "")
    assert line.reason == "nothing is known of activeEnergyExport at the start"


def test_a_register_that_fell_rolled_over_or_was_exchanged_or_settles_nothing():
    asked = bid(export_register="")
    start, end = record(asked, "start", (99_990, 0), 100_000.0), record(asked, "end", (15, 0), 100_000.0)
    assert settle(asked, start, end).import_wh == "25"
    start, end = record(asked, "start", (1_000, 0)), record(asked, "end", (15, 0))
    line = settle(asked, start, end)
    assert (line.outcome, "neither a roll-over nor an exchange" in line.reason) == ("unsettled", True)
    exchange = MeterExchanged(FROM_US + 1, {"activeEnergyImport": "1010"}, {"activeEnergyImport": "5"}, "e")
    line = settle(asked, start, end, [exchange])
    assert (line.import_wh, line.exchanges) == ("20", (exchange,))
    check_line(asked, line, start, end, [exchange])
    with pytest.raises(Invalid):
        check_line(asked, line, start, end, [])
    before = MeterExchanged(FROM_US, {"activeEnergyImport": "1010"}, {"activeEnergyImport": "5"}, "e")
    assert settle(asked, start, end, [before]).outcome == "unsettled", "the start was read of the new meter already"


@pytest.mark.parametrize(
    ("rows", "estimate", "expected"),
    [
        ([(0, 5.0, 0)], "none", ("exact", "5")), ([(-3, 5.0, 0), (2, 6.0, 0)], "none", ("near", "6")),
        ([(-2, 5.0, 0), (2, 6.0, 0)], "none", ("near", "5")), ([(11, 5.0, 0)], "none", None),
        ([(0, 5.0, Quality.INVALID), (1, 6.0, 0)], "none", ("near", "6")),
        ([(0, 5.0, Quality.OLD_DATA)], "interpolate", None), ([(0, 5.0, Quality.TEST)], "interpolate", None),
        ([(0, 5.0, Quality.ESTIMATED)], "none", None), ([(0, 5.0, Quality.ESTIMATED)], "interpolate", ("exact", "5")),
        ([(-100, 5.0, 0), (300, 9.0, 0)], "none", None),
        ([(-100, 5.0, 0), (300, 9.0, 0)], "interpolate", ("interpolated", "6.000")),
        ([(-100, 5.0, 0), (300, 4.0, 0)], "interpolate", None), ([(-100, 5.0, 0)], "interpolate", None),
        ([(-901, 5.0, 0), (300, 9.0, 0)], "interpolate", None), ([], "interpolate", None),
    ],
)  # fmt: skip
def test_what_a_register_was_at_an_instant(rows, estimate, expected):
    asked = bid(estimate=estimate)
    found = reading_at(asked, IMPORT, "start", samples(*((FROM_US + s * US, v, int(q)) for s, v, q in rows)))
    assert (None if found is None else (found.method, found.value)) == expected


@given(st.lists(st.tuples(st.integers(-950, 950), st.floats(0, 1e6), st.sampled_from([0, 1, 3, 1 << 14])), max_size=8,
                unique_by=lambda row: row[0]),
       st.sampled_from(["none", "interpolate"]))  # fmt: skip
def test_every_reading_that_is_taken_passes_the_check_of_whoever_verifies(rows, estimate):
    asked = bid(estimate=estimate, export_register="")
    found = reading_at(asked, IMPORT, "start", samples(*sorted((FROM_US + s * US, v, q) for s, v, q in rows)))
    if found is None:
        assert not any(abs(s) <= asked.tolerance_s and q == 0 for s, _, q in rows)
        return
    start = msgspec.structs.replace(record(asked, "start", (0, 0)), readings=(found,))
    end = record(asked, "end", (10**7, 0))
    end = msgspec.structs.replace(end, readings=end.readings[:1])
    line = settle(asked, start, end)
    assert line.outcome == ("estimated" if found.estimated else "settled")
    check_line(asked, line, start, end, ())
    if found.estimated:
        with pytest.raises(Invalid):
            check_line(msgspec.structs.replace(asked, estimate="none"), line, start, end, ())


def test_a_bid_is_decided_once_and_before_it_begins():
    asked = bid(state="offered")
    assert asked.decided("accept", "b", FROM_US - 1, "").status(UNTIL_US) == "awaiting-settlement"
    assert asked.status(FROM_US) == "lapsed"
    for late in (asked.decided("refuse", "b", 0, ""), asked):
        with pytest.raises(Conflict):
            late.decided("accept", "b", FROM_US, "")


@pytest.mark.parametrize("text", ["", "x", "1e3", "NaN", "Infinity", "1_0", "0.000000001", "1" * 25, "-1E2", "9" * 12])
def test_a_price_is_a_plain_decimal(text):
    with pytest.raises(Invalid):
        price_of(text)


def test_registers_are_found_by_what_they_mean():
    assert registers_of(METER) == ("activeEnergyImport", "activeEnergyExport")
    assert registers_of(load_models()["battery"]) == ("activeEnergyImport", "activeEnergyExport")
    with pytest.raises(Invalid):
        registers_of(load_models()["thermostat"])
