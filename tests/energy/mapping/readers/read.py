"""What a reader makes of documents: for each name the value, its unit, its quality and which way it flows."""

from typing import NamedTuple


class Read(NamedTuple):
    """``value`` [``unit``, our symbol], import positive; ``quality`` bits; None where a document does not say."""

    value: float
    unit: str | None
    quality: int | None
    flow: str | None = None
