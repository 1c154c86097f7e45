"""The standing list of organisations, principals and their keys, kept in the registry and held in memory.

Authentication asks memory only. The process that owns the registry is the only writer, so memory is changed right
after the commit, under one lock. Writes block: call them from a worker thread.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from gridspine.infra.identity.jws import import_key, public_jwk
from gridspine.infra.identity.principal import (
    Kind,
    Organisation,
    Principal,
    PublicKey,
    TokenEpoch,
    check_organisation,
    check_principal,
)
from gridspine.infra.registry.port import Event, Registry, Transaction
from gridspine.infra.runtime.clock import Clock, new_id, new_urn
from gridspine.kernel.errors import Conflict, Invalid, NotFound
from gridspine.kernel.time import US

R = TypeVar("R")
MAX_KEYS = 8
"""Keys of one principal at most, retiring ones included; as many retired ones are remembered, not to be used again."""


class Directory:
    """Organisations, principals and keys.

    ``topic`` of the log hears of every change; empty: nobody does. ``tell`` is called with the id of a principal whose
    standing changed, once that is in force.
    """

    def __init__(
        self, registry: Registry, clock: Clock, *, topic: str = "", tell: Callable[[str], None] = lambda _: None
    ) -> None:
        self._registry, self._clock, self._topic, self._tell = registry, clock, topic, tell
        self._lock = threading.RLock()
        self._organisations: dict[str, Organisation] = {}
        self._principals: dict[str, Principal] = {}
        self._keys: dict[str, PublicKey] = {}
        self._keys_of: dict[str, tuple[str, ...]] = {}
        self._epochs: dict[str, int] = {}
        self._load()

    # -- asked at every request: memory only ---------------------------------------------------------------------

    def organisation(self, id: str) -> Organisation:
        """Return the organisation; raise `NotFound`."""
        return _found(self._organisations.get(id), f"there is no organisation {id[:80]}")

    def organisations(self) -> list[Organisation]:
        """Return all organisations in the order of their ids."""
        return sorted(self._organisations.values(), key=lambda organisation: organisation.id)

    def principal(self, id: str) -> Principal:
        """Return the principal, active or not; raise `NotFound`."""
        return _found(self._principals.get(id), f"there is no principal {id[:80]}")

    def active(self, id: str) -> Principal | None:
        """Return the principal if there is one and it is active."""
        principal = self._principals.get(id)
        return principal if principal is not None and principal.active else None

    def principals(self, organisation: str | None = None) -> list[Principal]:
        """Return principals (of ``organisation`` when given) in the order of their ids."""
        chosen = [p for p in self._principals.values() if organisation in (None, p.organisation)]
        return sorted(chosen, key=lambda principal: principal.id)

    def key(self, kid: str) -> PublicKey | None:
        """Return the key, if it is registered and not yet retired."""
        key = self._keys.get(kid)
        return key if key is not None and key.valid_at(self._clock.now_us()) else None

    def keys_of(self, principal: str) -> list[PublicKey]:
        """Return the keys that prove ``principal`` now."""
        return [key for kid in self._keys_of.get(principal, ()) if (key := self.key(kid)) is not None]

    def epoch(self, principal: str) -> int:
        """Return the principal's epoch: what was issued at an earlier one is void."""
        return self._epochs.get(principal, 0)

    # -- changes: these block --------------------------------------------------------------------------------------

    def add_organisation(self, id: str, name: str, *, kind: str = "", actor: str = "node") -> Organisation:
        """Add an organisation; raise `Conflict` when the id is taken, `Invalid` when it is not well formed."""
        organisation = check_organisation(Organisation(id=id, name=name, kind=kind))

        def work(tx: Transaction) -> None:
            if tx.get(Organisation, id) is not None:
                raise Conflict(f"there is an organisation {id} already")
            tx.put(organisation, id=id, owner=id, expected=0)
            self._emit(tx, "organisation.added", id, actor, msgspec.to_builtins(organisation))

        self.change(work, lambda _: self._organisations.update({id: organisation}))
        return organisation

    def add_principal(
        self,
        organisation: str,
        kind: Kind,
        name: str,
        roles: tuple[str, ...] = (),
        *,
        id: str | None = None,
        actor: str = "node",
        also: Callable[[Transaction, Principal], None] | None = None,
    ) -> Principal:
        """Add a principal under a new URN, or ``id``; ``also`` is done in the same transaction.

        Raises `NotFound` without the organisation, `Conflict` when the id is taken, `Invalid`.
        """
        principal = check_principal(
            Principal(id or new_urn(self._clock), self.organisation(organisation).id, kind, name, roles)
        )

        def work(tx: Transaction) -> None:
            if tx.get(Principal, principal.id) is not None:
                raise Conflict(f"there is a principal {principal.id} already")
            tx.put(principal, id=principal.id, owner=organisation, expected=0)
            if also is not None:
                also(tx, principal)
            self._emit(tx, "principal.added", principal.id, actor, msgspec.to_builtins(principal))

        self.change(work, lambda _: self._principals.update({principal.id: principal}))
        return principal

    def set_roles(self, id: str, roles: tuple[str, ...], *, actor: str = "node") -> Principal:
        """Give the principal exactly ``roles``; what it loses, its running tokens and sessions lose at once."""
        return self._alter(id, "principal.roles-set", actor, roles=roles)

    def deactivate(self, id: str, *, actor: str = "node") -> Principal:
        """Make the principal nobody: its tokens, sessions, keys, certificates and passwords stop proving anything."""
        return self._alter(id, "principal.deactivated", actor, active=False)

    def reactivate(self, id: str, *, actor: str = "node") -> Principal:
        """Let the principal act again by its keys, certificates and passwords; old tokens and sessions stay void."""
        return self._alter(id, "principal.reactivated", actor, active=True)

    def revoke_issued(self, id: str, *, actor: str = "node") -> int:
        """Void every token and ticket issued to the principal; return the new epoch."""
        principal = self.principal(id)
        value = self.change(
            lambda tx: self._next_epoch(tx, principal, "principal.tokens-revoked", actor),
            lambda value: self._epochs.update({id: value}),
        )
        self._tell(id)
        return value

    def note(self, type: str, subject: str, *, actor: str = "node", data: dict[str, Any] | None = None) -> None:
        """Record a change that is kept elsewhere (a password, a key of the node's own) beside those made here."""
        self.change(lambda tx: self._emit(tx, type, subject, actor, data or {}), lambda _: None)

    def add_key(
        self, principal: str, jwk: Mapping[str, Any], *, replaces: str = "", overlap_s: float = 0, actor: str = "node"
    ) -> PublicKey:
        """Register a public key; with ``replaces`` that older key goes on for ``overlap_s`` [s] and then retires.

        Raises `Conflict` when the key is registered already or there are too many, `NotFound`, `Invalid`.
        """
        owner = self.principal(principal)
        kid, key = import_key(jwk)
        now_us = self._clock.now_us()
        members = public_jwk(dict(key.as_dict(private=False)))
        new = PublicKey(kid=kid, principal=principal, jwk=members, created_us=now_us)
        retired = self._retiring(principal, replaces, now_us + round(overlap_s * US)) if replaces else None

        done = [old for old in self._keys_of.get(principal, ()) if self.key(old) is None]
        forgotten = done[: max(0, len(done) - MAX_KEYS)]

        def work(tx: Transaction) -> None:
            if tx.get(PublicKey, kid) is not None:
                raise Conflict("this key is registered already; every principal has keys of its own")
            if len(self.keys_of(principal)) - (retired is not None and overlap_s <= 0) >= MAX_KEYS:
                raise Conflict(f"a principal has at most {MAX_KEYS} keys: remove one first")
            tx.put(new, id=kid, owner=owner.organisation, expected=0)
            for old in forgotten:
                tx.delete(PublicKey, old)
            if retired is not None:
                tx.put(retired, id=retired.kid, owner=owner.organisation)
            self._emit(tx, "key.added", principal, actor, {"kid": kid, "replaces": replaces})

        def apply(_: None) -> None:
            self._drop_keys(principal, forgotten)
            self._take_keys(new, *([retired] if retired else []))

        self.change(work, apply)
        return new

    def remove_key(self, kid: str, *, actor: str = "node") -> None:
        """Take a key away; tokens obtained with it end at once. Raises `NotFound`."""
        key = _found(self._keys.get(kid), f"there is no key {kid[:80]}")

        def work(tx: Transaction) -> None:
            tx.delete(PublicKey, kid)
            self._emit(tx, "key.removed", key.principal, actor, {"kid": kid})

        self.change(work, lambda _: self._drop_keys(key.principal, [kid]))
        self._tell(key.principal)

    def change(self, work: Callable[[Transaction], R], apply: Callable[[R], None]) -> R:
        """Do ``work`` in a transaction, then ``apply`` its result to memory; no other change comes between."""
        worked = False

        def watched(tx: Transaction) -> R:
            nonlocal worked
            result = work(tx)
            worked = True
            return result

        with self._lock:
            try:
                result = self._registry.transact(watched)
            except Exception:
                # The work may be committed although its events did not reach the log (a full disk): look again.
                if worked:
                    self._load()
                raise
            apply(result)
            return result

    # -- inside ----------------------------------------------------------------------------------------------------

    def _alter(self, id: str, event: str, actor: str, **changes: Any) -> Principal:
        with self._lock:
            principal = check_principal(msgspec.structs.replace(self.principal(id), **changes))

            def work(tx: Transaction) -> int:
                tx.put(principal, id=id, owner=principal.organisation)
                if principal.active:
                    self._emit(tx, event, id, actor, msgspec.to_builtins(principal))
                    return self.epoch(id)
                return self._next_epoch(tx, principal, event, actor)

            def apply(epoch: int) -> None:
                self._principals[id] = principal
                self._epochs[id] = epoch

            self.change(work, apply)
        self._tell(id)
        return principal

    def _next_epoch(self, tx: Transaction, principal: Principal, event: str, actor: str) -> int:
        value = self.epoch(principal.id) + 1
        tx.put(TokenEpoch(principal=principal.id, value=value), id=principal.id, owner=principal.organisation)
        self._emit(tx, event, principal.id, actor, {"epoch": value})
        return value

    def _retiring(self, principal: str, kid: str, at_us: int) -> PublicKey:
        old = self.key(kid)
        if old is None or old.principal != principal:
            raise Invalid(f"the principal has no key {kid[:80]} to replace")
        return msgspec.structs.replace(old, retires_us=at_us)

    def _take_keys(self, *keys: PublicKey) -> None:
        for key in keys:
            self._keys[key.kid] = key
            others = tuple(kid for kid in self._keys_of.get(key.principal, ()) if kid != key.kid)
            self._keys_of[key.principal] = (*others, key.kid)

    def _drop_keys(self, principal: str, kids: Sequence[str]) -> None:
        for kid in kids:
            self._keys.pop(kid, None)
        self._keys_of[principal] = tuple(kid for kid in self._keys_of.get(principal, ()) if kid not in kids)

    def _emit(self, tx: Transaction, type: str, subject: str, actor: str, data: dict[str, Any]) -> None:
        if self._topic:
            event = Event(new_id(self._clock), f"identity.{type}", self._clock.now_us(), subject, actor, data)
            tx.emit(self._topic, subject, event)

    def _load(self) -> None:
        def work(tx: Transaction) -> None:
            self._organisations = {o.id: o for o in tx.list(Organisation)}
            self._principals = {p.id: p for p in tx.list(Principal)}
            self._epochs = {e.principal: e.value for e in tx.list(TokenEpoch)}
            self._keys, self._keys_of = {}, {}
            self._take_keys(*tx.list(PublicKey))

        self._registry.read(work)


def _found(value: R | None, detail: str) -> R:
    if value is None:
        raise NotFound(detail)
    return value
