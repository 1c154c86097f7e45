"""What is kept of partners, in memory and in the adapter's private store: durable when a method returns.

::

    partner/{Thing}                            Partner: tokens, endpoints, roles
    object/{Thing}/{module}/{country}/{party}/{id}   what a partner pushed, or was fetched of it; as it came
    gone/{Thing}/{module}/{country}/{party}/{id}     how old what it deleted was, see `gridspine.adapters.ocpi.gone`

Tokens that only are checked are kept as hashes; the one that we show the partner is kept as it is, here alone.
"""

import asyncio
import base64
import hashlib
from collections.abc import Collection, Iterator
from typing import Any
from urllib.parse import unquote
from weakref import WeakValueDictionary

import msgspec

from gridspine.adapters.ocpi.credentials import CredentialsRole, Endpoint
from gridspine.adapters.ocpi.gone import Gone, name_of
from gridspine.adapters.ocpi.wire import MAX_PARTIES, Party
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import Overloaded, TooLarge
from gridspine.things.adapter import PrivateStore

MAX_OBJECT_BYTES = {"locations": 1 << 20}
"""How large an object of a module may be [byte]; of any other `MAX_OTHER_BYTES`."""
MAX_OTHER_BYTES = 256 << 10
_MEAN_BYTES = 4 << 10
"""What is kept of a partner's module at most, over how many objects may be [byte]; but one of any size always may."""
MAX_FORMER = 4
"""How many tokens of a partner count besides the one it should show."""


class Full(Overloaded):
    """As much is kept of a partner as may be; not that the store is busy."""


class Partner(msgspec.Struct, frozen=True, omit_defaults=True):
    """A partner, by its Thing.

    ``invitation`` is the hash of token A, with which it may only register, until ``invited_until_us``; ``shown`` that
    of the token it shows us since, ``pending`` of one that counts besides while a registration of ours is under way.
    ``former`` are those before ``shown``, the newest first, where nobody knows yet whether the partner has that one.
    ``token`` is what we show it, at ``endpoints`` of ``version``. It may be ``parties`` and nobody else; ``problem``
    says why it could not register of late, to the operator.
    """

    thing: str
    invitation: str = ""
    shown: str = ""
    pending: str = ""
    token: str = ""
    url: str = ""
    version: str = ""
    endpoints: tuple[Endpoint, ...] = ()
    roles: tuple[CredentialsRole, ...] = ()
    since_us: int = 0
    invited_until_us: int = 0
    parties: tuple[Party, ...] = ()
    problem: str = ""
    former: tuple[str, ...] = ()

    @property
    def registered(self) -> bool:
        """Whether tokens were exchanged."""
        return bool(self.token and self.shown)

    def endpoint(self, module: str, role: str) -> str:
        """Return the address of a module's interface, "" where the partner has none; of *credentials* of any role."""
        for one in self.endpoints:
            if one.identifier == module and (one.role == role or module == "credentials"):
                return one.url
        return ""

    def invited(self, now_us: int) -> bool:
        """Whether its invitation counts at ``now_us`` [µs since 1970]."""
        return bool(self.invitation) and self.invited_until_us > now_us

    def unsure(self, shown: str) -> "Partner":
        """Return it with a token (its hash) of which nobody knows whether it has it: those before count, too.

        Of many the newest do, and the oldest: that it had.
        """
        former = (self.shown, *self.former)
        former = former if len(former) <= MAX_FORMER else (*former[: MAX_FORMER - 1], former[-1])
        return msgspec.structs.replace(self, shown=shown, pending="", former=former)

    def showed(self, token: str) -> "Partner":
        """Return it where it has shown a token (its hash): those that are older count no more."""
        known = (self.shown, *self.former)
        former = self.former[: known.index(token)] if token in known else self.former
        return msgspec.structs.replace(self, former=former)

    def is_(self, party: Party) -> bool:
        """Whether the partner speaks for ``party``."""
        return any(one.party.key == party.key for one in self.roles)

    def party(self, role: str) -> Party | None:
        """Return its first party of a role, else its first."""
        return next(iter(self.acting_as(role)), None)

    def acting_as(self, role: str) -> tuple[Party, ...]:
        """Return its parties of a role, each once, `MAX_PARTIES` at most; else its first party."""
        found = {one.party.key: one.party for one in self.roles if one.role == role}
        return tuple(found.values())[:MAX_PARTIES] or tuple(one.party for one in self.roles[:1])


class Kept(msgspec.Struct, frozen=True):
    """An object of a partner's, as it came, and when it was last updated [µs since 1970]."""

    id: str
    body: dict[str, Any]
    updated_us: int


Place = tuple[str, str, str, str]
"""Thing, module, country, party: where objects of one party are kept."""


class Book:
    """All that is kept. Lives on the event loop. Of a partner ``most`` objects of a module are kept, of 4 KiB each."""

    def __init__(self, store: PrivateStore, most: int) -> None:
        self.store, self._most = store, most
        self._partners: dict[str, Partner] = {}
        self._shown: dict[str, str] = {}
        self._objects: dict[Place, dict[str, Kept]] = {}
        self._counts: dict[tuple[str, str], int] = {}
        self._sizes: dict[tuple[Place, str], int] = {}
        self._bytes: dict[tuple[str, str], int] = {}
        self._most_bytes = max(most * _MEAN_BYTES, 4 << 20)
        self._gone = Gone(store)
        self._turns: WeakValueDictionary[tuple[Place, str], asyncio.Lock] = WeakValueDictionary()
        self.changed = asyncio.Event()
        """Set when something of a partner has changed."""

    async def load(self) -> None:
        """Read all when the adapter starts."""
        items = await self.store.items()
        self._gone.load(items)
        for key, value in items.items():
            kind, _, rest = key.partition("/")
            if kind == "partner":
                self._put(msgspec.json.decode(value, type=Partner))
            elif kind == "object":
                thing, module, country, party, _ = rest.split("/", 4)
                kept = msgspec.json.decode(value, type=Kept)
                self._set((unquote(thing), module, country, party), kept, len(value))

    # -- partners ----------------------------------------------------------------------------------------------

    def partner(self, thing: str) -> Partner:
        """Return what is known of a partner; an empty one of one that is new."""
        return self._partners.get(thing) or Partner(thing)

    def partners(self) -> list[Partner]:
        """Return all partners, the oldest first."""
        return sorted(self._partners.values(), key=lambda one: (one.since_us, one.thing))

    def by_token(self, tokens: tuple[str, ...]) -> tuple[Partner, str, str] | None:
        """Return whose token it is, as what it counts (*invitation*, *pending*, *shown* or *former*), and which."""
        for token in tokens:
            hashed = hash_of(token)
            thing = self._shown.get(hashed)
            if thing is not None:
                partner = self._partners[thing]
                standings = {partner.invitation: "invitation", partner.pending: "pending", partner.shown: "shown"}
                standings |= dict.fromkeys(partner.former, "former")
                return partner, standings[hashed], token
        return None

    async def keep(self, partner: Partner) -> Partner:
        """Keep a partner as it now is."""
        await self.store.put(f"partner/{partner.thing}", msgspec.json.encode(partner))
        self._put(partner)
        return partner

    def _put(self, partner: Partner) -> None:
        for hashed in _hashes(self._partners.get(partner.thing)):
            self._shown.pop(hashed, None)
        self._partners[partner.thing] = partner
        for hashed in _hashes(partner):
            self._shown[hashed] = partner.thing
        self.changed.set()

    async def drop(self, thing: str) -> None:
        """Let a partner go, with all its tokens; what is kept of its objects stays."""
        await self.keep(Partner(thing))
        await self.store.put(f"partner/{thing}", None)
        self._partners.pop(thing, None)

    # -- objects -----------------------------------------------------------------------------------------------

    def objects(self, thing: str, module: str) -> Iterator[tuple[Place, Kept]]:
        """Yield what is kept of a partner's module."""
        for place, kept in list(self._objects.items()):
            if place[:2] == (thing, module):
                for one in list(kept.values()):
                    yield place, one

    def object(self, place: Place, id: str) -> Kept | None:
        """Return one, by its id without regard to case."""
        return self._objects.get(_same(place), {}).get(id.casefold())

    def turn(self, place: Place, id: str) -> asyncio.Lock:
        """Return the lock under which an object is changed from what is kept of it."""
        return self._turns.setdefault((_same(place), id.casefold()), asyncio.Lock())

    def is_late(self, place: Place, id: str, updated_us: int) -> bool:
        """Whether a word of an object that was updated then [µs since 1970] is older than what is kept, or was deleted.

        What was deleted comes back by what is newer only.
        """
        known, place = self.object(place, id), _same(place)
        gone_us = self._gone.updated_us(place[:2], name_of(place, id))
        return updated_us <= gone_us or (known is not None and known.updated_us > updated_us)

    async def keep_object(self, place: Place, kept: Kept) -> None:
        """Keep an object; raise `Full` where a partner has as much as it may, `TooLarge`."""
        place, encoded = _same(place), msgspec.json.encode(kept)
        most = MAX_OBJECT_BYTES.get(place[1], MAX_OTHER_BYTES)
        if len(encoded) > most:
            raise TooLarge(f"{place[1]}: an object has at most {most >> 10} KiB here")
        known = self._sizes.get((place, kept.id.casefold()))
        size = self._bytes.get(place[:2], 0) + len(encoded) - (known or 0)
        if (known is None and self._counts.get(place[:2], 0) >= self._most) or size > self._most_bytes:
            raise Full(f"as many {place[1]} of yours are kept here as may be", retry_after_s=3600)
        await self.store.put(_key(place, kept.id), encoded)
        self._set(place, kept, len(encoded))
        await self._gone.forget(place[:2], name_of(place, kept.id))

    def full(self, thing: str, module: str) -> bool:
        """Whether it may be that no more objects of a module can be kept of a partner."""
        most_bytes = self._most_bytes - MAX_OBJECT_BYTES.get(module, MAX_OTHER_BYTES)
        own = thing, module
        return self._counts.get(own, 0) >= self._most or self._bytes.get(own, 0) > most_bytes

    async def forget_object(self, place: Place, id: str) -> None:
        """Let an object go."""
        place = _same(place)
        if self._objects.get(place, {}).pop(id.casefold(), None) is not None:
            self._counts[place[:2]] -= 1
            self._bytes[place[:2]] -= self._sizes.pop((place, id.casefold()))
            await self.store.put(_key(place, id), None)

    async def delete_object(self, place: Place, id: str) -> None:
        """Let an object go that its partner deleted, and remember how old it was."""
        place, known = _same(place), self.object(place, id)
        if known is not None:
            await self._gone.note(place[:2], name_of(place, id), known.updated_us)
            await self.forget_object(place, id)

    async def forget_all(self, thing: str, modules: Collection[str]) -> None:
        """Let all go that is kept of a partner's ``modules``."""
        for module in modules:
            await self._gone.forget_all((thing, module))
            for place, kept in list(self.objects(thing, module)):
                await self.forget_object(place, kept.id)

    async def forget_under(self, name: str) -> None:
        """Let go what others keep in the store under names that begin so."""
        for key in [one for one in await self.store.items() if one.startswith(name)]:
            await self.store.put(key, None)

    def _set(self, place: Place, kept: Kept, size: int) -> None:
        found, id_ = self._objects.setdefault(place, {}), kept.id.casefold()
        if id_ not in found:
            self._counts[place[:2]] = self._counts.get(place[:2], 0) + 1
        found[id_] = kept
        self._bytes[place[:2]] = self._bytes.get(place[:2], 0) + size - self._sizes.get((place, id_), 0)
        self._sizes[place, id_] = size


def new_token(clock: Clock) -> str:
    """Return a credentials token that nobody can guess."""
    return base64.urlsafe_b64encode(clock.randbytes(36)).decode()


def hash_of(token: str) -> str:
    """Return what is kept of a token that is only checked; it is too long to be guessed from that."""
    return hashlib.sha256(token.encode()).hexdigest()


def _hashes(partner: Partner | None) -> list[str]:
    if partner is None:
        return []
    return [one for one in (partner.invitation, partner.shown, partner.pending, *partner.former) if one]


def _same(place: Place) -> Place:
    return place[0], place[1], place[2].upper(), place[3].upper()


def _key(place: Place, id: str) -> str:
    return f"object/{name_of(place, id)}"
