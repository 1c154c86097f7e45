"""SAREF: measurements as RDF, in Turtle.

Source: ETSI TS 103 264 (SAREF core), the terms of version 3.2.1: Device, Measurement, makesMeasurement, hasValue,
isMeasuredIn, relatesToProperty, hasTimestamp and the classes of properties; its text by clause was not read, nor were
SAREF4ENER, SAREF4GRID and SAREF4WATR, which name some quantities that the core calls only a Property. Units are those
of QUDT. SAREF has no word for quality, sign and kind: they ride along in our own terms, under ``gs:``.
"""

import json
from collections.abc import Iterator

from gridspine.energy.mapping.number import text
from gridspine.energy.mapping.snapshot import Document, Emission, Loss, Reported, Snapshot
from gridspine.energy.mapping.table import Table, Word, load_table, said
from gridspine.kernel.time import format_rfc3339
from gridspine.things.model import PointModel

_PREFIXES = """@prefix saref: <https://saref.etsi.org/core/> .
@prefix unit: <http://qudt.org/vocab/unit/> .
@prefix gs: <https://gridspine.org/terms#> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
@prefix xsd: <http://www.w3.org/2001/XMLSchema#> .
"""


def emit_saref(snapshot: Snapshot) -> Emission:
    """Return one document in Turtle with a measurement for each point."""
    table = load_table("saref")
    known, unknown = said("saref", snapshot)
    lost = [Loss(point.name, table.word(snapshot.model.id, point.name).none) for point in unknown]
    lost += [Loss(point.name, word.lost) for point, word in known if word.lost]
    device = f"<{_iri(snapshot.thing)}>"
    parts = [_PREFIXES, f"{device} a {_device(table, snapshot)} ;\n  rdfs:label {_literal(snapshot.title)} .\n"]
    for point, word in known:
        parts.extend(_measurement(table, device, snapshot, point, word, snapshot.values[point.name]))
    document = Document("measurements", "text/turtle", "\n".join(parts).encode())
    return Emission((document,) if known else (), tuple(lost))


def _device(table: Table, snapshot: Snapshot) -> str:
    short = snapshot.model.id.rpartition("/")[2]
    found = table.extra["devices"].get(short, "saref:Device")
    assert isinstance(found, str)
    return found


def _measurement(
    table: Table, device: str, snapshot: Snapshot, point: PointModel, word: Word, reported: Reported
) -> Iterator[str]:
    base = f"{_iri(snapshot.thing)}/properties/{point.name}"
    kind = point.reading_type
    yield (
        f"<{base}> a {word.name} ;\n  rdfs:label {_literal(point.title)} ;\n"
        f'  gs:kind "{kind.kind}" ; gs:flow "{kind.flow}" ; gs:phase "{kind.phase}" ; gs:commodity "{kind.commodity}" .'
    )
    yield (
        f"{device} saref:measuresProperty <{base}> ; saref:makesMeasurement <{base}#m> .\n"
        f"<{base}#m> a saref:Measurement ;\n"
        f"  saref:relatesToProperty <{base}> ;\n"
        f'  saref:hasValue "{text(reported.value)}"^^xsd:decimal ;\n'
        f"{_measured_in(table, kind.unit)}"
        f'  saref:hasTimestamp "{format_rfc3339(reported.observed_us)}"^^xsd:dateTime ;\n'
        f"  gs:quality {reported.quality} .\n"
    )


def _measured_in(table: Table, symbol: str) -> str:
    unit = table.unit_of(symbol)
    return f"  saref:isMeasuredIn unit:{unit[0]} ;\n" if unit else f"  gs:unit {_literal(symbol)} ;\n"


def _iri(urn: str) -> str:
    return "".join(c if c.isalnum() or c in "-._~:/?#[]@!$&'()*+,;=%" else f"%{ord(c):02X}" for c in urn)


def _literal(words: str) -> str:
    return json.dumps(words)
