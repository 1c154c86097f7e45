"""One unit of work on the registry's tables; see `gridspine.infra.registry.port.Transaction`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from gridspine.infra.log.port import MAX_RECORD_BYTES
from gridspine.infra.registry.tables import document, document_key, outbox, sequence
from gridspine.kernel.errors import Conflict, Corrupt, TooLarge

S = TypeVar("S", bound=msgspec.Struct)
_ASKED_AT_ONCE = 500


def kind_name(kind: type[msgspec.Struct]) -> str:
    """Return the name under which documents of ``kind`` are kept."""
    return kind.__name__


class SqlTransaction:
    """A `Transaction` on an open SQL connection. ``events`` counts what was emitted."""

    def __init__(self, connection: Connection, now_us: int) -> None:
        self._connection = connection
        self._now_us = now_us
        self.events = 0

    def get(self, kind: type[S], id: str) -> S | None:
        """Return the document, or None."""
        row = self._connection.execute(
            select(document.c.format, document.c.body).where(document.c.kind == kind_name(kind), document.c.id == id)
        ).first()
        return None if row is None else _decode(kind, row.format, row.body)

    def version(self, kind: type[S], id: str) -> int:
        """Return the document's version, 0 when there is none."""
        found = self._connection.execute(
            select(document.c.version).where(document.c.kind == kind_name(kind), document.c.id == id)
        ).scalar()
        return found or 0

    def put(self, document_: msgspec.Struct, *, id: str, owner: str = "", expected: int | None = None) -> int:
        """Keep the document and return its new version."""
        kind = type(document_)
        current = self.version(kind, id)
        if expected is not None and expected != current:
            raise Conflict(f"{kind_name(kind)} {id} is at version {current}, not {expected}: read it again")
        values: dict[str, Any] = {
            "owner": owner,
            "version": current + 1,
            "format": getattr(kind, "FORMAT", 1),
            "body": msgspec.json.encode(document_),
        }
        if current:
            self._connection.execute(
                update(document).where(document.c.kind == kind_name(kind), document.c.id == id).values(**values)
            )
        else:
            self._connection.execute(insert(document).values(kind=kind_name(kind), id=id, **values))
        return current + 1

    def put_new(self, documents: Iterable[tuple[msgspec.Struct, str, str]]) -> None:
        """Keep many documents that are not there yet; raise `Conflict` when one is."""
        rows = [
            {
                "kind": kind_name(type(one)),
                "id": id_,
                "owner": owner,
                "version": 1,
                "format": getattr(type(one), "FORMAT", 1),
                "body": msgspec.json.encode(one),
            }
            for one, id_, owner in documents
        ]
        if not rows:
            return
        try:
            self._connection.execute(insert(document), rows)
        except IntegrityError as error:
            raise Conflict("one of these is there already") from error

    def put_over(self, kind: type[S], documents: Mapping[str, S], owner: str) -> None:
        """Keep many documents of ``owner`` by id, whatever was there; each gets its next version."""
        ids = list(documents)
        versions: dict[str, int] = {}
        for start in range(0, len(ids), _ASKED_AT_ONCE):
            part = document.c.id.in_(ids[start : start + _ASKED_AT_ONCE])
            here = document.c.kind == kind_name(kind)
            found = self._connection.execute(select(document.c.id, document.c.version).where(here, part))
            versions.update((row.id, row.version) for row in found)
            self._connection.execute(delete(document).where(here, part))
        format_ = getattr(kind, "FORMAT", 1)
        rows = [
            {
                "kind": kind_name(kind),
                "id": id_,
                "owner": owner,
                "version": versions.get(id_, 0) + 1,
                "format": format_,
                "body": msgspec.json.encode(one),
            }
            for id_, one in documents.items()
        ]
        if rows:
            self._connection.execute(insert(document), rows)

    def existing(self, kind: type[S], ids: Sequence[str]) -> set[str]:
        """Return those of ``ids`` that have a document."""
        found: set[str] = set()
        for start in range(0, len(ids), _ASKED_AT_ONCE):
            part = ids[start : start + _ASKED_AT_ONCE]
            query = select(document.c.id).where(document.c.kind == kind_name(kind), document.c.id.in_(part))
            found.update(self._connection.execute(query).scalars())
        return found

    def count(self, kind: type[S]) -> int:
        """Return how many documents there are."""
        query = select(func.count()).select_from(document).where(document.c.kind == kind_name(kind))
        return int(self._connection.execute(query).scalar() or 0)

    def delete(self, kind: type[S], id: str) -> None:
        """Forget the document and its keys."""
        self._connection.execute(delete(document).where(document.c.kind == kind_name(kind), document.c.id == id))
        self._connection.execute(delete(document_key).where(document_key.c.id == id))

    def list(self, kind: type[S], *, owner: str | None = None, after: str = "", limit: int = 1_000_000) -> Sequence[S]:
        """Return documents in the order of their ids."""
        query = select(document.c.format, document.c.body).where(
            document.c.kind == kind_name(kind), document.c.id > after
        )
        if owner is not None:
            query = query.where(document.c.owner == owner)
        rows = self._connection.execute(query.order_by(document.c.id).limit(limit))
        return [_decode(kind, row.format, row.body) for row in rows]

    def items(self, kind: type[S], *, owner: str) -> Sequence[tuple[str, S]]:
        """Return the documents of ``owner``, each with its id, in the order of these."""
        query = select(document.c.id, document.c.format, document.c.body).where(
            document.c.kind == kind_name(kind), document.c.owner == owner
        )
        rows = self._connection.execute(query.order_by(document.c.id))
        return [(row.id, _decode(kind, row.format, row.body)) for row in rows]

    def bind_key(self, name: str, value: str, id: str) -> None:
        """Make ``(name, value)`` the unique key of ``id``."""
        bound = self.find_key(name, value)
        if bound == id:
            return
        if bound is not None:
            raise Conflict(f"{name} {value!r} is taken")
        try:
            self._connection.execute(insert(document_key).values(name=name, value=value, id=id))
        except IntegrityError as error:
            raise Conflict(f"{name} {value!r} is taken") from error

    def find_key(self, name: str, value: str) -> str | None:
        """Return the id bound to ``(name, value)``, or None."""
        return self._connection.execute(
            select(document_key.c.id).where(document_key.c.name == name, document_key.c.value == value)
        ).scalar()

    def next_number(self, sequence_: str, count: int = 1) -> int:
        """Take ``count`` numbers and return the first."""
        first = self._connection.execute(select(sequence.c.next).where(sequence.c.name == sequence_)).scalar()
        if first is None:
            self._connection.execute(insert(sequence).values(name=sequence_, next=count))
            return 0
        self._connection.execute(update(sequence).where(sequence.c.name == sequence_).values(next=first + count))
        return int(first)

    def emit(self, topic: str, key: str, event: msgspec.Struct) -> None:
        """Send ``event`` to ``topic`` when this transaction commits; raise `TooLarge` when no record can hold it."""
        self.emit_all([(topic, key, event)])

    def emit_all(self, events: Iterable[tuple[str, str, msgspec.Struct]]) -> None:
        """Send many events, in that order."""
        rows = []
        for topic, key, event in events:
            body = msgspec.json.encode(event)
            if len(body) > MAX_RECORD_BYTES:
                # Once in the outbox it would stay there for ever, and every event after it.
                raise TooLarge(f"the change makes an event of {len(body)} bytes, and the log takes {MAX_RECORD_BYTES}")
            rows.append({"topic": topic, "key": key, "time_us": self._now_us, "body": body})
        if rows:
            self._connection.execute(insert(outbox), rows)
        self.events += len(rows)


def _decode(kind: type[S], format_: int, body: bytes) -> S:
    """Read a stored document; one of an older format goes through the kind's ``upgrade(format, fields)``."""
    try:
        if format_ == getattr(kind, "FORMAT", 1):
            return msgspec.json.decode(body, type=kind)
        fields = kind.upgrade(format_, msgspec.json.decode(body))  # type: ignore[attr-defined]
        return msgspec.convert(fields, kind)
    except (msgspec.MsgspecError, AttributeError) as error:
        raise Corrupt(f"{kind_name(kind)} in format {format_} cannot be read: {error}") from error
