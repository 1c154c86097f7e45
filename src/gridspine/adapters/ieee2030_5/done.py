"""What became of a request that wrote."""

from typing import NamedTuple


class Done(NamedTuple):
    """Its status, and where what was made is, "" for nothing made."""

    status: int
    location: str = ""
