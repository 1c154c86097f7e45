"""Whatever a Thing says, each language gets documents that its parser reads, or the reason why a value is not there."""

import math
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from rdflib import Graph

from gridspine.energy.mapping import LANGUAGES, Reported, Snapshot, emit
from gridspine.energy.mapping.sunspec import emit_sunspec
from tests.energy.mapping.readers import openfmb, sunspec
from tests.energy.mapping.readers.ieee2030_5 import SCHEMA
from tests.energy.mapping.samples import AT_US, MODELS

NUMBERS = st.floats() | st.integers(-10, 200).map(float) | st.floats(-1e6, 1e6)
URN = st.text(string.ascii_letters + string.digits + "()+,-.:=@;$_!*'%", min_size=1, max_size=40).map("urn:x1:".__add__)


@st.composite
def anything(draw) -> Snapshot:
    model = MODELS[draw(st.sampled_from(sorted(MODELS)))]
    names = draw(st.lists(st.sampled_from([point.name for point in model.points]), unique=True))
    values = {name: Reported(draw(NUMBERS), draw(st.integers(0, 0x7FFF)), AT_US) for name in names}
    return Snapshot(draw(URN), draw(st.text(max_size=60)), model, values)


@pytest.mark.parametrize("title", ids=range(5), argvalues=["", "\0", " ", "\U0001f600" * 40, "a" * 31 + "\u00e9"])
def test_a_device_of_any_title_has_a_name(title: str) -> None:
    model = next(one for name, one in MODELS.items() if name.endswith("meter"))
    one = Snapshot("urn:x1:a", title, model, {"activePower": Reported(1.0, 0, AT_US)})
    sunspec.read(emit("sunspec", one))


@settings(max_examples=150, deadline=None)
@given(anything(), st.sampled_from(LANGUAGES))
def test_every_point_is_in_a_document_or_lost(snapshot: Snapshot, language: str) -> None:
    emission = emit(language, snapshot)
    lost = {loss.point for loss in emission.lost}
    not_numbers = {name for name, one in snapshot.values.items() if not math.isfinite(one.value)}
    assert not_numbers <= lost
    assert bool(emission.documents) or set(snapshot.values) <= lost
    for document in emission.documents:
        if language == "openfmb":
            openfmb.profile(document.name)().ParseFromString(document.body)
        elif language == "saref":
            Graph().parse(data=document.body, format="turtle")
        elif language != "sunspec":
            root = etree.fromstring(document.body)
            assert language != "ieee2030_5" or SCHEMA.validate(root), SCHEMA.error_log
    if language == "sunspec":
        sunspec.read(emission)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_value_no_language_can_hold_does_not_take_the_others_with_it(language: str) -> None:
    values = {"activePower": Reported(1e300, 0, AT_US), "frequency": Reported(50.0, 0, AT_US)}
    emission = emit(language, Snapshot("urn:x:a", "a", MODELS["meter"], values))
    assert emission.documents
    assert b"50" in emission.documents[0].body or language == "openfmb"


def test_half_a_state_is_no_state() -> None:
    emission = emit("sunspec", Snapshot("urn:x:a", "a", MODELS["battery"], {"operatingState": Reported(2.5, 0, AT_US)}))
    assert any("no code" in loss.what for loss in emission.lost)
    assert emit_sunspec(Snapshot("urn:x:a", "a", MODELS["battery"], {})).documents == ()
