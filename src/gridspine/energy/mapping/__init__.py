"""What our properties are called elsewhere, and documents in those languages: CIM, IEC 61850, IEEE 2030.5, SunSpec,
OpenFMB, SAREF.

::

    snapshot of a Thing ──► emit(language, ·) ──► documents  that other parties' programs read
                                  │          └──► lost       what the language has no room for, point by point
                            tables/*.json                    names, units, signs: data, not code

Power is import positive here; `gridspine.energy.mapping.sign` says what each language counts as positive. Values,
units, signs and the bits of quality that a language has a word for arrive unchanged; the rest is in ``lost``, never
silently. The emitters need nothing but the standard library and numpy; the parsers that judge them are in the tests.
"""

import dataclasses
import math
from collections.abc import Callable

import msgspec

from gridspine.energy.mapping.cim import emit_cim
from gridspine.energy.mapping.iec61850 import emit_iec61850
from gridspine.energy.mapping.ieee2030_5 import emit_ieee2030_5
from gridspine.energy.mapping.openfmb import emit_openfmb
from gridspine.energy.mapping.saref import emit_saref
from gridspine.energy.mapping.snapshot import Document, Emission, Loss, Reported, Snapshot
from gridspine.energy.mapping.sunspec import emit_sunspec
from gridspine.energy.mapping.table import LANGUAGES, load_table
from gridspine.kernel.errors import Invalid

__all__ = ["LANGUAGES", "Document", "Emission", "Loss", "Reported", "Snapshot", "emit"]

_EMITTERS: dict[str, Callable[[Snapshot], Emission]] = {
    "cim": emit_cim,
    "iec61850": emit_iec61850,
    "ieee2030_5": emit_ieee2030_5,
    "sunspec": emit_sunspec,
    "openfmb": emit_openfmb,
    "saref": emit_saref,
}


def emit(language: str, snapshot: Snapshot) -> Emission:
    """Return ``snapshot`` as documents of ``language``, one of `LANGUAGES`, and what is lost on the way.

    Raises `Invalid` for a language that is not mapped.
    """
    load_table(language)
    emitter = _EMITTERS[language]
    finite = {name: one for name, one in snapshot.values.items() if math.isfinite(one.value)}
    lost = tuple(Loss(name, "the value, which is not a number") for name in snapshot.values if name not in finite)
    snapshot = dataclasses.replace(snapshot, values=finite)
    try:
        emission = emitter(snapshot)
    except Invalid:  # a value that the language cannot hold at all: the others shall not suffer for it
        kept, refused = _separate(emitter, snapshot)
        lost += refused
        emission = emitter(kept)
    return msgspec.structs.replace(emission, lost=lost + emission.lost)


def _separate(emitter: Callable[[Snapshot], Emission], snapshot: Snapshot) -> tuple[Snapshot, tuple[Loss, ...]]:
    """Return the snapshot of those points that can be written, and why the others cannot."""
    kept: dict[str, Reported] = {}
    refused: list[Loss] = []
    for name, reported in snapshot.values.items():
        try:
            emitter(dataclasses.replace(snapshot, values={name: reported}))
        except Invalid as error:
            refused.append(Loss(name, f"the value: {error}"))
        else:
            kept[name] = reported
    return dataclasses.replace(snapshot, values=kept), tuple(refused)
