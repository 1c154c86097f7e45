"""People: user names and passwords, kept as scrypt, tried slowly.

Source: RFC 7914 (scrypt). The cost is one of those OWASP's Password Storage Cheat Sheet gives as equal: N = 2^15,
r = 8, p = 3, which is 32 MiB and some tenths of a second a try.
"""

import hashlib
import hmac
import threading
import unicodedata

import msgspec

from gridspine.infra.identity.directory import Directory
from gridspine.infra.identity.limit import Backoff, network
from gridspine.infra.identity.principal import Principal
from gridspine.infra.identity.throttle import Throttle
from gridspine.infra.registry.port import Registry, Transaction
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import Conflict, Invalid, Overloaded, Unauthenticated

MIN_PASSWORD_CHARS = 12
MAX_PASSWORD_CHARS = 256
CONCURRENT_HASHES = 2
"""Passwords hashed at the same time at most: each takes 32 MiB and a core."""
WAITING_HASHES = 8
"""Passwords that may wait to be hashed, or are: each holds a worker thread that others need too."""


class Cost(msgspec.Struct, frozen=True):
    """What one try costs: scrypt's ``n``, ``r``, ``p``; memory is 128 · n · r bytes."""

    n: int = 1 << 15
    r: int = 8
    p: int = 3


class UserPassword(msgspec.Struct, frozen=True):
    """A user's sign-in name, and the salted hash (hex) of the password with its cost."""

    principal: str
    username: str
    salt: str
    digest: str
    cost: Cost


class Users:
    """Adds users and signs them in. Everything here blocks for the time of a hash: call it from a worker thread."""

    def __init__(self, registry: Registry, directory: Directory, clock: Clock, *, cost: Cost | None = None) -> None:
        self._registry, self._directory, self._clock = registry, directory, clock
        self._cost = cost or Cost()
        self._hashing = threading.BoundedSemaphore(CONCURRENT_HASHES)
        self._waiting = threading.BoundedSemaphore(WAITING_HASHES)
        self._names = Throttle(clock, burst=5, refill_s=30)
        self.addresses = Backoff(clock, free=19, cap_s=60)
        self._nobody: UserPassword | None = None

    def add(
        self, organisation: str, username: str, password: str, roles: tuple[str, ...], *, actor: str = "node"
    ) -> Principal:
        """Add a user who signs in as ``username``; raise `Conflict` when that is taken, `Invalid`."""
        record = self._hash("", username, password)
        return self._directory.add_principal(
            organisation, "user", username, roles, actor=actor, also=lambda tx, user: self.keep(tx, user, record)
        )

    def prepare(self, username: str, password: str) -> UserPassword:
        """Return the record of a new user, not kept yet: hashing takes too long to be done inside a transaction."""
        return self._hash("", username, password)

    def keep(self, tx: Transaction, user: Principal, record: UserPassword) -> None:
        """Keep ``record`` as the password of ``user`` within a transaction."""
        full = msgspec.structs.replace(record, principal=user.id)
        tx.bind_key("username", fold(full.username), user.id)
        tx.put(full, id=user.id, owner=user.organisation)

    def set_password(self, principal: Principal, password: str) -> None:
        """Replace the password of a user. Running sessions are the caller's affair."""
        kept = self._registry.read(lambda tx: tx.get(UserPassword, principal.id))
        if kept is None:
            raise Conflict("this principal does not sign in with a password")
        record = self._hash(principal.id, kept.username, password)
        self._registry.transact(lambda tx: self.keep(tx, principal, record))

    def sign_in(self, username: str, password: str, address: str) -> Principal:
        """Return the user who proves to be ``username``; ``address`` is where the request comes from.

        Raises `Unauthenticated` (never saying which of the two was wrong) and `Overloaded` after too many tries: who
        keeps trying a name makes its owner wait as well, 30 s a try; an address waits twice as long each time, up to
        60 s.
        """
        name = fold(username)
        place = network(address)
        self.addresses.check(place)
        self._names.attempt(name)
        record = self._registry.read(lambda tx: self._record(tx, name))
        if record is None:  # as much work for a name that nobody has
            record = self._nobody = self._nobody or self._hash("", "", "nobody's password")
        good = self._matches(record, password)
        user = self._directory.active(record.principal) if record is not None and good else None
        if user is None:
            self.addresses.failed(place)
            raise Unauthenticated("user name or password is wrong", reason="wrong-password")
        self._names.forgive(name)
        self.addresses.succeeded(place)
        return user

    def _record(self, tx: Transaction, name: str) -> UserPassword | None:
        principal = tx.find_key("username", name)
        return None if principal is None else tx.get(UserPassword, principal)

    def _hash(self, principal: str, username: str, password: str) -> UserPassword:
        if not MIN_PASSWORD_CHARS <= len(password) <= MAX_PASSWORD_CHARS:
            raise Invalid(f"a password has {MIN_PASSWORD_CHARS} to {MAX_PASSWORD_CHARS} characters")
        if principal or username:
            check_username(username)
        salt = self._clock.randbytes(16)
        digest = self._scrypt(password, salt, self._cost)
        return UserPassword(principal, username, salt.hex(), digest.hex(), self._cost)

    def _matches(self, record: UserPassword, password: str) -> bool:
        if len(password) > MAX_PASSWORD_CHARS:
            return False
        digest = self._scrypt(password, bytes.fromhex(record.salt), record.cost)
        return hmac.compare_digest(digest.hex(), record.digest)

    def _scrypt(self, password: str, salt: bytes, cost: Cost) -> bytes:
        if not self._waiting.acquire(blocking=False):
            raise Overloaded("too many people are signing in at once", retry_after_s=5)
        try:
            with self._hashing:
                return hashlib.scrypt(
                    unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass"),
                    salt=salt,
                    n=cost.n,
                    r=cost.r,
                    p=cost.p,
                    maxmem=256 * cost.n * cost.r,
                    dklen=32,
                )
        finally:
            self._waiting.release()


def fold(username: str) -> str:
    """Return the form of a user name that is compared: case and width do not tell two people apart."""
    return unicodedata.normalize("NFKC", username).casefold()


def check_username(username: str) -> str:
    """Return ``username``, or raise `Invalid`."""
    if not 0 < len(username) <= 64 or not username.isprintable() or any(c.isspace() for c in username):
        raise Invalid("a user name has 1 to 64 printable characters without spaces")
    return username
