"""The tables name what the languages' own definitions have, and give a reason where they have nothing."""

import json
from importlib import resources

import msgspec
import pytest
from sunspec2.device import get_model_def

from gridspine.energy.mapping import LANGUAGES, emit
from gridspine.energy.mapping.openfmb import Field as FmbField
from gridspine.energy.mapping.sunspec import Field as SunSpecField
from gridspine.energy.mapping.table import load_table, words
from gridspine.kernel.errors import Invalid
from gridspine.kernel.units import UNITS
from tests.energy.mapping.readers.openfmb import profile
from tests.energy.mapping.samples import MODELS, snapshot_of


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_property_has_a_name_or_a_reason_and_no_word_is_about_nothing(language: str) -> None:
    table = load_table(language)
    assert table.title
    assert "read" in table.basis or "definitions" in table.basis
    known: dict[str, set[str]] = {}
    for short, _, point, word in words(language):
        known.setdefault(short, set()).add(point.name)
        assert bool(word.name) != bool(word.none), (short, point.name)
        assert "nobody has mapped" not in word.none, (short, point.name)
    assert set(table.models) <= set(known)
    for short, own in table.models.items():
        assert set(own) - {"*"} <= known[short], short
    assert set(table.common) <= set().union(*known.values())
    assert set(table.units) <= set(UNITS)


def test_fields_of_openfmb_have_the_numbers_of_the_published_definitions() -> None:
    for _, _, _, word in words("openfmb"):
        if word.none:
            continue
        field = FmbField(**word.detail)
        at, named = profile(field.profile).DESCRIPTOR, []
        for number in field.path:
            step = at.fields_by_number[number]
            named.append(step.name)
            at = step.message_type
        assert word.name.removesuffix(".cVal.ang") == ".".join([field.profile, *named])
        assert at.name == {"DPS": "StatusDPS", "CMV.ang": "CMV"}.get(field.cdc, field.cdc)


def test_points_of_sunspec_have_the_type_scale_factor_and_codes_of_the_definitions() -> None:
    for _, _, point, word in words("sunspec"):
        if word.none:
            continue
        field = SunSpecField(**word.detail)
        found = {one["name"]: one for one in get_model_def(field.model)["group"]["points"]}[field.point]
        assert found["type"] == field.type, word.name
        assert str(found.get("sf", "")) == (field.sf or (str(field.fixed) if field.fixed else "")), word.name
        if point.reading_type.codes:
            symbols = {one["value"] for one in found["symbols"]}
            assert set(field.codes.values()) == symbols


def test_a_language_that_is_not_mapped_is_named() -> None:
    with pytest.raises(Invalid, match="not a language"):
        load_table("klingon")


def test_the_tables_are_json_without_a_key_twice() -> None:
    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        assert len(pairs) == len(dict(pairs)), [key for key, _ in pairs]
        return dict(pairs)

    for file in (resources.files("gridspine.energy.mapping") / "tables").iterdir():
        json.loads(file.read_text(), object_pairs_hook=unique)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_model_of_somebody_else_is_not_guessed_at(language: str) -> None:
    own = msgspec.structs.replace(MODELS["meter"], id="https://example.org/models/meter")
    emission = emit(language, snapshot_of(own, {"activePower": 1500.0}))
    assert emission.documents == ()
    assert [loss.point for loss in emission.lost] == ["activePower"]
