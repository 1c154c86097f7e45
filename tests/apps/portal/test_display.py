"""How values and qualities are written."""

import pytest

from gridspine.apps.portal.display import level_of, number_text, safe_path, slug, value_text, words_of
from gridspine.kernel.quality import Quality, describe


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (-0.0, "0"), (1, "1"), (1.5, "1.5"), (-1500, "−1 500"), (230.123, "230.1"), (50.012, "50.01"),
        (0.00012, "0.00012"), (1234567, "1 234 567"), (99.996, "100"),
    ],
)  # fmt: skip
def test_numbers_are_short_and_exact_enough(value: float, text: str) -> None:
    assert number_text(value).replace("\N{NARROW NO-BREAK SPACE}", " ") == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1500.0, "W", "1.5 kW"), (-999.0, "W", "−999 W"), (2.5e6, "Wh", "2.5 MWh"), (1500.0, "V", "1 500 V"),
        (None, "W", "–"), (float("nan"), "W", "–"), (float("inf"), "W", "–"), (0.98, "1", "0.98"),
    ],
)  # fmt: skip
def test_values_carry_their_unit(value: float | None, unit: str, text: str) -> None:
    shown = value_text(value, unit).replace("\N{NO-BREAK SPACE}", " ").replace("\N{NARROW NO-BREAK SPACE}", " ")
    assert shown == text


def test_a_state_is_its_name() -> None:
    assert value_text(3.0, "code", {"3": "running"}) == "running"
    assert value_text(9.0, "code", {"3": "running"}) == "code 9"


@pytest.mark.parametrize(
    ("quality", "level", "words"),
    [
        (Quality.GOOD, "good", "good"),
        (Quality.QUESTIONABLE | Quality.OUT_OF_RANGE, "questionable", "questionable, out of range"),
        (Quality.INVALID | Quality.OLD_DATA | Quality.FAILURE, "invalid", "invalid, failure"),
        (Quality.OLD_DATA, "old", "old data"),
        (Quality.QUESTIONABLE | Quality.OLD_DATA, "old", "old data, questionable"),
        (Quality.ESTIMATED, "good", "good, estimated"),
    ],
)
def test_a_quality_comes_to_one_level_and_keeps_its_words(quality: int, level: str, words: str) -> None:
    assert (level_of(describe(quality)), words_of(describe(quality))) == (level, words)


@pytest.mark.parametrize(
    "path", ["//evil.example", "/\\evil.example", "https://evil.example", "", "x", "/a\\b", "/a\nb", "/" + "a" * 3000]
)
def test_only_a_path_of_this_host_is_gone_on_to(path: str) -> None:
    assert safe_path(path) == "/"
    assert safe_path("/portal/grants?x=1") == "/portal/grants?x=1"


def test_a_slug_is_fit_for_an_id() -> None:
    assert slug('urn:x:"><script>') == "urn-x-script"
