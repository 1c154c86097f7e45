"""Readings of usage points as points, units and signs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.adapters.ieee2030_5 import meter, wire
from gridspine.kernel.errors import Invalid
from gridspine.kernel.quality import Quality
from gridspine.kernel.time import US

NOW_US = 1_700_000_100 * US


def kind(**fields):
    return meter.Meter("AA", fields)


def read(of, value, *, start=1_700_000_000, duration=60, flags=""):
    quality = f"<qualityFlags>{flags}</qualityFlags>" if flags else ""
    period = f"<timePeriod><duration>{duration}</duration><start>{start}</start></timePeriod>"
    reading = f"<mRID>AA</mRID><Reading>{quality}{period}<value>{value}</value></Reading>"
    body = f'<MirrorMeterReading xmlns="{wire.SEP}">{reading}</MirrorMeterReading>'
    (found,) = meter.readings_of(of, wire.decode(body.encode()), NOW_US)
    return found


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"uom": 38, "flowDirection": 1, "dataQualifier": 2}, ("activePower", "W", 1)),
        ({"uom": 38, "flowDirection": 19}, ("activePower", "W", -1)),
        ({"uom": 63, "flowDirection": 19, "phase": 128}, ("reactivePowerA", "var", -1)),
        ({"uom": 38, "dataQualifier": 8}, ("activePowerMaximum", "W", 1)),
        ({"uom": 29, "phase": 65}, ("voltageB", "V", 1)),
        ({"uom": 72, "flowDirection": 19, "accumulationBehaviour": 3}, ("activeEnergyExport", "Wh", 1)),
        ({"uom": 72, "flowDirection": 1}, ("activeEnergyImport", "Wh", 1)),
        ({"uom": 72}, None),
        ({"uom": 72, "flowDirection": 1, "accumulationBehaviour": 4}, None),
        ({"uom": 199}, None),
        ({}, None),
    ],
)
def test_the_table(fields, expected) -> None:
    assert meter.point_of(kind(**fields)) == expected


@given(st.integers(-meter.INT48 - 1, meter.INT48), st.integers(-9, 9), st.sampled_from([1, 19]))
def test_numbers_arrive_as_they_were_metered(value, power, flow) -> None:
    found = read(kind(uom=38, powerOfTenMultiplier=power, flowDirection=flow), value)
    exact = float(value * 10**power) if power >= 0 else value / 10**-power
    assert found.value == (exact if flow == 1 else -exact)
    assert (found.unit, found.observed_us) == ("W", 1_700_000_060 * US)


def test_a_number_beyond_48_bits_is_refused() -> None:
    with pytest.raises(Invalid):
        read(kind(uom=38), 3_000_000_000_000_000)


def test_quality_and_clocks() -> None:
    assert read(kind(uom=38), 1, flags="0010").quality == Quality.QUESTIONABLE
    assert read(kind(uom=38), 1, flags="0004").quality == Quality.ESTIMATED
    assert read(kind(uom=38), 1, flags="0003").quality == Quality.SUBSTITUTED
    ahead = read(kind(uom=38), 1, start=NOW_US // US - 5)
    assert (ahead.observed_us, ahead.quality) == (NOW_US, Quality.CLOCK_UNSYNCHRONISED)


def test_a_usage_point_is_whole() -> None:
    good = f"""<MirrorUsagePoint xmlns="{wire.SEP}"><mRID>01</mRID><roleFlags>0003</roleFlags>
      <serviceCategoryKind>0</serviceCategoryKind><status>1</status><deviceLFDI>{"A" * 40}</deviceLFDI>
      <MirrorMeterReading><mRID>02</mRID><ReadingType><uom>38</uom></ReadingType></MirrorMeterReading></MirrorUsagePoint>"""
    found = meter.read_usage_point(wire.decode(good.encode()), "k")
    assert found.site
    assert found.mrids == {"01", "02"}
    for bad in (
        good.replace("<status>1</status>", ""),
        good.replace("<mRID>02", "<mRID>0"),
        good.replace("0003", "zz"),
    ):
        with pytest.raises(Invalid):
            meter.read_usage_point(wire.decode(bad.encode()), "k")
