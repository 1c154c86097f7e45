"""Every property of every model in every language: another party's parser finds value, unit, sign and quality again,
or the table gives the reason why the language has no name for it."""

import importlib
import math

import pytest

from gridspine.energy.mapping import LANGUAGES, Emission, Snapshot, emit
from gridspine.energy.mapping.quality import KNOWN
from gridspine.energy.mapping.table import Word, load_table
from gridspine.kernel.quality import Quality, describe
from gridspine.kernel.units import conversion, unit
from gridspine.things.model import PointModel
from tests.energy.mapping.readers.read import Read
from tests.energy.mapping.samples import MODELS, snapshot_of, snapshots

# The reader of SCL leaves the files it reads open.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
READERS = {language: importlib.import_module(f"tests.energy.mapping.readers.{language}").read for language in LANGUAGES}
PAIRS = [(language, model) for language in LANGUAGES for model in MODELS]
# What a document says in other words than ours: PV states of DERStatus and of DGEN, back to our codes.
INVERTER_STATUS = {1: 0, 2: 1, 3: 2, 4: 3, 5: 4, 6: 5, 7: 6, 8: 7}
DER_STATE = {
    "pv_inverter": {"avail": 1, "starting": 2, "running": 3, "stopping": 5, "failed": 6},
    "chp": {"avail": 1, "starting": 2, "running": 3, "stopping": 4, "failed": 5, "maintenance": 6},
    "wind_turbine": {"avail": 1, "starting": 2, "running": 3, "stopping": 5, "failed": 6, "maintenance": 7},
}
BITS = [Quality.INVALID, Quality.QUESTIONABLE, *(Quality(1 << place) for place in range(2, 15))]


def find(read: dict[str, Read], word: Word, point: PointModel) -> Read | None:
    return read.get(word.name) or read.get(point.name)


def losses(emission: Emission, name: str) -> str:
    return "; ".join(loss.what for loss in emission.lost if loss.point == name)


def in_our_unit(got: Read, point: PointModel, model: str) -> float:
    value = got.value
    if isinstance(value, str):
        return DER_STATE[model][value]
    if got.unit == "code" and point.name == "operatingState" and model == "pv_inverter" and value == int(value):
        return float(value)
    if got.unit in {None, "code"} or point.reading_type.unit == "code":
        return float(value)
    scale, shift = conversion(unit(got.unit), unit(point.reading_type.unit))
    return value * scale + shift


def check(language: str, model: str, snapshot: Snapshot, point: PointModel, got: Read, emission: Emission) -> None:
    value = in_our_unit(got, point, model)
    if language == "ieee2030_5" and load_table(language).word(model, point.name).name.endswith("inverterStatus"):
        value = INVERTER_STATUS[int(value)]
    wanted = snapshot.values[point.name].value
    lost = losses(emission, point.name)
    slack = 1e-6 if language == "iec61850" else 1e-12
    if "digits" in lost or "fraction" in lost:
        assert abs(value - wanted) <= max(0.5, abs(wanted) * 1e-6), (value, wanted, lost)
    else:
        assert math.isclose(value, wanted, rel_tol=slack, abs_tol=1e-9), (value, wanted)
    if got.unit is None:
        assert point.reading_type.unit in {"1", "code"} or "unit" in lost or language == "sunspec", "no unit, unsaid"
    if got.flow and point.reading_type.flow in {"import", "export"}:
        assert got.flow == point.reading_type.flow
    if got.flow and point.reading_type.flow == "net":
        assert got.flow in {"import", "net"}, "import is positive"


@pytest.mark.parametrize(("language", "model"), PAIRS)
def test_value_unit_and_sign_come_back(language: str, model: str) -> None:
    table = load_table(language)
    for snapshot in snapshots(MODELS[model]):
        emission = emit(language, snapshot)
        read = READERS[language](emission)
        for point in MODELS[model].points:
            word = table.word(model, point.name)
            got = find(read, word, point)
            if word.none:
                assert got is None
                assert word.none in losses(emission, point.name)
            elif got is None:
                assert any(word in losses(emission, point.name) for word in ("state", "does not fit")), point.name
            else:
                check(language, model, snapshot, point, got, emission)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("bit", BITS, ids=lambda bit: describe(bit)[-1])
def test_each_bit_of_quality_comes_back_or_is_said_to_be_lost(language: str, bit: Quality) -> None:
    model = MODELS["meter"]
    for quality in (bit, bit | Quality.QUESTIONABLE):
        emission = emit(language, snapshot_of(model, {"activePower": -1500.0}, quality))
        got = READERS[language](emission).get(load_table(language).word("meter", "activePower").name)
        got = got or READERS[language](emission).get("activePower")
        lost = losses(emission, "activePower")
        if got is None:
            assert (language, quality & 3) == ("sunspec", 1)
            assert "not implemented" in lost
            continue
        assert math.isclose(got.value, -1500.0)
        kept = got.quality or 0
        gone = quality & ~kept
        assert kept & ~quality == 0, "no bit appears that was not there"
        assert gone & KNOWN[language] & ~3 == 0, "what the language has a word for arrives"
        for word in describe(gone)[1:]:
            assert word in lost


@pytest.mark.parametrize(
    ("language", "least"),
    [("cim", 190), ("iec61850", 130), ("ieee2030_5", 170), ("sunspec", 45), ("openfmb", 100), ("saref", 190)],
)
def test_most_properties_have_a_name(language: str, least: int) -> None:
    named = [not load_table(language).word(m, p.name).none for m, model in MODELS.items() for p in model.points]
    assert sum(named) >= least, f"{sum(named)} of {len(named)}"


def test_what_is_no_number_is_left_out_and_said() -> None:
    for language in LANGUAGES:
        emission = emit(language, snapshot_of(MODELS["meter"], {"activePower": math.nan, "frequency": 50.0}))
        assert "not a number" in losses(emission, "activePower")
        read = READERS[language](emission)
        assert [got.value for got in read.values()] == [50.0]
