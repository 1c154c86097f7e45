"""Passwords for devices that speak MQTT with user name and password.

Source: MQTT 5.0 §3.1.3.5 and §3.1.3.6 (user name, password). They are made here, never chosen: 128 random bits.
"""

import base64
import hashlib
import hmac
import threading
from collections.abc import Callable, Sequence

import msgspec

from gridspine.infra.identity.principal import Principal
from gridspine.infra.registry.port import Registry, Transaction
from gridspine.infra.runtime.clock import Clock


class DevicePassword(msgspec.Struct, frozen=True):
    """The keyed hash (hex) of a principal's device password."""

    principal: str
    digest: str
    created_us: int


class DevicePasswords:
    """Makes and checks device passwords; one a principal, a new one replaces the old.

    A fast hash is enough: slow ones protect passwords people choose, and no one guesses 128 random bits. It is keyed
    with a secret outside the registry, so a stolen registry cannot even be searched. Thousands of devices that
    reconnect at once would be shut out for minutes by a slow one.
    """

    def __init__(
        self,
        registry: Registry,
        keys: Sequence[bytes],
        clock: Clock,
        *,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Digests are made with the first of ``keys``; ``tell`` hears whose password was replaced or taken away."""
        self._registry, self._keys, self._clock, self._tell = registry, tuple(keys), clock, tell
        self._lock = threading.Lock()
        self._kept = {kept.principal: kept for kept in registry.read(lambda tx: tx.list(DevicePassword))}

    def use_keys(self, keys: Sequence[bytes]) -> None:
        """Make digests with the first of ``keys`` from now on; one made with another is made anew at its next use."""
        self._keys = tuple(keys)

    def set_new(self, principal: Principal) -> str:
        """Give ``principal`` a new password and return it; it cannot be read again."""
        password = base64.urlsafe_b64encode(self._clock.randbytes(16)).rstrip(b"=").decode()
        with self._lock:
            # A session names the password it rests on by when that was made: no two may share the microsecond.
            before = self._kept.get(principal.id)
            made_us = max(self._clock.now_us(), before.created_us + 1 if before else 0)
            self._keep(DevicePassword(principal.id, self._digest(principal.id, password), made_us))
        self._tell(principal.id)
        return password

    def clear(self, principal: str) -> None:
        """Take the principal's password away."""
        with self._lock:
            self._kept.pop(principal, None)
            self._registry.transact(lambda tx: tx.delete(DevicePassword, _id(principal)))
        self._tell(principal)

    def made_us(self, principal: str) -> int:
        """Return when the principal's password was made [µs since 1970], 0 when it has none."""
        kept = self._kept.get(principal)
        return 0 if kept is None else kept.created_us

    def check(self, principal: str, password: str) -> int:
        """Return when ``password`` was made [µs since 1970] if it is the principal's, else 0. May block.

        It takes a time that does not depend on how nearly.
        """
        kept = self._kept.get(principal)
        digests = [self._digest(principal, password, key) for key in self._keys]
        fits = [hmac.compare_digest(digest, "" if kept is None else kept.digest) for digest in digests]
        if kept is None or not any(fits):
            return 0
        if not fits[0]:  # the key was replaced since: the password is here now, so its digest can follow
            with self._lock:
                if self._kept.get(principal) is kept:
                    self._keep(msgspec.structs.replace(kept, digest=digests[0]))
        return kept.created_us

    def _keep(self, kept: DevicePassword) -> None:
        def work(tx: Transaction) -> None:
            owner = tx.get(Principal, kept.principal)
            tx.put(kept, id=_id(kept.principal), owner=owner.organisation if owner else "")

        self._registry.transact(work)
        self._kept[kept.principal] = kept

    def _digest(self, principal: str, password: str, key: bytes = b"") -> str:
        message = f"{principal}\0{password}".encode("utf-8", "surrogatepass")
        return hmac.new(key or self._keys[0], message, hashlib.sha256).hexdigest()


def _id(principal: str) -> str:
    # Not the principal's own id: deleting a document takes the unique keys bound to its id along.
    return f"{principal}/device-password"
