"""Notifications by MQTT: changes told to who subscribed at the node's broker, and may see them.

::

    change ─► subjects ─► who reads them? ─► may it be seen? ─► the reader's queue at the broker

A change comes here when it is durable. The broker bounds what waits for a reader; a slow one holds up nobody.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import AsyncIterator

import msgspec

from gridspine.adapters.openadr3 import edition
from gridspine.adapters.openadr3.call import Call
from gridspine.adapters.openadr3.mqtt_place import read_mqtt_place
from gridspine.adapters.openadr3.settings import Settings
from gridspine.adapters.openadr3.subscription import may_see, without_tokens
from gridspine.adapters.openadr3.topic import DESK, VERBS, check_subject
from gridspine.adapters.openadr3.vtn import Vtn
from gridspine.adapters.openadr3.wire import Operation, Record
from gridspine.kernel.errors import GridspineError, NotFound
from gridspine.things.adapter import AdapterContext, Source
from gridspine.things.adapter_notices import ANY_VERB, Notice, NoticeBroker, NoticeTopic, notices_of

MAX_CHANGES = 10_000
"""Changes that wait to be looked at; of more the oldest go."""
_TURN = 50
_EVERYWHERE = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - where a listener may be, not where one is made
_PLURAL = {"PROGRAM": "programs", "EVENT": "events", "REPORT": "reports", "SUBSCRIPTION": "subscriptions",
           "VEN": "vens", "RESOURCE": "resources"}  # fmt: skip
_LOG = logging.getLogger(__name__)


class Notifier:
    """The VTN's desk of notices (`gridspine.things.adapter_notices.NoticeDesk`). `run` does the work."""

    name = DESK

    def __init__(self, vtn: Vtn, context: AdapterContext, settings: Settings) -> None:
        for one in settings.mqtt:
            read_mqtt_place(one)
        self._vtn, self._context, self._settings = vtn, context, settings
        self._notices = notices_of(context)
        self._changes: deque[tuple[Record, Operation, frozenset[str]]] = deque(maxlen=MAX_CHANGES)
        self._wake = asyncio.Event()
        self.counts: Counter[str] = Counter()
        """Notifications that were handed to the broker, and changes that were lost."""
        vtn.told.append(self._tell)
        vtn.brokers = self._brokers

    async def run(self) -> None:
        """Look at changes, until cancelled."""
        with self._notices.open(self):
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._changes:
                    try:
                        await self._look(*self._changes.popleft())
                    except Exception:  # what is wrong with one change keeps no other from being told
                        self.counts["lost"] += 1
                        _LOG.exception("a change was not told by MQTT")

    # -- what the broker asks ------------------------------------------------------------------------------------

    def proven(self, username: str, password: str) -> Source | None:
        """Return who shows a token of this door under its own clientID."""
        try:
            source = self._context.by_token(password)
        except GridspineError:
            return None
        return source if source.principal == username else None

    def serves(self, source: Source) -> bool:
        """Whether ``source`` may read programmes."""
        try:
            return self._vtn.controls.of(source).may("programme.read")
        except GridspineError:
            return False

    def may_read(self, source: Source, subject: str, verb: str) -> bool:
        """Whether ``source`` may subscribe to what becomes of ``subject``."""
        if verb != ANY_VERB and verb not in VERBS.values():
            return False
        try:
            call = self._call(source)
            call.port.check("programme.read")
            check_subject(self._vtn, call, tuple(subject.split("/")))
        except GridspineError:
            return False
        return True

    # -- changes -------------------------------------------------------------------------------------------------

    def _brokers(self, host: str) -> list[str]:
        broker = self._notices.broker
        if broker is None:
            return []
        own, port = broker.listens_at
        name = host or "localhost" if own in _EVERYWHERE else f"[{own}]" if ":" in own else own
        return list(self._settings.mqtt) or [f"{'mqtts' if broker.tls else 'mqtt'}://{name}:{port}"]

    def _tell(self, record: Record, operation: Operation, guard: frozenset[str]) -> None:
        if self._notices.broker is None or not self._notices.broker.subjects(DESK):
            return
        if len(self._changes) == MAX_CHANGES:
            self.counts["lost"] += 1
        self._changes.append((record, operation, guard))
        self._wake.set()

    async def _look(self, record: Record, operation: Operation, guard: frozenset[str]) -> None:
        broker = self._notices.broker
        if broker is None:
            return
        told = edition.notified(without_tokens(record), operation, "3.1.0")
        notice, verb, count = Notice(msgspec.json.encode(told)), VERBS[operation], 0
        async for subject in self._subjects(broker, record, guard):
            only_bl = "/" not in subject and subject != "programs"
            for reader in broker.readers(DESK, subject, verb):
                count += 1
                if count % _TURN == 0:
                    await asyncio.sleep(0)  # others are served between them
                if self._sees(reader.source, record, guard, only_bl):
                    reader.tell(NoticeTopic(DESK, reader.source.principal, subject, verb), notice)
                    self.counts["told"] += 1

    def _sees(self, source: Source, record: Record, guard: frozenset[str], only_bl: bool) -> bool:
        try:
            call = self._call(source)
        except GridspineError:  # what it proved itself by holds no more: it is told nothing
            return False
        return (call.bl or not only_bl) and may_see(self._vtn, call, record, guard)

    def _call(self, source: Source) -> Call:
        return Call("GET", "3.1.0", (), {}, b"", self._vtn.controls.of(source), self._vtn.clock.now_us())

    async def _subjects(
        self, broker: NoticeBroker, record: Record, guard: frozenset[str]
    ) -> AsyncIterator[str]:  # fmt: skip
        """Yield what a change of an object is a change of."""
        plural = _PLURAL[record.kind]
        yield plural
        if record.kind in {"PROGRAM", "VEN"}:
            yield f"{plural}/{record.id}"
        if record.kind == "EVENT":
            yield f"programs/{record.parent}/events"
        if record.kind == "RESOURCE":
            yield f"vens/{record.parent}/resources"
        if record.kind in {"PROGRAM", "EVENT"} and (aimed := record.targets or guard):
            of_vens = [one.split("/") for one in broker.subjects(DESK) if one.startswith("vens/")]
            for count, parts in enumerate(of_vens):
                if count % _TURN == _TURN - 1:
                    await asyncio.sleep(0)
                if len(parts) == 3 and parts[2] == plural and aimed & self._words(parts[1]):
                    yield "/".join(parts)

    def _words(self, ven: str) -> frozenset[str]:
        """Return the words by which who runs programmes knows a VEN and its resources."""
        try:
            found = self._vtn.book.get("VEN", ven)
        except NotFound:
            return frozenset()
        known = [one for one in (found, *self._vtn.book.below(ven)) if one.granted]
        names = {str(one.body["venName" if one.kind == "VEN" else "resourceName"]) for one in known}
        return frozenset(names).union(*(one.targets for one in known))
