"""A cursor: where a consumer stands in the log, one next offset a partition, as opaque text (``0:1207,1:88``)."""

from gridspine.kernel.errors import Invalid

Offsets = dict[int, int]


def format_cursor(offsets: Offsets) -> str:
    """Return the text of a cursor."""
    return ",".join(f"{partition}:{offset}" for partition, offset in sorted(offsets.items()))


def parse_cursor(text: str) -> Offsets:
    """Return the offsets of a cursor's text; raise `Invalid` when it is none of ours."""
    try:
        pairs = [pair.split(":") for pair in text.split(",")]
        offsets = {int(partition): int(offset) for partition, offset in pairs}
    except ValueError as error:
        raise Invalid(
            f"{text[:12]!r} is not a cursor of this node: take one from an answer, or leave it out"
        ) from error
    if len(text) > 1000 or any(partition < 0 or not 0 <= offset < 1 << 62 for partition, offset in offsets.items()):
        raise Invalid("the cursor is not one of this node")
    return offsets
