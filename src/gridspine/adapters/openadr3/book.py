"""What the adapter keeps beside the nouns of energy: objects of the wire, in memory and in its private store."""

from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from gridspine.adapters.openadr3.wire import Kind, Record
from gridspine.kernel.errors import NotFound, Overloaded
from gridspine.things.adapter import PrivateStore

MOST: dict[Kind, int] = {
    "PROGRAM": 1_000, "EVENT": 50_000, "REPORT": 20_000, "VEN": 20_000, "RESOURCE": 50_000, "SUBSCRIPTION": 5_000
}  # fmt: skip
"""Objects of a kind that one organisation has at most."""
MOST_OF_ONE: dict[Kind, int] = {"REPORT": 2_000, "VEN": 100, "RESOURCE": 1_000, "SUBSCRIPTION": 1_200}
"""Objects of a kind that one client made, at most, where it does not run programmes."""
MOST_BYTES, MOST_BYTES_OF_ONE = 64 << 20, 8 << 20
"""What objects of one organisation, and of one client that does not run programmes, have at most [bytes of JSON]."""
_NOUNS = {
    "PROGRAM": "program", "EVENT": "event", "REPORT": "report", "VEN": "ven", "RESOURCE": "resource",
    "SUBSCRIPTION": "subscription",
}  # fmt: skip


class Book:
    """All records. Lives on the event loop; what is kept is durable when `keep` returns."""

    def __init__(self, store: PrivateStore) -> None:
        self._store = store
        self._kept: dict[Kind, dict[str, Record]] = {kind: {} for kind in MOST}
        self._by_noun: dict[str, str] = {}
        self._below: dict[str, dict[str, None]] = {}
        self._made: Counter[tuple[str, str]] = Counter()
        self._sizes: dict[str, int] = {}
        self._bytes: Counter[tuple[str, str]] = Counter()
        """Bytes of JSON: of an organisation under (organisation, ""), of a client under ("", client)."""
        self._words: dict[tuple[str, str], frozenset[str]] = {}
        self.revision = 0
        """Rises with each change."""

    async def load(self) -> None:
        """Read all records when the adapter starts."""
        for key, value in (await self._store.items()).items():
            if key.partition("/")[0] not in MOST:  # what is kept of VTNs that are followed
                continue
            self._put(msgspec.json.decode(value, type=Record), len(value))

    async def keep(self, record: Record) -> Record:
        """Keep a record, new or changed."""
        value = msgspec.json.encode(record)
        await self._store.put(_key(record), value)
        self._put(record, len(value))
        return record

    async def forget(self, records: Iterable[Record]) -> None:
        """Let records go."""
        for record in list(records):
            await self._store.put(_key(record), None)
            self._drop(record)

    def all(self, kind: Kind) -> Iterator[Record]:
        """Yield the records of a kind, the oldest first."""
        yield from list(self._kept[kind].values())

    def get(self, kind: Kind, id: str) -> Record:
        """Return one; raise `NotFound`."""
        found = self._kept[kind].get(id)
        if found is None:
            raise no_such(kind)
        return found

    def of_noun(self, noun: str) -> Record | None:
        """Return the record that stands beside a programme or event, None where it was made elsewhere."""
        id_ = self._by_noun.get(noun)
        return None if id_ is None else self._kept["PROGRAM"].get(id_) or self._kept["EVENT"].get(id_)

    def below(self, parent: str) -> list[Record]:
        """Return what hangs on an object: events and reports of a programme, resources of a VEN."""
        return [one for id_ in self._below.get(parent, ()) for kept in self._kept.values() if (one := kept.get(id_))]

    def check_room(self, kind: Kind, organisation: str, client: str = "") -> None:
        """Raise `Overloaded` where an organisation, or a client, has as many of a kind as it may."""
        if self._made[kind, organisation] >= MOST[kind]:
            raise Overloaded(f"your organisation has {MOST[kind]} {_NOUNS[kind]}s, and no more", retry_after_s=3600)
        if client and kind in MOST_OF_ONE:
            own = sum(one.client == client for one in self._kept[kind].values())
            if own >= MOST_OF_ONE[kind]:
                raise Overloaded(f"you have {own} {_NOUNS[kind]}s, and no more: delete some", retry_after_s=3600)

    def check_bytes(self, organisation: str, client: str, more: int) -> None:
        """Raise `Overloaded` where ``more`` bytes are too many for an organisation, or a client; "" for none."""
        whose = (organisation, ""), ("", client)
        for (key, whom), most in zip(whose, (MOST_BYTES, MOST_BYTES_OF_ONE), strict=True):
            if (key or whom) and self._bytes[key, whom] + more > most:
                words = f"objects of {'your organisation' if key else 'yours'} may have {most} bytes together"
                raise Overloaded(f"{words}: delete some", retry_after_s=3600)

    def words(self, organisation: str, client: str) -> frozenset[str]:
        """Return the targets that ``organisation`` knows a client by: what it said itself of its VENs and resources.

        A name that a VEN gives itself is none of them: it would choose what it sees.
        """
        found = self._words.get((organisation, client))
        if found is None:
            kinds: tuple[Kind, ...] = ("VEN", "RESOURCE")
            mine = [
                one for kind in kinds for one in self._kept[kind].values()
                if one.granted and one.organisation == organisation and one.client == client
            ]  # fmt: skip
            names = {str(one.body["venName" if one.kind == "VEN" else "resourceName"]) for one in mine}
            found = self._words[organisation, client] = frozenset(names).union(*(one.targets for one in mine))
        return found

    def _put(self, record: Record, size: int) -> None:
        known = self._kept[record.kind].get(record.id)
        if known is not None:
            self._unlink(known)
        self._kept[record.kind][record.id] = record
        self._made[record.kind, record.organisation] += 1
        self._sizes[_key(record)] = size
        self._count_bytes(record, size)
        if record.noun:
            self._by_noun[record.noun] = record.id
        if record.parent:
            self._below.setdefault(record.parent, {})[record.id] = None
        self._changed(record)

    def _drop(self, record: Record) -> None:
        known = self._kept[record.kind].pop(record.id, None)
        if known is not None:
            self._unlink(known)
            self._changed(known)

    def _unlink(self, record: Record) -> None:
        self._made[record.kind, record.organisation] -= 1
        self._count_bytes(record, -self._sizes.pop(_key(record)))
        self._by_noun.pop(record.noun, None)
        below = self._below.get(record.parent, {})
        below.pop(record.id, None)
        if not below:
            self._below.pop(record.parent, None)

    def _count_bytes(self, record: Record, more: int) -> None:
        for key in ((record.organisation, ""), ("", record.client)):
            self._bytes[key] += more
            if not self._bytes[key]:
                del self._bytes[key]

    def _changed(self, record: Record) -> None:
        self.revision += 1
        if record.kind in {"VEN", "RESOURCE"}:
            self._words.clear()


def no_such(kind: Kind) -> NotFound:
    """Return the error for an object that there is not, or that is not to be seen."""
    return NotFound(f"there is no such {_NOUNS[kind]}")


def _key(record: Record) -> str:
    return f"{record.kind}/{record.id}"
