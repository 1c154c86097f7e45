"""Tidings: what the log has to say of single Things, handed to those who listen for it, in its order.

::

    topics alarms · commands · events ─ looked at while anyone listens ─► by Thing ─► listener: a bounded queue

An event's id is where its stream goes on in each topic; whoever comes back with one gets what it missed from the log.
Nothing is told that the log does not hold. A listener that is too slow ends, and comes back with its last id.
"""

import asyncio
import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

import structlog

from gridspine.infra.log.port import EventLog, Stored
from gridspine.infra.log.scan import scan
from gridspine.infra.log.topics import EVENTS
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import Gone, Invalid
from gridspine.things.alarm import ALARMS
from gridspine.things.command import COMMANDS

LOOK_S = 0.1
"""How often the log is looked at while anyone listens [s]."""
MAX_WAITING = 1_000
"""Records that wait for one listener at most."""
MAX_REPLAY = 20_000
"""Records of a topic that are looked through for one who comes back."""
_AT_ONCE = 500
_PLACE = re.compile(r"([a-z])(\d{1,18})", re.ASCII)
_LETTERS = {ALARMS: "a", COMMANDS: "c", EVENTS: "e"}
TOPICS = tuple(_LETTERS)
Places = Mapping[str, int]
"""The next offset of each topic."""
log = structlog.get_logger(__name__)


def format_places(places: Places) -> str:
    """Return places as the id of an event: ``a12c7``."""
    return "".join(f"{_LETTERS[topic]}{offset}" for topic, offset in sorted(places.items()))


def parse_places(text: str) -> dict[str, int]:
    """Return the places an event's id stands for; raise `Invalid`."""
    topics = {letter: topic for topic, letter in _LETTERS.items()}
    found = _PLACE.findall(text)
    if "".join(letter + digits for letter, digits in found) != text or any(letter not in topics for letter, _ in found):
        raise Invalid("Last-Event-ID: that is no id of an event of this node")
    return {topics[letter]: int(digits) for letter, digits in found}


class Listener:
    """Somebody who listens for tidings of one Thing; ``places`` is where what was taken ends."""

    def __init__(self, thing: str, places: Places) -> None:
        self.thing = thing
        self.places = dict(places)
        self.wake = asyncio.Event()
        self.over = ""
        self._waiting: deque[Stored] = deque()

    def offer(self, record: Stored) -> None:
        """Queue a record; one too many ends the listening."""
        if len(self._waiting) >= MAX_WAITING:
            self.over = "behind"
        if not self.over:
            self._waiting.append(record)
        self.wake.set()

    def take(self) -> Stored | None:
        """Return the next record, or None."""
        if not self._waiting:
            return None
        record = self._waiting.popleft()
        self.places[record.position.topic] = record.position.offset + 1
        return record


class Tidings:
    """All listeners of a node; lives on the event loop, and looks at the log only while there are some."""

    def __init__(self, eventlog: EventLog, clock: Clock) -> None:
        self._log = eventlog
        self._clock = clock
        self._listeners: dict[str, dict[Listener, None]] = {}
        self._at: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None

    def ends(self, topics: Iterable[str]) -> dict[str, int]:
        """Return where topics end now."""
        return {topic: self._log.bounds(topic)[0][1] for topic in topics}

    async def listen(self, thing: str, topics: Sequence[str], since: Places) -> Listener:
        """Return a listener for what ``topics`` say of ``thing`` from ``since`` on, from now where it says nothing.

        Raises `Gone` when the log does not reach back so far, or too much would have to be looked through.
        """
        if self._task is None:
            self._at = self.ends(TOPICS)
            self._task = asyncio.ensure_future(self._follow())
        ends = {topic: self._at[topic] for topic in topics}
        starts = {topic: min(since.get(topic, end), end) for topic, end in ends.items()}
        listener = Listener(thing, starts)
        self._listeners.setdefault(thing, {})[listener] = None
        try:
            missed = await asyncio.to_thread(lambda: [self._missed(thing, t, starts[t], ends[t]) for t in topics])
        except BaseException:
            self.leave(listener)
            raise
        live = list(listener._waiting)
        listener._waiting.clear()
        for record in sorted((one for some in missed for one in some), key=lambda one: one.time_us):
            listener.offer(record)
        for record in live:  # came while the log was read
            listener.offer(record)
        return listener

    def leave(self, listener: Listener) -> None:
        """Let a listener go; with the last one the looking ends."""
        members = self._listeners.get(listener.thing, {})
        members.pop(listener, None)
        if not members:
            self._listeners.pop(listener.thing, None)
        if not self._listeners and self._task is not None:
            self._task.cancel()
            self._task = None

    def _missed(self, thing: str, topic: str, start: int, end: int) -> list[Stored]:
        first = self._log.bounds(topic)[0][0]
        if start < min(first, end) or end - start > MAX_REPLAY:
            raise Gone("too much happened since that event: read how it is now, and follow from here")
        return [one for one in scan(self._log, topic, 0, start, end) if thing_of(one) == thing]

    async def _follow(self) -> None:
        while True:
            try:
                for topic in TOPICS:
                    await self._look(topic)
            except Exception as error:
                log.exception("tidings of Things cannot be read from the log", error=str(error))
            await self._clock.sleep(LOOK_S)

    async def _look(self, topic: str) -> None:
        first, end = self._log.bounds(topic)[0]
        while self._at[topic] < end:
            start = max(self._at[topic], first)
            records = await asyncio.to_thread(self._log.read, topic, 0, start, max_records=_AT_ONCE)
            self._at[topic] = records[-1].position.offset + 1 if records else end
            for record in records:
                for listener in self._listeners.get(thing_of(record), ()):
                    if topic in listener.places and record.position.offset >= listener.places[topic]:
                        listener.offer(record)


def thing_of(record: Stored) -> str:
    """Return the Thing a record is about: it is the record's key, or the point in it is one of the Thing's."""
    return record.key.decode("utf-8", "replace").partition("/")[0]
