"""Content negotiation: which of the forms that can be had a caller prefers.

Source: RFC 9110 §12.5.1 (Accept), quality values included.
"""

from collections.abc import Sequence

from gridspine.kernel.errors import NotAcceptable
from gridspine.sharing.parcel import MEDIA_TYPES, Format

_ALSO: dict[str, Format] = {"application/json": "json", "*/*": "json", "application/*": "json", "": "json"}


def negotiated(accept: str) -> Format:
    """Return the form that ``Accept`` prefers; JSON when it says nothing; raise `NotAcceptable` for none of ours."""
    known: dict[str, Format] = {media: format_ for format_, media in MEDIA_TYPES.items()} | _ALSO
    media = _best(accept, list(known))
    if media is None:
        raise NotAcceptable(f"readings can be had as {', '.join(MEDIA_TYPES.values())}")
    return known[media]


def preferred(accept: str, offered: Sequence[str]) -> str:
    """Return which of ``offered`` (media types, the usual one first) ``Accept`` prefers; raise `NotAcceptable`."""
    if accept in {"", "*/*"}:
        return offered[0]
    ranges = {offered[0].partition("/")[0] + "/*": offered[0], "*/*": offered[0]}
    media = _best(accept, [*offered, *ranges])
    if media is None:
        raise NotAcceptable(f"this can be had as {', '.join(offered)}")
    return ranges.get(media, media)


def _best(accept: str, known: Sequence[str]) -> str | None:
    """Return what ``accept`` puts first of what is ``known``; None for none of it."""
    wanted: list[tuple[float, int, str]] = []
    for place, part in enumerate(accept[:2000].split(",")):
        media, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = next((_weight(p) for p in parameters if p.startswith("q=")), 1.0)
        if media in known and weight > 0:
            wanted.append((-weight, place, media))
    return min(wanted)[2] if wanted else None


def _weight(parameter: str) -> float:
    try:
        return float(parameter.removeprefix("q="))
    except ValueError:
        return 0.0
