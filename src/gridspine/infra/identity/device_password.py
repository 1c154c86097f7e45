"""Passwords for devices that speak MQTT with user name and password.

Source: MQTT 5.0 §3.1.3.5 and §3.1.3.6 (user name, password). They are made here, never chosen: 128 random bits.
"""

import base64
import hashlib
import hmac
import threading

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

    def __init__(self, registry: Registry, key: bytes, clock: Clock) -> None:
        self._registry, self._key, self._clock = registry, key, clock
        self._lock = threading.Lock()
        self._digests = {kept.principal: kept.digest for kept in registry.read(lambda tx: tx.list(DevicePassword))}

    def set_new(self, principal: Principal) -> str:
        """Give ``principal`` a new password and return it; it cannot be read again."""
        password = base64.urlsafe_b64encode(self._clock.randbytes(16)).rstrip(b"=").decode()
        kept = DevicePassword(principal.id, self._digest(principal.id, password), self._clock.now_us())

        def work(tx: Transaction) -> None:
            tx.put(kept, id=_id(principal.id), owner=principal.organisation)

        with self._lock:
            self._registry.transact(work)
            self._digests[principal.id] = kept.digest
        return password

    def clear(self, principal: str) -> None:
        """Take the principal's password away."""
        with self._lock:
            self._digests.pop(principal, None)
            self._registry.transact(lambda tx: tx.delete(DevicePassword, _id(principal)))

    def has(self, principal: str) -> bool:
        """Whether the principal has a device password."""
        return principal in self._digests

    def check(self, principal: str, password: str) -> bool:
        """Whether ``password`` is the principal's, in a time that does not depend on how nearly."""
        digest = self._digest(principal, password)
        return hmac.compare_digest(digest, self._digests.get(principal, "")) and principal in self._digests

    def _digest(self, principal: str, password: str) -> str:
        message = f"{principal}\0{password}".encode("utf-8", "surrogatepass")
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()


def _id(principal: str) -> str:
    # Not the principal's own id: deleting a document takes the unique keys bound to its id along.
    return f"{principal}/device-password"
