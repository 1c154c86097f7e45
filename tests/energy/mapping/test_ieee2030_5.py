"""IEEE 2030.5 documents in detail: intervals and their ends, services, ids, reading types, states without a code."""

import re

import pytest
from py20305.models import sep
from py20305.xml import from_xml

from gridspine.energy.mapping import emit
from tests.energy.mapping.samples import AT_US, MODELS, snapshot_of


def mirrors(model: str, values: dict[str, float]) -> list[sep.MirrorUsagePoint]:
    documents = emit("ieee2030_5", snapshot_of(MODELS[model], values)).documents
    return [from_xml(one.body, sep.MirrorUsagePoint) for one in documents if one.name == "MirrorUsagePoint"]


def test_an_interval_is_told_by_its_start_and_length() -> None:
    (usage,) = mirrors("home", {"consumedEnergy": 1.25})
    (meter,) = usage.mirror_meter_reading
    assert meter.reading.time_period.duration == 3600
    assert meter.reading.time_period.start.value == AT_US // 1_000_000 - 3600
    assert meter.reading_type.interval_length == 3600
    assert meter.reading_type.accumulation_behaviour.value == 4
    assert meter.reading.value * 10.0**meter.reading_type.power_of_ten_multiplier.value == 1250


@pytest.mark.parametrize(
    ("model", "point", "service", "commodity"),
    [("meter", "activePower", 0, 1), ("gas_meter", "volume", 1, 7), ("water_meter", "volume", 2, 9),
     ("heat_meter", "heatEnergy", 5, 12), ("heat_meter", "coolingEnergy", 6, 13)],
)  # fmt: skip
def test_each_commodity_has_its_service(model: str, point: str, service: int, commodity: int) -> None:
    (usage,) = mirrors(model, {point: 5.0})
    assert usage.service_category_kind.value == service
    assert usage.mirror_meter_reading[0].reading_type.commodity.value == commodity


def test_a_heat_meter_with_cooling_has_two_usage_points_of_their_own_ids() -> None:
    usage = mirrors("heat_meter", {"heatEnergy": 5.0, "coolingEnergy": 6.0, "volumeFlow": 0.5})
    assert [one.service_category_kind.value for one in usage] == [5, 6]
    ids = [one.m_rid.value for one in usage] + [m.m_rid.value for one in usage for m in one.mirror_meter_reading]
    assert len(set(ids)) == 5


@pytest.mark.parametrize(
    ("point", "expected"),
    [("activePowerB", (12, 1, 37, 65, 38)), ("activeEnergyExport", (9, 19, 12, 224, 72)),
     ("voltageA", (12, 0, 0, 129, 29)), ("powerFactor", (12, 1, 0, 224, 65))],
)  # fmt: skip
def test_reading_types_of_a_meter(point: str, expected: tuple[int, ...]) -> None:
    ((meter,),) = [usage.mirror_meter_reading for usage in mirrors("meter_three_phase", {point: 1.0})]
    kind = meter.reading_type
    fields = (kind.accumulation_behaviour, kind.flow_direction, kind.kind, kind.phase, kind.uom)
    assert tuple(field.value for field in fields) == expected


def test_the_state_of_charge_is_in_hundredths_and_its_quality_is_said_to_be_lost() -> None:
    emission = emit("ieee2030_5", snapshot_of(MODELS["battery"], {"stateOfCharge": 55.25}, quality=3))
    (document,) = emission.documents
    assert document.name == "DERStatus"
    assert re.search(rb"<stateOfChargeStatus>.*<value>5525</value>", document.body)
    assert any("quality" in loss.what for loss in emission.lost)
