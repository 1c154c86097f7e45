"""The 18 fields of IEC 61968-9, against ones that are in use, and readable for every property that has one."""

import pytest

from gridspine.energy.mapping.reading_type_code import reading_type_code
from gridspine.energy.models import load_models
from gridspine.kernel.reading_type import ReadingType

POINTS = [(name, point) for name, model in load_models().items() for point in model.points]


@pytest.mark.parametrize(
    ("kind", "code"),
    [(ReadingType("kWh", kind="register", flow="import"), "0.0.0.1.1.1.12.0.0.0.0.0.0.0.224.3.72.0"),
     (ReadingType("kWh", kind="interval", flow="export", interval_s=900), "0.0.2.4.19.1.12.0.0.0.0.0.0.0.224.3.72.0"),
     (ReadingType("V", phase="a"), "0.0.0.12.0.1.54.0.0.0.0.0.0.0.129.0.29.0"),
     (ReadingType("m3", kind="register", flow="import", commodity="gas"), "0.0.0.1.1.7.58.0.0.0.0.0.0.0.0.0.42.0"),
     (ReadingType("W", kind="interval", interval_s=77), None), (ReadingType("W/m2", commodity="none"), None)],
)  # fmt: skip
def test_known_codes(kind: ReadingType, code: str | None) -> None:
    assert reading_type_code(kind) == code


@pytest.mark.parametrize(("name", "point"), POINTS)
def test_a_code_has_eighteen_numbers(name: str, point: object) -> None:
    code = reading_type_code(point.reading_type)  # type: ignore[attr-defined]
    if code is None:
        assert point.reading_type.unit in {"W/m2", "rpm", "MJ/m3"}  # type: ignore[attr-defined]
        return
    fields = [int(field) for field in code.split(".")]
    assert len(fields) == 18
    assert fields[3] in {0, 1, 4, 12}
