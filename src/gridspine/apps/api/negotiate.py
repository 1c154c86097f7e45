"""Content negotiation for readings out.

Source: RFC 9110 §12.5.1 (Accept), quality values included.
"""

from gridspine.kernel.errors import NotAcceptable
from gridspine.sharing.parcel import MEDIA_TYPES, Format

_ALSO: dict[str, Format] = {"application/json": "json", "*/*": "json", "application/*": "json", "": "json"}


def negotiated(accept: str) -> Format:
    """Return the form that ``Accept`` prefers; JSON when it says nothing; raise `NotAcceptable` for none of ours."""
    known: dict[str, Format] = {media: format_ for format_, media in MEDIA_TYPES.items()} | _ALSO
    wanted: list[tuple[float, int, Format]] = []
    for place, part in enumerate(accept[:2000].split(",")):
        media, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = next((_weight(p) for p in parameters if p.startswith("q=")), 1.0)
        if media in known and weight > 0:
            wanted.append((-weight, place, known[media]))
    if not wanted:
        raise NotAcceptable(f"readings can be had as {', '.join(MEDIA_TYPES.values())}")
    return min(wanted)[2]


def _weight(parameter: str) -> float:
    try:
        return float(parameter.removeprefix("q="))
    except ValueError:
        return 0.0
