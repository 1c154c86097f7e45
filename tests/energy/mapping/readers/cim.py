"""CIM RDF/XML by rdflib."""

from rdflib import RDF, Graph, Namespace

from gridspine.energy.mapping import Emission
from gridspine.kernel.quality import Quality
from tests.energy.mapping.readers.read import Read

CIM = Namespace("http://iec.ch/TC57/CIM100#")
POWERS = {
    "p": -12, "n": -9, "micro": -6, "m": -3, "c": -2, "d": -1, "none": 0, "da": 1, "h": 2, "k": 3, "M": 6, "G": 9,
    "T": 12,
}  # fmt: skip
# UnitSymbol → our unit, and the power of ten to it.
UNITS = {
    "W": "W", "VA": "VA", "VAr": "var", "Wh": "Wh", "VArh": "varh", "V": "V", "A": "A", "Hz": "Hz", "HzPers": "Hz/s",
    "deg": "deg", "degC": "degC", "m3": "m3", "m3Perh": "m3/h", "Pa": "Pa", "mPers": "m/s", "m": "m", "WPerm2": "W/m2",
    "lx": "lx", "ppm": "ppm", "none": "1",
}  # fmt: skip
FLAGS = {
    "badReference": Quality.BAD_REFERENCE, "estimatorReplaced": Quality.ESTIMATED, "failure": Quality.FAILURE,
    "oldData": Quality.OLD_DATA, "operatorBlocked": Quality.OPERATOR_BLOCKED, "oscillatory": Quality.OSCILLATORY,
    "outOfRange": Quality.OUT_OF_RANGE, "overFlow": Quality.OVERFLOW, "suspect": Quality.INCONSISTENT,
    "test": Quality.TEST,
}  # fmt: skip


def read(emission: Emission) -> dict[str, Read]:
    found: dict[str, Read] = {}
    for document in emission.documents:
        graph = Graph().parse(data=document.body, format="xml")
        for cls in ("Analog", "Accumulator", "Discrete"):
            for measurement in graph.subjects(RDF.type, CIM[cls]):
                name = str(graph.value(measurement, CIM["IdentifiedObject.name"]))
                assert (graph.value(measurement, CIM["Measurement.PowerSystemResource"]), None, None) in graph
                found[name] = one(graph, measurement, cls)
    return found


def one(graph, measurement, cls) -> Read:
    value = graph.value(predicate=CIM[f"{cls}Value.{cls}"], object=measurement)
    quality = graph.value(predicate=CIM["MeasurementValueQuality.MeasurementValue"], object=value)
    symbol = word(graph.value(measurement, CIM["Measurement.unitSymbol"]))
    power = POWERS[word(graph.value(measurement, CIM["Measurement.unitMultiplier"]))]
    number = float(graph.value(value, CIM[f"{cls}Value.value"])) * 10.0**power
    unit, scale = ("MJ/m3", 1e-6) if symbol == "JPerm3" else (UNITS[symbol], 1.0)
    inward = graph.value(measurement, CIM["Analog.positiveFlowIn"])
    flow = None if inward is None else "import" if str(inward) == "true" else "export"
    return Read(number * scale, unit, bits(graph, quality), flow)


def bits(graph, quality) -> int:
    validity = {"GOOD": 0, "INVALID": 1, "QUESTIONABLE": 3}[word(graph.value(quality, CIM["Quality61850.validity"]))]
    source = word(graph.value(quality, CIM["Quality61850.source"]))
    flags = sum(bit for name, bit in FLAGS.items() if str(graph.value(quality, CIM[f"Quality61850.{name}"])) == "true")
    return validity | flags | (Quality.SUBSTITUTED if source == "SUBSTITUTED" else 0)


def word(resource) -> str:
    return str(resource).rpartition(".")[2]
