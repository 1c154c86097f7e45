"""What an adapter and its devices say to each other, for an operator who asks why one does not work.

::

    adapter ─ trace("out", frame) ─► off? nothing ─► redaction ─► ring: the latest lines ─► operator

Off until somebody looks, and off again by itself: a wire that nobody watches costs one comparison a message. While it
is on, it is bounded: so many lines a second, so many characters a line and in all; what is beyond is counted.
"""

import codecs
from collections import deque
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.time import US
from gridspine.things.redaction import Redaction

LINES, LINE_CHARS, ALL_CHARS = 1_000, 4_096, 1 << 20
LINES_PER_S, CHARS_PER_S = 200, 1 << 18
MAX_ON_S = 3_600.0
_PEER_CHARS = 200


class WireLine(msgspec.Struct, frozen=True):
    """One thing said: ``at_us`` [µs since 1970] to (*out*) or by (*in*) ``peer``; of bytes that are no text their
    hexadecimal digits. ``cut`` tells that its end is not shown. *note* is the adapter's own word."""

    number: int
    at_us: int
    direction: Literal["in", "out", "note"]
    peer: str
    text: str
    cut: bool = False


class SilentTrace:
    """A `gridspine.things.adapter.WireTrace` that nobody can turn on."""

    on = False

    def __call__(
        self, direction: Literal["in", "out", "note"], said: bytes | str | Callable[[], str], *, peer: str = ""
    ) -> None:
        """Forget it."""


class RingTrace:
    """The `gridspine.things.adapter.WireTrace` of one adapter, which an operator can turn on."""

    def __init__(self, clock: Clock, secrets: Iterable[str] = ()) -> None:
        self.on = False
        self.dropped = 0
        """Lines that were too many in their second, since it was turned on."""
        self.redaction = Redaction(secrets)
        self._clock = clock
        self._lines: deque[WireLine] = deque()
        self._chars = 0
        self._number = 0
        self._until_us = 0
        self._peer = ""
        self._second, self._in_second, self._chars_in_second = 0, 0, 0

    def turn_on(self, for_s: float, peer: str = "") -> None:
        """Keep what is said for ``for_s`` [s], at most `MAX_ON_S`; only with peers in whose name ``peer`` occurs."""
        if not self.on:
            self.dropped = 0
        self._until_us = self._clock.monotonic_us() + round(min(for_s, MAX_ON_S) * US)
        self._peer = peer
        self.on = for_s > 0

    def turn_off(self) -> None:
        """Keep nothing more, and forget what was said."""
        self.on = False
        self._lines.clear()
        self._chars = 0

    @property
    def left_s(self) -> float:
        """How long it stays on [s]; 0 when it is off."""
        self._look()
        return (self._until_us - self._clock.monotonic_us()) / US if self.on else 0.0

    def lines(self, after: int = 0) -> list[WireLine]:
        """Return the lines after number ``after`` that are still there."""
        self._look()
        return [line for line in self._lines if line.number > after]

    def __call__(
        self, direction: Literal["in", "out", "note"], said: bytes | str | Callable[[], str], *, peer: str = ""
    ) -> None:
        """Keep what was said, without its secrets; a function is called only when its text is wanted."""
        if not self.on or self._peer not in peer or not self._has_room():
            return
        said = said if isinstance(said, bytes | str) else said()
        most = LINE_CHARS + self.redaction.longest  # so that no secret is cut in two before it is looked for
        text = as_text(said, most)
        shown = self.redaction(text)[:LINE_CHARS]
        self._number += 1
        line = WireLine(
            self._number, self._clock.now_us(), direction, self.redaction(peer[:_PEER_CHARS]), shown,
            len(text) > LINE_CHARS or len(said) > most,
        )  # fmt: skip
        self._lines.append(line)
        self._chars += len(shown)
        self._chars_in_second += len(shown)
        while len(self._lines) > LINES or self._chars > ALL_CHARS:
            self._chars -= len(self._lines.popleft().text)

    def _has_room(self) -> bool:
        self._look()
        second = self._clock.monotonic_us() // US
        if second != self._second:
            self._second, self._in_second, self._chars_in_second = second, 0, 0
        self._in_second += 1
        has_room = self._in_second <= LINES_PER_S and self._chars_in_second < CHARS_PER_S
        self.dropped += not has_room
        return self.on and has_room

    def _look(self) -> None:
        if self.on and self._clock.monotonic_us() >= self._until_us:
            self.turn_off()


def as_text(said: bytes | str, most: int) -> str:
    """Return what was said as a text of about ``most`` characters: bytes that are no printable UTF-8 as hex digits."""
    if isinstance(said, str):
        return said[:most]
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(said[:most])  # the cut may be within a character
    except UnicodeDecodeError:
        text = "\0"
    if text.translate({9: None, 10: None, 13: None}).isprintable():
        return text
    return said[:most].hex(" ")
