"""Which bits of a reading's quality each language has a word for; the others are lost in it, and said to be.

Bits are those of `gridspine.kernel.quality`. A language's emitter writes what it has a word for and lists the rest.
Sources: `tables/*.json` say what was read of each language.
"""

from gridspine.energy.mapping.snapshot import Loss
from gridspine.kernel.quality import VALIDITY_MASK, Quality, describe

_IEC_61850 = 0x1FFF
KNOWN: dict[str, int] = {
    # CIM Quality61850 has no word for inaccurate; suspect is "not consistent with other values".
    "cim": (_IEC_61850 & ~Quality.INACCURATE) | Quality.ESTIMATED,
    "iec61850": _IEC_61850,
    "ieee2030_5": VALIDITY_MASK | Quality.SUBSTITUTED,
    "sunspec": Quality.INVALID,
    "openfmb": _IEC_61850 | Quality.CLOCK_UNSYNCHRONISED,
    "saref": 0x7FFF,
}


def lost_bits(language: str, quality: int) -> int:
    """Return the bits of ``quality`` that ``language`` has no word for."""
    lost = quality & ~KNOWN[language]
    if language == "sunspec" and quality & VALIDITY_MASK == Quality.QUESTIONABLE:
        lost |= Quality.QUESTIONABLE  # a register either has a value or has none
    return lost


def quality_losses(language: str, point: str, quality: int) -> list[Loss]:
    """Return the words of ``quality`` that do not arrive."""
    lost = lost_bits(language, quality)
    named = [word for word in describe(lost) if word != "good"]
    return [Loss(point, f"quality: {', '.join(named)}")] if named else []
