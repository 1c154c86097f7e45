"""What one adapter has to tell its clients, and another lets them read: notices, by a broker of the node.

::

    adapter that tells (a desk) ─ look for readers ─► Notices ◄─ serve ─ adapter that has a broker
          └─ may it see that? ─► reader.tell ─► queue of the connection ─► {desk}/{client}/{subject}/{verb}

Neither knows the other. Each topic is of one client, which its second level names: nobody else may subscribe to it,
and what stands in it was found to be for that client at the moment it was told. Notices are kept in memory, few of
them, and nobody publishes but the node; who needs to be sure asks the desk's own door.
"""

import contextlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, unquote

from gridspine.kernel.errors import Conflict
from gridspine.things.adapter import AdapterContext, Source

ANY_VERB = "+"
"""Stands in a subscription for whatever became of a subject (MQTT 3.1.1 §4.7.1.3)."""
_SAFE = ":-._~"
_LEVELS = 4


class Notice:
    """What is told, to however many.

    ``waiting`` is how many queues of each organisation hold it, so that its bytes are counted once.
    """

    __slots__ = ("body", "waiting")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.waiting: Counter[str] = Counter()


class NoticeTopic(NamedTuple):
    """A topic of notices, or a filter where ``verb`` is `ANY_VERB`; ``client`` is the id of a principal."""

    desk: str
    client: str
    subject: str
    verb: str

    def __str__(self) -> str:
        return f"{self.desk}/{quote(self.client, safe=_SAFE)}/{self.subject}/{self.verb}"


class NoticeReader(Protocol):
    """A client that subscribed, or its session that waits for it."""

    @property
    def source(self) -> Source:
        """Who reads, as it proved itself."""
        ...

    def tell(self, topic: NoticeTopic, notice: Notice) -> None:
        """Queue a notice; returns at once. Of too many the oldest go."""
        ...


class NoticeDesk(Protocol):
    """Who has something to tell; ``name`` is the first level of its topics."""

    name: str

    def proven(self, username: str, password: str) -> Source | None:
        """Return who shows a token of the desk's door (``password``) under its own id (``username``), or None."""
        ...

    def serves(self, source: Source) -> bool:
        """Whether ``source`` may read anything here; never when what it proved itself by holds no more."""
        ...

    def may_read(self, source: Source, subject: str, verb: str) -> bool:
        """Whether ``source`` may subscribe to what becomes of ``subject``."""
        ...


class NoticeBroker(Protocol):
    """Whoever lets clients read: by MQTT; ``listens_at`` is its host and port, with TLS or without."""

    listens_at: tuple[str, int]
    tls: bool

    def subjects(self, desk: str) -> Collection[str]:
        """Return the subjects of a desk that anybody subscribed to."""
        ...

    def readers(self, desk: str, subject: str, verb: str) -> Sequence[NoticeReader]:
        """Return who subscribed to ``verb`` of ``subject``, each once."""
        ...


class Notices:
    """A node's desks and its broker, if it has one. Lives on the event loop."""

    def __init__(self) -> None:
        self.broker: NoticeBroker | None = None
        self._desks: dict[str, NoticeDesk] = {}

    @property
    def desks(self) -> Collection[NoticeDesk]:
        """Those that are open."""
        return self._desks.values()

    @contextlib.contextmanager
    def open(self, desk: NoticeDesk) -> Iterator[None]:
        """Open a desk for a while; raise `Conflict` for a name that is taken."""
        if self._desks.setdefault(desk.name, desk) is not desk:
            raise Conflict(f"a desk {desk.name} is open already")
        try:
            yield
        finally:
            del self._desks[desk.name]

    @contextlib.contextmanager
    def serve(self, broker: NoticeBroker) -> Iterator[None]:
        """Let clients read by ``broker`` for a while; raise `Conflict` where there is one."""
        if self.broker is not None:
            raise Conflict("a broker serves notices already")
        self.broker = broker
        try:
            yield
        finally:
            self.broker = None

    def proven(self, username: str, password: str) -> Source | None:
        """Return who shows a token of any desk's door, or None."""
        found = (desk.proven(username, password) for desk in self._desks.values())
        return next((one for one in found if one is not None), None)

    def serves(self, source: Source) -> bool:
        """Whether any desk has something for ``source``."""
        return any(desk.serves(source) for desk in self._desks.values())

    def may_read(self, source: Source, topic: NoticeTopic) -> bool:
        """Whether ``source`` may subscribe to ``topic``: its own, of a desk that lets it."""
        desk = self._desks.get(topic.desk)
        return (
            desk is not None and topic.client == source.principal and desk.may_read(source, topic.subject, topic.verb)
        )


def notices_of(context: AdapterContext) -> Notices:
    """Return the notices of an adapter's node."""
    port: Any = context.notices
    found: Notices = port
    return found


def read_notice_topic(text: str) -> NoticeTopic | None:
    """Return a topic or filter word for word as `NoticeTopic` writes it, else None."""
    levels = text.split("/")
    if len(levels) < _LEVELS or not all(levels) or "+" in "".join(levels[:-1]) or "#" in text:
        return None
    found = NoticeTopic(levels[0], unquote(levels[1]), "/".join(levels[2:-1]), levels[-1])
    return found if str(found) == text else None
