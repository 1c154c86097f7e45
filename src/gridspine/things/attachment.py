"""Attachments: what belongs to a Thing and is no reading: photos, manuals, certificates, logs.

::

    bytes ─► media type, size, quota ─► content store, by hash ─► registry: whose, of which Thing, by whom
                                                               └─► log and ledger: that it was attached, and its hash

An attachment belongs to the organisation that attached it, and stays its own when the Thing is sold. A content that
several attachments share is kept once, until the last of them is removed.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from gridspine.infra.registry.port import Registry, Transaction
from gridspine.infra.runtime.clock import Clock, new_id
from gridspine.infra.runtime.content import ContentStore, digest_of
from gridspine.kernel.errors import Conflict, Invalid, NotFound, TooLarge
from gridspine.things.media import check_media, check_name

MAX_OF_THING = 200
"""Attachments one Thing has at most."""
_MAX_NOTE = 500
Tell = Callable[[Transaction, str, str, str, dict[str, Any], str], Any]
"""Emits an event of a Thing's life: transaction, Thing, type, actor, data, organisation."""


class Attachment(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A file of a Thing; ``digest`` is the SHA-256 (hex) of its content, ``size`` its length [bytes]."""

    id: str
    thing: str
    organisation: str
    name: str
    media_type: str
    size: int
    digest: str
    by: str
    at_us: int
    note: str = ""


class AttachedOf(msgspec.Struct, frozen=True):
    """The attachments of a Thing, by id."""

    ids: tuple[str, ...] = ()


class AttachedContent(msgspec.Struct, frozen=True):
    """How many attachments have a content."""

    count: int


class AttachmentRoom(msgspec.Struct, frozen=True):
    """What an organisation's attachments take [bytes]."""

    used: int


class Attachments:
    """The book of attachments. A file has at most ``max_bytes``, those of an organisation ``quota_bytes`` together."""

    def __init__(
        self, registry: Registry, store: ContentStore, clock: Clock, tell: Tell, *, max_bytes: int, quota_bytes: int
    ) -> None:
        self._registry, self._store, self._clock, self._tell = registry, store, clock, tell
        self.max_bytes, self.quota_bytes = max_bytes, quota_bytes
        self._lock = threading.Lock()

    def attach(
        self, thing: str, organisation: str, content: bytes, *, name: str, media_type: str, by: str, note: str = ""
    ) -> Attachment:
        """Keep a file of a Thing; return it, or the one of the same content and name that it has already. Blocks.

        Raises `UnsupportedMedia`, `Invalid`, `TooLarge` over a bound, `Conflict` when the Thing has too many.
        """
        if len(content) > self.max_bytes:
            raise TooLarge(f"a file has at most {self.max_bytes} bytes")
        if len(note) > _MAX_NOTE:
            raise Invalid(f"note: at most {_MAX_NOTE} characters")
        new = Attachment(
            id=new_id(self._clock), thing=thing, organisation=organisation, name=check_name(name),
            media_type=check_media(media_type, content), size=len(content), digest=digest_of(content), by=by,
            at_us=self._clock.now_us(), note=note,
        )  # fmt: skip
        self._registry.read(lambda tx: self._check_room(tx, new))  # before the disk is troubled
        with self._lock:  # the last attachment of the same content must not go in between
            self._store.put(content)
            return self._registry.transact(lambda tx: self._keep(tx, new))

    def of(self, thing: str, organisation: str) -> Sequence[Attachment]:
        """Return an organisation's attachments of a Thing, the oldest first. Blocks."""

        def work(tx: Transaction) -> list[Attachment]:
            held = tx.get(AttachedOf, _of_id(thing, organisation)) or AttachedOf()
            return [one for id_ in held.ids if (one := tx.get(Attachment, id_)) is not None]

        return self._registry.read(work)

    def get(self, thing: str, organisation: str, id: str) -> Attachment:
        """Return an attachment of a Thing; raise `NotFound`. Blocks."""
        return self._registry.read(lambda tx: _get(tx, thing, organisation, id))

    def content(self, attachment: Attachment) -> bytes:
        """Return a file's bytes; raise `Gone` or `Corrupt`. Blocks."""
        return self._store.get(attachment.digest)

    def remove(self, thing: str, organisation: str, id: str, *, by: str) -> Attachment:
        """Let go of an attachment; that it was there stays in the Thing's history. Blocks."""

        def work(tx: Transaction) -> tuple[Attachment, bool]:
            gone = _get(tx, thing, organisation, id)
            held = tx.get(AttachedOf, _of_id(thing, organisation)) or AttachedOf()
            left = AttachedOf(tuple(one for one in held.ids if one != id))
            tx.put(left, id=_of_id(thing, organisation), owner=organisation)
            tx.delete(Attachment, id)
            room = tx.get(AttachmentRoom, organisation) or AttachmentRoom(0)
            tx.put(AttachmentRoom(max(room.used - gone.size, 0)), id=organisation, owner=organisation)
            shared = (tx.get(AttachedContent, gone.digest) or AttachedContent(1)).count - 1
            if shared > 0:
                tx.put(AttachedContent(shared), id=gone.digest)
            else:
                tx.delete(AttachedContent, gone.digest)
            self._tell(tx, thing, "thing.attachment-removed", by, _told(gone), organisation)
            return gone, shared <= 0

        with self._lock:
            gone, last = self._registry.transact(work)
            if last:
                self._store.remove(gone.digest)
        return gone

    def _keep(self, tx: Transaction, new: Attachment) -> Attachment:
        held = self._check_room(tx, new)
        for id_ in held.ids:
            known = tx.get(Attachment, id_)
            if known is not None and (known.digest, known.name) == (new.digest, new.name):
                return known
        of_id = _of_id(new.thing, new.organisation)
        tx.put(new, id=new.id, owner=new.organisation)
        tx.put(AttachedOf((*held.ids, new.id)), id=of_id, owner=new.organisation)
        tx.put(AttachmentRoom(self._used(tx, new.organisation) + new.size), id=new.organisation, owner=new.organisation)
        tx.put(AttachedContent((tx.get(AttachedContent, new.digest) or AttachedContent(0)).count + 1), id=new.digest)
        self._tell(tx, new.thing, "thing.attached", new.by, _told(new), new.organisation)
        return new

    def _check_room(self, tx: Transaction, new: Attachment) -> AttachedOf:
        held = tx.get(AttachedOf, _of_id(new.thing, new.organisation)) or AttachedOf()
        if len(held.ids) >= MAX_OF_THING:
            raise Conflict(f"the Thing has {MAX_OF_THING} attachments: remove some")
        used = self._used(tx, new.organisation)
        if used + new.size > self.quota_bytes:
            raise TooLarge(f"the organisation's files take {used} of {self.quota_bytes} bytes: remove some first")
        return held

    def _used(self, tx: Transaction, organisation: str) -> int:
        return (tx.get(AttachmentRoom, organisation) or AttachmentRoom(0)).used


def _of_id(thing: str, organisation: str) -> str:
    return f"{organisation}/{thing}"


def _get(tx: Transaction, thing: str, organisation: str, id: str) -> Attachment:
    found = tx.get(Attachment, id)
    if found is None or (found.thing, found.organisation) != (thing, organisation):
        raise NotFound("the Thing has no such attachment")
    return found


def _told(one: Attachment) -> dict[str, Any]:
    return {
        "attachment": one.id, "name": one.name, "mediaType": one.media_type, "size": one.size, "digest": one.digest,
        "note": one.note,
    }  # fmt: skip
