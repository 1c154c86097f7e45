"""Transfer: a Thing goes from one organisation to another, when both have said so.

::

    owner offers ─► offered ─► the other accepts ─► leases ended ─► other numbers, other owner, no devices ─► described
                       ├─────► the other refuses, or the owner withdraws
                       └─────► its time is over

What was read and what happened before stays with whose it was then: grants over it go on. The new owner sees what
comes from then on, and provisions the Thing anew, for no credential of the old owner's speaks for it any more.
"""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from gridspine.infra.log.topics import LEDGER
from gridspine.infra.registry.port import Event, Registry, Transaction
from gridspine.infra.runtime.clock import Clock, new_id, new_urn
from gridspine.kernel.errors import Conflict, Invalid, NotFound, Overloaded
from gridspine.kernel.time import US
from gridspine.things.thing import Thing

MAX_LIFE_S = 90 * 86_400
MAX_OPEN = 1_000
"""Transfers one organisation may offer at once."""
_MAX_WHY = 2_000
_KEY = "transfer"
State = Literal["offered", "accepted", "refused", "withdrawn", "expired"]


class Transfer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An offer of ``owner`` to hand a Thing to ``heir``; it stands until ``expires_us`` [µs since 1970]."""

    id: str
    thing: str
    title: str
    model: str
    owner: str
    heir: str
    by: str
    at_us: int
    expires_us: int
    why: str
    state: State = "offered"
    decided_by: str = ""
    decided_us: int | None = None
    because: str = ""

    def standing(self, now_us: int) -> State:
        """The state at a time: an offer whose time is over has expired."""
        return "expired" if self.state == "offered" and now_us >= self.expires_us else self.state


class Offers(msgspec.Struct, frozen=True):
    """The transfers that concern an organisation, the newest last; those long over are forgotten here."""

    ids: tuple[str, ...] = ()


class Transfers:
    """The book of transfers."""

    def __init__(self, registry: Registry, clock: Clock) -> None:
        self._registry = registry
        self._clock = clock

    async def offer(self, thing: Thing, heir: str, *, by: str, why: str, life_s: int) -> Transfer:
        """Offer a Thing to another organisation; raise `Conflict` while an offer of it stands, `Invalid`."""
        if not 60 <= life_s <= MAX_LIFE_S:
            raise Invalid(f"lifeS: 60 to {MAX_LIFE_S} seconds")
        if heir == thing.organisation:
            raise Invalid("to: the Thing is that organisation's already")
        now_us = self._clock.now_us()
        transfer = Transfer(
            id=new_urn(self._clock), thing=thing.id, title=thing.title, model=thing.model, owner=thing.organisation,
            heir=heir, by=by, at_us=now_us, expires_us=now_us + life_s * US, why=_checked(why),
        )  # fmt: skip

        def work(tx: Transaction) -> Transfer:
            known = tx.find_key(_KEY, thing.id)
            before = None if known is None else tx.get(Transfer, known)
            if before is not None:
                if before.standing(now_us) == "offered":
                    raise Conflict(f"the Thing is offered to {before.heir} already: withdraw that first")
                self._decided(tx, before, "expired", "", "")
            for organisation in (transfer.owner, transfer.heir):
                self._list(tx, organisation, transfer.id, now_us, limited=organisation == transfer.owner)
            tx.bind_key(_KEY, thing.id, transfer.id)
            return self._put(tx, transfer, "transfer.offered", by)

        return await self._registry.run(work)

    async def get(self, id: str, organisation: str) -> Transfer:
        """Return a transfer that concerns an organisation; raise `NotFound`."""

        def work(tx: Transaction) -> Transfer:
            found = tx.get(Transfer, id)
            if found is None or organisation not in {found.owner, found.heir}:
                raise NotFound("there is no such transfer")
            return found

        return await self._registry.run(work, write=False)

    async def of(self, organisation: str) -> Sequence[Transfer]:
        """Return the transfers that concern an organisation, the newest first."""

        def work(tx: Transaction) -> list[Transfer]:
            held = tx.get(Offers, organisation) or Offers()
            return [one for id_ in reversed(held.ids) if (one := tx.get(Transfer, id_)) is not None]

        return await self._registry.run(work, write=False)

    def accept(self, tx: Transaction, id: str, *, by: str, why: str) -> Transfer:
        """Note, in the transaction that changes the owner, that an offer was accepted that is known to stand."""
        offer = tx.get(Transfer, id)
        assert offer is not None, "who accepts has looked"
        return self._decided(tx, offer, "accepted", by, why[:_MAX_WHY])

    def open_one(self, tx: Transaction, id: str) -> Transfer:
        """Return an offer that stands; raise `NotFound` or `Conflict`."""
        found = tx.get(Transfer, id)
        if found is None:
            raise NotFound("there is no such transfer")
        state = found.standing(self._clock.now_us())
        if state != "offered":
            raise Conflict(f"the offer was {state}" if state != "expired" else "the offer has run out: ask for another")
        return found

    async def end(self, id: str, state: Literal["refused", "withdrawn"], *, by: str, why: str) -> Transfer:
        """Refuse or withdraw an offer that stands."""
        because = _checked(why)
        return await self._registry.run(lambda tx: self._decided(tx, self.open_one(tx, id), state, by, because))

    def _decided(self, tx: Transaction, known: Transfer, state: State, by: str, because: str) -> Transfer:
        decided = msgspec.structs.replace(
            known, state=state, decided_by=by, decided_us=self._clock.now_us(), because=because
        )
        tx.delete(Transfer, known.id)  # and the key that says it stands
        return self._put(tx, decided, f"transfer.{state}", by or "node")

    def _list(self, tx: Transaction, organisation: str, id: str, now_us: int, *, limited: bool) -> None:
        held = tx.get(Offers, organisation) or Offers()
        known = [one for id_ in held.ids if (one := tx.get(Transfer, id_)) is not None]
        standing = [one for one in known if one.standing(now_us) == "offered"]
        if limited and sum(one.owner == organisation for one in standing) >= MAX_OPEN:
            raise Overloaded(f"{MAX_OPEN} offers stand already: wait, or withdraw some", retry_after_s=3600)
        kept = held.ids if len(held.ids) < 4 * MAX_OPEN else tuple(one.id for one in standing)
        tx.put(Offers((*kept, id)), id=organisation, owner=organisation)

    def _put(self, tx: Transaction, transfer: Transfer, type_: str, actor: str) -> Transfer:
        tx.put(transfer, id=transfer.id, owner=transfer.owner)
        data: dict[str, Any] = msgspec.to_builtins(transfer)
        tx.emit(
            LEDGER, transfer.thing, Event(new_id(self._clock), type_, self._clock.now_us(), transfer.id, actor, data)
        )
        return transfer


def _checked(why: str) -> str:
    if not 0 < len(why.strip()) <= _MAX_WHY:
        raise Invalid(f"why: 1 to {_MAX_WHY} characters are needed")
    return why
