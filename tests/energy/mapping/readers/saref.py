"""SAREF in Turtle by rdflib."""

from rdflib import RDF, XSD, Graph, Namespace

from gridspine.energy.mapping import Emission
from tests.energy.mapping.readers.read import Read

SAREF = Namespace("https://saref.etsi.org/core/")
GS = Namespace("https://gridspine.org/terms#")
QUDT = "http://qudt.org/vocab/unit/"
UNITS = {
    "W": "W", "V-A": "VA", "V-A_Reactive": "var", "W-HR": "Wh", "KiloW-HR": "kWh", "V-A_Reactive-HR": "varh",
    "V": "V", "A": "A", "HZ": "Hz", "HZ-PER-SEC": "Hz/s", "DEG": "deg", "DEG_C": "degC", "PERCENT": "%",
    "UNITLESS": None, "PPM": "ppm", "M3": "m3", "M3-PER-HR": "m3/h", "HectoPA": "hPa", "MilliBAR": "mbar",
    "MegaJ-PER-M3": "MJ/m3", "M-PER-SEC": "m/s", "M": "m", "MilliM": "mm", "W-PER-M2": "W/m2", "LUX": "lx",
    "REV-PER-MIN": "rpm",
}  # fmt: skip


def read(emission: Emission) -> dict[str, Read]:
    found: dict[str, Read] = {}
    for document in emission.documents:
        graph = Graph().parse(data=document.body, format="turtle")
        for measurement in graph.subjects(RDF.type, SAREF.Measurement):
            prop = graph.value(measurement, SAREF.relatesToProperty)
            assert graph.value(predicate=SAREF.makesMeasurement, object=measurement) is not None
            assert graph.value(measurement, SAREF.hasTimestamp).datatype == XSD.dateTime
            assert str(graph.value(prop, RDF.type)).startswith(SAREF)
            unit = str(graph.value(measurement, SAREF.isMeasuredIn))
            assert unit.startswith(QUDT)
            value = float(graph.value(measurement, SAREF.hasValue))
            quality = int(graph.value(measurement, GS.quality))
            flow = str(graph.value(prop, GS.flow))
            found[str(prop).rpartition("/")[2]] = Read(value, UNITS[unit.removeprefix(QUDT)], quality, flow)
    return found
