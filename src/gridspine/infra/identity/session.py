"""Portal sessions: an opaque id in a cookie, everything else kept here, durable; and one-time tickets for streams.

::

    created ──────── seen ── seen ──────────── ends:  30 min after the last sign of life, or
       └───────────────────── absolute ──────────────  12 h after sign-in, whichever comes first
"""

import base64
import hashlib
import hmac
import threading
from collections.abc import Sequence

import msgspec

from gridspine.infra.identity.principal import Principal
from gridspine.infra.registry.port import Registry, Transaction
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.time import US

IDLE_S = 30 * 60
ABSOLUTE_S = 12 * 3600
TOUCH_S = 60
"""Seconds [s] between two durable notes of "seen": after a restart a session may seem that much idler."""

MAX_SESSIONS_EACH = 10
"""Sessions of one user at most; signing in once more ends the oldest."""


class PortalSession(msgspec.Struct, frozen=True):
    """A signed-in browser. ``id`` is a hash of what the cookie holds: the registry cannot be used to sign in."""

    id: str
    principal: str
    created_us: int
    seen_us: int
    epoch: int

    def lives_at(self, now_us: int) -> bool:
        """Whether neither time-out has passed at ``now_us`` [µs since 1970]."""
        return now_us < min(self.seen_us + IDLE_S * US, self.created_us + ABSOLUTE_S * US)


class Sessions:
    """Opens, finds and ends portal sessions. `find` asks memory only; the others write and block."""

    def __init__(self, registry: Registry, secrets: Sequence[bytes], clock: Clock) -> None:
        """Tokens against CSRF are made with the first of ``secrets`` and taken from all."""
        self._registry, self._secrets, self._clock = registry, tuple(secrets), clock
        self._lock = threading.Lock()
        # Reading takes no lock: whoever writes holds it for as long as the disk takes. When a session was last seen is
        # kept apart, so that noting it cannot bring back one that was just ended.
        self._sessions: dict[str, PortalSession] = {}
        self._seen: dict[str, int] = {}
        kept = registry.read(lambda tx: tx.list(PortalSession))
        self._sessions = {session.id: session for session in kept if session.lives_at(clock.now_us())}
        self._forget([session.id for session in kept if session.id not in self._sessions])

    def open(self, user: Principal, epoch: int) -> str:
        """Open a session and return what the cookie must hold."""
        cookie = base64.urlsafe_b64encode(self._clock.randbytes(32)).rstrip(b"=").decode()
        now_us = self._clock.now_us()
        session = PortalSession(_hash(cookie), user.id, now_us, now_us, epoch)
        with self._lock:
            ended = [key for key in self._sessions if self.get(key) is None]
            own = sorted((s for s in self._sessions.values() if s.principal == user.id), key=lambda s: s.created_us)
            self._drop([*ended, *(s.id for s in own[: max(0, len(own) - MAX_SESSIONS_EACH + 1)])])
            self._write(session, user.organisation)
        return cookie

    def find(self, cookie: str) -> PortalSession | None:
        """Return the session of a cookie if it lives, and note in memory that it was seen (see `is_due`)."""
        session = self.get(_hash(cookie))
        if session is None:
            return None
        seen_us = self._seen[session.id] = max(self._clock.now_us(), session.seen_us)
        return msgspec.structs.replace(session, seen_us=seen_us)

    def get(self, key: str) -> PortalSession | None:
        """Return the session with the id ``key`` if it lives; asking is no sign of life."""
        session = self._sessions.get(key)
        if session is None:
            return None
        current = msgspec.structs.replace(session, seen_us=max(session.seen_us, self._seen.get(key, 0)))
        return current if current.lives_at(self._clock.now_us()) else None

    def is_due(self, session: PortalSession) -> bool:
        """Whether `note` should make the last sign of life durable."""
        noted = self._sessions.get(session.id)
        return noted is not None and session.seen_us - noted.seen_us >= TOUCH_S * US

    def note(self, session: PortalSession, owner: str = "") -> None:
        """Make the last sign of life durable."""
        with self._lock:
            if session.id in self._sessions:
                self._write(session, owner)

    def close(self, cookie: str) -> None:
        """End the session of a cookie (signing out)."""
        with self._lock:
            self._drop([_hash(cookie)])

    def close_all(self, principal: str) -> None:
        """End every session of ``principal``."""
        with self._lock:
            self._drop([s.id for s in self._sessions.values() if s.principal == principal])

    def csrf_token(self, session: PortalSession) -> str:
        """Return the token that a page of this session must send with every change it asks for."""
        return _csrf(self._secrets[0], session)

    def use_secrets(self, secrets: Sequence[bytes]) -> None:
        """Make tokens with the first of ``secrets`` from now on; pages that were loaded before go on working."""
        self._secrets = tuple(secrets)

    def csrf_fits(self, session: PortalSession, token: str) -> bool:
        """Whether ``token`` is the session's, compared in constant time."""
        given = token.encode("utf-8", "surrogatepass")
        return any(hmac.compare_digest(_csrf(secret, session).encode(), given) for secret in self._secrets)

    def _write(self, session: PortalSession, owner: str) -> None:
        def work(tx: Transaction) -> None:
            tx.put(session, id=session.id, owner=owner)

        self._registry.transact(work)
        self._sessions[session.id] = session

    def _drop(self, keys: list[str]) -> None:
        # Memory first: a session that should end must not live on because the disk is full.
        for key in keys:
            self._sessions.pop(key, None)
            self._seen.pop(key, None)
        self._forget(keys)

    def _forget(self, keys: list[str]) -> None:
        def work(tx: Transaction) -> None:
            for key in keys:
                tx.delete(PortalSession, key)

        if keys:
            self._registry.transact(work)


def _csrf(secret: bytes, session: PortalSession) -> str:
    return hmac.new(secret, b"csrf\0" + session.id.encode(), hashlib.sha256).hexdigest()


def _hash(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("utf-8", "surrogatepass")).hexdigest()
