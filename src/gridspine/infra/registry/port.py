"""The registry port: versioned documents, unique keys, sequences, and an outbox, in one transaction.

A noun is a frozen `msgspec.Struct`; the registry keeps it as JSON under ``(kind, id)`` with a version that rises by
one. ``owner`` is the organisation it belongs to. What ``emit`` is given reaches the log after the commit, at least
once, in order; its ``id`` lets a consumer drop a repetition.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

S = TypeVar("S", bound=msgspec.Struct)
R = TypeVar("R")


class Event(msgspec.Struct, frozen=True, rename="camel"):
    """A change of standing data, as the log carries it (CloudEvents 1.0 in spirit)."""

    id: str
    type: str
    time_us: int
    subject: str
    actor: str
    data: dict[str, Any]


class Transaction(Protocol):
    """One unit of work. Leaving it by an exception undoes it."""

    def get(self, kind: type[S], id: str) -> S | None:
        """Return the document, or None."""
        ...

    def version(self, kind: type[S], id: str) -> int:
        """Return the document's version, 0 when there is none."""
        ...

    def put(self, document: msgspec.Struct, *, id: str, owner: str = "", expected: int | None = None) -> int:
        """Keep ``document`` and return its new version; raise `Conflict` when ``expected`` is not the current one."""
        ...

    def put_new(self, documents: Iterable[tuple[msgspec.Struct, str, str]]) -> None:
        """Keep many documents that are not there yet, each with its id and owner; raise `Conflict` when one is."""
        ...

    def put_over(self, kind: type[S], documents: Mapping[str, S], owner: str) -> None:
        """Keep many documents of ``owner`` by id, whatever was there; each gets its next version."""
        ...

    def existing(self, kind: type[S], ids: Sequence[str]) -> set[str]:
        """Return those of ``ids`` that have a document."""
        ...

    def count(self, kind: type[S]) -> int:
        """Return how many documents there are."""
        ...

    def delete(self, kind: type[S], id: str) -> None:
        """Forget the document and its keys."""
        ...

    def list(self, kind: type[S], *, owner: str | None = None, after: str = "", limit: int = 1_000_000) -> Sequence[S]:
        """Return documents in the order of their ids, those of ``owner`` only when it is given."""
        ...

    def items(self, kind: type[S], *, owner: str) -> Sequence[tuple[str, S]]:
        """Return the documents of ``owner``, each with its id, in the order of these."""
        ...

    def bind_key(self, name: str, value: str, id: str) -> None:
        """Make ``(name, value)`` the unique key of ``id``; raise `Conflict` when another has it."""
        ...

    def find_key(self, name: str, value: str) -> str | None:
        """Return the id bound to ``(name, value)``, or None."""
        ...

    def next_number(self, sequence: str, count: int = 1) -> int:
        """Take ``count`` numbers from ``sequence`` and return the first; committed ones are never given again."""
        ...

    def emit(self, topic: str, key: str, event: msgspec.Struct) -> None:
        """Send ``event`` (an `Event`, mostly) to ``topic`` of the log when this transaction commits.

        Raises `TooLarge` when it is over what a record of the log may hold.
        """
        ...

    def emit_all(self, events: Iterable[tuple[str, str, msgspec.Struct]]) -> None:
        """Send many events, each ``(topic, key, event)``, in that order."""
        ...


class Registry(Protocol):
    """Standing data. Calls block; call them from a worker thread or through ``run``."""

    def transact(self, work: Callable[[Transaction], R]) -> R:
        """Run ``work`` in one serialised transaction, commit, and hand its events to the log before returning."""
        ...

    def read(self, work: Callable[[Transaction], R]) -> R:
        """Run ``work``, which must not write, on a consistent view."""
        ...

    async def run(self, work: Callable[[Transaction], R], *, write: bool = True) -> R:
        """Do ``transact`` (or ``read``) on the registry's worker thread."""
        ...

    def close(self) -> None:
        """Close files."""
        ...
