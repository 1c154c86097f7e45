"""mRIDs, made of what they name: the same at each asking, on each node that knows the same documents.

An mRID has 32 hexadecimal digits, of which the last eight are the Private Enterprise Number of who gave it, in decimal
digits: so CSIP-AUS asks (by its test procedures; the text was not read).
"""

from hashlib import blake2b

from gridspine.kernel.errors import Invalid

MAX_PEN = 99_999_999


def mrid(kind: str, *parts: str, pen: int) -> str:
    """Return the mRID of what ``parts`` name among its ``kind``."""
    return blake2b("\n".join((kind, *parts)).encode(), digest_size=12).hexdigest().upper() + f"{pen:08d}"


def short(*parts: str) -> str:
    """Return a name for paths, made of what it names: 16 hexadecimal digits, which tell nobody anything."""
    return blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()


def check_pen(pen: int) -> int:
    """Return a Private Enterprise Number; raise `Invalid` for what is none."""
    if not 0 <= pen <= MAX_PEN:
        raise Invalid(f"pen: 0 to {MAX_PEN}")
    return pen
