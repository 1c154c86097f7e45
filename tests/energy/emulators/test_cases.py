"""Every case within its tolerance; the page and its data say what the cases say today."""

import copy
import json

import numpy as np
import pytest

from cases import homes
from cases.compare import COMPARE, cases, errors
from cases.score import DATA, PAGE, scored_cases, written

CASES = cases()


@pytest.mark.parametrize("name", CASES)
def test_the_case_is_within_its_tolerance(name: str) -> None:
    case = CASES[name]
    found = errors(name, case)
    assert case["tolerance"] and all(case["provenance"].values())
    for key, tolerance in case["tolerance"].items():
        assert found[key] <= tolerance, key


@pytest.mark.parametrize("name", CASES)
def test_what_is_planted_is_found(name: str) -> None:
    """Were the reference a fifth larger in every second value, each case would fail."""
    case = copy.deepcopy(CASES[name])
    for key, values in case["expected"].items():
        case["expected"][key] = (np.array(values) * np.resize([1.0, 1.2], len(values))).tolist()
    found = errors(name, case)
    assert any(found[key] > tolerance for key, tolerance in case["tolerance"].items())


def test_every_comparison_has_a_case() -> None:
    assert {name.partition("/")[0] for name in CASES} == set(COMPARE)


def test_the_page_says_what_the_cases_say() -> None:
    data = json.loads(DATA.read_text())
    assert PAGE.read_text() == written(PAGE.read_text(), data)
    for name, found in scored_cases().items():
        assert data["cases"][name] == pytest.approx(found, rel=0.02, abs=2e-4), name


def test_homes_score_as_published() -> None:
    if not homes.HOMES.is_dir():
        pytest.skip(f"the homes' data is not at {homes.HOMES}")
    data = json.loads(DATA.read_text())
    for number, row in data["pv"].items():
        assert homes.pv_on_clear_days(int(number)) == pytest.approx(row, rel=0.02, abs=2e-3)
        assert row["normalised_mean_absolute"] < 0.15
    held = homes.load_of(homes.HELD_OUT)
    assert held == pytest.approx(data["load"][str(homes.HELD_OUT)], rel=0.02, abs=2e-3)
