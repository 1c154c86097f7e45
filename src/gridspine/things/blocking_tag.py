"""Blocking tags and local control: what keeps commands from a Thing, by whose word, and until when.

A tag is what an operator hangs on a switch: as long as it hangs, nothing but safety commands the Thing, or the point,
that it names. A Thing in local control is in somebody's hands beside it: it takes no set-point from here at all.
Limits are taken in local control, for they only ever allow less.
"""

import msgspec

MAX_TAGS = 16
"""Tags on one Thing at most."""


class BlockingTag(msgspec.Struct, frozen=True, rename="camel"):
    """Hung on ``point`` of ``thing`` ("": on all of it) by ``principal``, until ``until_us`` (0: until taken down).

    Times in µs since 1970.
    """

    id: str
    thing: str
    point: str
    principal: str
    reason: str
    at_us: int
    until_us: int = 0

    def hangs(self, now_us: int) -> bool:
        """Whether its time is not over."""
        return not self.until_us or now_us < self.until_us

    def blocks(self, point: str, now_us: int) -> bool:
        """Whether it blocks ``point`` of its Thing."""
        return self.hangs(now_us) and self.point in {"", point}
