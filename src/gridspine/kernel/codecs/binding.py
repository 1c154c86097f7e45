"""The binding of point numbers to names: an event in the log before a number's first use.

Numbers are never reused. The log's readings carry numbers; whoever keeps them longer keeps names.
"""

import msgspec

from gridspine.kernel.errors import Corrupt

MAX_POINT = 2**31 - 1
"""The highest point number; they are int32 in a batch."""


class PointBinding(msgspec.Struct, frozen=True, rename="camel"):
    """Numbers ``first``, ``first + 1``, … belong to the points ``names`` of ``thing``, in ``units``.

    A Thing that changed is bound again, mostly to the same numbers: ``version`` is the Thing's from then on.
    """

    first: int
    thing: str
    organisation: str
    model: str
    names: tuple[str, ...]
    units: tuple[str, ...]
    time_us: int
    version: int = 1

    def point_ids(self) -> list[str]:
        """Return the ids of the points, in the order of their numbers."""
        return [f"{self.thing}/{name}" for name in self.names]


_decoder = msgspec.json.Decoder(PointBinding)


def encode_binding(binding: PointBinding) -> bytes:
    """Return the body of a record of topic ``points``."""
    return msgspec.json.encode(binding)


def decode_binding(body: bytes) -> PointBinding:
    """Return the binding of a record of topic ``points``; raise `Corrupt` when it is none."""
    try:
        binding = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Corrupt(f"point binding cannot be read: {error}") from error
    if not 0 <= binding.first <= MAX_POINT - len(binding.names) or len(binding.units) != len(binding.names):
        raise Corrupt(f"point binding of {binding.thing[:80]!r} does not fit together")
    return binding
