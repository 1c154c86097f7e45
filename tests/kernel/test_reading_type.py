"""Reading types: contradictions are refused, and only instantaneous quantities may be suppressed."""

import msgspec
import pytest

from gridspine.kernel.errors import Invalid
from gridspine.kernel.reading_type import ReadingType


@pytest.mark.parametrize(
    "good",
    [ReadingType("W"), ReadingType("Wh", kind="register", flow="import"), ReadingType("code", kind="state"),
     ReadingType("kWh", kind="interval", interval_s=900, flow="export", stamp="start"),
     ReadingType("m3", kind="register", commodity="gas")],
)  # fmt: skip
def test_sound_ones_pass_and_come_back(good: ReadingType) -> None:
    good.check()
    assert msgspec.json.decode(msgspec.json.encode(good), type=ReadingType) == good


@pytest.mark.parametrize(
    "bad",
    [ReadingType("watt"), ReadingType("kWh", kind="interval"), ReadingType("W", interval_s=5),
     ReadingType("W", kind="state"), ReadingType("kWh", kind="register", flow="net"),
     ReadingType("kWh", kind="interval", interval_s=900, flow="net")],
)  # fmt: skip
def test_contradictions_are_invalid(bad: ReadingType) -> None:
    with pytest.raises(Invalid):
        bad.check()


def test_only_instantaneous_quantities_may_be_suppressed() -> None:
    allowed = [k for k in ("instantaneous", "register", "interval", "state", "setting")
               if ReadingType("W", kind=k).deadband_allowed]  # fmt: skip
    assert allowed == ["instantaneous"]
