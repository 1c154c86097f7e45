"""Books of standing documents: kept in the registry, held in memory, each change an event in the ledger.

What is committed counts, also when the log did not take its event at once: then it is read again.
"""

from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from gridspine.infra.log.topics import LEDGER
from gridspine.infra.registry.port import Event, Registry, Transaction
from gridspine.infra.runtime.clock import Clock, new_id
from gridspine.kernel.errors import Conflict, NotFound

MAX_TOLD_BYTES = 64_000
"""What an event tells of a document at most; of a longer one it tells all but its lists."""


MAX_CHANGERS = 100


def with_changer(known: Sequence[str], who: str) -> tuple[str, ...]:
    """Return the persons who changed a document with one more: all are behind it, however long ago they did.

    Raises `Conflict` for one too many: that nobody is forgotten matters more than that this document is changed.
    """
    if who in known:
        return tuple(known)
    if len(known) >= MAX_CHANGERS:
        raise Conflict(f"{MAX_CHANGERS} persons have changed this: make a new one in its place")
    return (*known, who)


class Document(Protocol):
    """What a book keeps; ``version`` rises by one with each change."""

    @property
    def id(self) -> str:
        """Its id."""
        ...

    @property
    def organisation(self) -> str:
        """Whose it is."""
        ...

    @property
    def version(self) -> int:
        """How often it was kept."""
        ...


D = TypeVar("D", bound=Any)


class Book(Generic[D]):
    """All documents of one ``kind``, a frozen struct; ``noun`` is what people call one. Lives on the event loop."""

    def __init__(
        self, kind: type[D], noun: str, registry: Registry, clock: Clock,
        event_id: Callable[[str, D], str] | None = None,
    ) -> None:  # fmt: skip
        """``event_id`` names an event by its type and document, where it is to be found by that."""
        self._kind, self._noun = kind, noun
        self._event_id = event_id
        self._registry, self._clock = registry, clock
        self.kept: dict[str, D] = {}
        self.listeners: list[Callable[[str, D, str, bool], None]] = []
        """Hear of each change: the type of its event, the document, by whom, and whether it is gone."""

    def load(self) -> None:
        """Read them when the node starts; blocks."""
        self.kept = {one.id: one for one in self._registry.read(lambda tx: tx.list(self._kind))}

    def get(self, id: str) -> D:
        """Return one; raise `NotFound`."""
        found = self.kept.get(id)
        if found is None:
            raise NotFound(f"there is no such {self._noun}")
        return found

    async def keep(self, type_: str, document: D, actor: str, beside: msgspec.Struct | None = None) -> D:
        """Keep one, new or changed; raise `Conflict` when somebody else changed it meanwhile.

        ``beside`` is kept with it under its id, and not held in memory.
        """
        (kept,) = await self.keep_all([(type_, document)], actor, beside)
        return kept

    async def keep_all(
        self, changes: Sequence[tuple[str, D]], actor: str, beside: msgspec.Struct | None = None
    ) -> list[D]:
        """Keep several, all or none; each with the type of its event. Their versions are those they come from."""
        before = {one.id: self.kept[one.id].version if one.id in self.kept else 0 for _, one in changes}
        after = [msgspec.structs.replace(one, version=before[one.id] + 1) for _, one in changes]

        def work(tx: Transaction) -> None:
            for (type_, _), one in zip(changes, after, strict=True):
                tx.put(one, id=one.id, owner=one.organisation, expected=before[one.id])
                tx.emit(LEDGER, one.organisation, self.event(type_, one, actor))
                if beside is not None:
                    tx.put(beside, id=one.id, owner=one.organisation)

        try:
            await self._registry.run(work)
        except Exception:
            await self._read_again(list(before))
            raise
        self.kept.update((one.id, one) for one in after)
        for (type_, _), one in zip(changes, after, strict=True):
            self._tell(type_, one, actor, False)
        return after

    async def remove(self, type_: str, document: D, actor: str, beside: Sequence[tuple[type[Any], str]] = ()) -> None:
        """Forget one, and the documents ``beside`` it."""

        def work(tx: Transaction) -> None:
            tx.delete(self._kind, document.id)
            for kind, id_ in beside:
                tx.delete(kind, id_)
            tx.emit(LEDGER, document.organisation, self.event(type_, document, actor))

        try:
            await self._registry.run(work)
        except Exception:
            await self._read_again([document.id])
            raise
        self.kept.pop(document.id, None)
        self._tell(type_, document, actor, True)

    async def forget(self, ids: Sequence[str], beside: type[Any] | None = None) -> None:
        """Let documents go that are over and too many; the ledger keeps what was told of them."""

        def work(tx: Transaction) -> None:
            for id_ in ids:
                tx.delete(self._kind, id_)
                if beside is not None:
                    tx.delete(beside, id_)

        await self._registry.run(work)
        for id_ in ids:
            self.kept.pop(id_, None)

    def event(self, type_: str, document: D, actor: str) -> Event:
        """Return what the ledger is told."""
        told: dict[str, Any] = msgspec.to_builtins(document)
        if len(msgspec.json.encode(told)) > MAX_TOLD_BYTES:
            told = {name: len(value) if isinstance(value, list) else value for name, value in told.items()}
        id_ = new_id(self._clock) if self._event_id is None else self._event_id(type_, document)
        return Event(id_, type_, self._clock.now_us(), document.id, actor, told)

    def _tell(self, type_: str, document: D, actor: str, removed: bool) -> None:
        for listener in list(self.listeners):
            listener(type_, document, actor, removed)

    async def _read_again(self, ids: Sequence[str]) -> None:
        for id_ in ids:
            found = await self._registry.run(lambda tx, id_=id_: tx.get(self._kind, id_), write=False)  # type: ignore[misc]
            if found is None:
                self.kept.pop(id_, None)
            else:
                self.kept[id_] = found
