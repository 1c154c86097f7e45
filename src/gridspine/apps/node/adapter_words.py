"""What adapters say in the log of the Things they serve: the last word of each, for who looks after it.

::

    adapter's log ─ warning that names a Thing it serves ─► last word of that Thing
    a door ─ somebody was not let in, who called itself … ─► last word of that name

In memory, the latest `MOST` of them: a node that starts anew hears it again, or it is over. Nothing is decided by it.
"""

import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from gridspine.infra.runtime.clock import Clock

MOST, _CHARS = 2_000, 400
_UTILITY = re.compile(r"utilit(?:y |ies\.)(\S{1,100}?):? ")
"""A server by its name in the settings, which several Things may be connected to."""
SHARED = "gridspine.energy"
"""What adapters that follow others' programmes have in common speaks there in their names."""
_URN = re.compile(r"urn:[^\s,;'\"]{1,255}")


class AdapterWord(msgspec.Struct, frozen=True):
    """What was said, and when [µs since 1970]."""

    at_us: int
    text: str


class AdapterWords:
    """The last words; ``serves`` says whether an adapter serves a Thing. They may be heard on any thread."""

    def __init__(self, clock: Clock, serves: Callable[[str, str], bool]) -> None:
        self._clock, self._serves = clock, serves
        self._of: OrderedDict[tuple[str, str], AdapterWord] = OrderedDict()

    def of(self, adapter: str, *names: str) -> AdapterWord | None:
        """Return the newest of what ``adapter`` said of a Thing, or of who called itself one of ``names``."""
        found = [word for name in names if (word := self._of.get((adapter, name))) is not None]
        return max(found, key=lambda word: word.at_us, default=None)

    def note(self, adapter: str, name: str, text: str) -> None:
        """Keep ``text`` as the last word on ``name``."""
        key = adapter, name[:300]
        self._of[key] = AdapterWord(self._clock.now_us(), text[:_CHARS])
        self._of.move_to_end(key)
        while len(self._of) > MOST:
            self._of.popitem(last=False)

    def hear(self, adapter: str, message: str, hidden: Callable[[str], str]) -> None:
        """Keep what ``adapter`` said of each Thing that it serves; ``hidden`` takes secrets out."""
        things = {found.rstrip(":.)") for found in _URN.findall(message[:2_000])}
        for thing in things:
            if self._serves(adapter, thing):
                self.note(adapter, thing, hidden(_without(message[:2_000], thing)))
        if not things and (utility := _UTILITY.match(message)) is not None:  # else it is about somebody's Thing alone
            self.note(adapter, f"utility {utility[1]}", hidden(message[:2_000]))

    @contextmanager
    def listening(self, adapter: str, package: str, hidden: Callable[[str], str]) -> Iterator[None]:
        """Hear the warnings in the log of ``package``, and in that of what adapters share, while an adapter runs."""
        ear = _Ear(lambda message: self.hear(adapter, message, hidden))
        loggers = logging.getLogger(package), logging.getLogger(SHARED)
        for logger in loggers:
            logger.addHandler(ear)
        try:
            yield
        finally:
            for logger in loggers:
                logger.removeHandler(ear)


class _Ear(logging.Handler):
    def __init__(self, hear: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._hear = hear

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._hear(record.getMessage())
        except Exception:
            self.handleError(record)


def _without(message: str, thing: str) -> str:
    """Return a message without the name of the Thing that it begins with: it is shown beside it."""
    text = message.removeprefix("binding left out: ")
    for form in (f"{thing}: ", f"{thing} ", f"thing={thing} "):
        text = text.removeprefix(form)
    return text
