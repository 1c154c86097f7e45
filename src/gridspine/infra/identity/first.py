"""The first administrator: whoever can run the command on the node's machine gets a code that works once."""

import base64
import hashlib
import hmac
import threading

import msgspec

from gridspine.infra.identity.directory import Directory
from gridspine.infra.identity.principal import ADMINISTRATOR, Organisation, Principal
from gridspine.infra.identity.user import Users
from gridspine.infra.registry.port import Registry, Transaction
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import Conflict, Unauthenticated
from gridspine.kernel.time import US

LIFE_S = 24 * 3600
_ID = "first"


class FirstCode(msgspec.Struct, frozen=True):
    """The hash (hex) of the code that makes the first administrator; empty once it was used."""

    digest: str
    expires_us: int


class FirstAdministrator:
    """Makes and redeems the one-time code. 128 random bits, so a plain hash keeps it."""

    def __init__(self, registry: Registry, directory: Directory, users: Users, clock: Clock) -> None:
        self._registry, self._directory, self._users, self._clock = registry, directory, users, clock
        self._lock = threading.Lock()

    def new_code(self) -> str:
        """Return a new code, good for `LIFE_S` [s]; an earlier unused one is void. Raises `Conflict` once used."""
        code = base64.b32encode(self._clock.randbytes(16)).rstrip(b"=").decode().lower()

        def work(tx: Transaction) -> None:
            self._refuse_second(tx.get(FirstCode, _ID))
            tx.put(FirstCode(_digest(code), self._clock.now_us() + LIFE_S * US), id=_ID)

        self._registry.transact(work)
        return code

    def redeem(self, code: str, organisation: Organisation, username: str, password: str) -> Principal:
        """Use the code up: make ``organisation`` unless it exists, and its user ``username`` an administrator.

        Raises `Unauthenticated` for a wrong or old code, `Conflict` when there is an administrator already.
        """
        self._registry.read(lambda tx: self._check(tx, code))
        record = self._users.prepare(username, password)

        def use_up(tx: Transaction, user: Principal) -> None:
            self._check(tx, code)
            tx.put(FirstCode("", 0), id=_ID)
            self._users.keep(tx, user, record)

        with self._lock:
            self._registry.read(lambda tx: self._check(tx, code))
            if all(known.id != organisation.id for known in self._directory.organisations()):
                self._directory.add_organisation(organisation.id, organisation.name, kind=organisation.kind)
            return self._directory.add_principal(
                organisation.id, "user", username, (ADMINISTRATOR,), actor="first-code", also=use_up
            )

    def _check(self, tx: Transaction, code: str) -> None:
        kept = tx.get(FirstCode, _ID)
        self._refuse_second(kept)
        given = _digest(code.strip().lower())
        if kept is None or not hmac.compare_digest(kept.digest, given) or self._clock.now_us() >= kept.expires_us:
            raise Unauthenticated("the code is wrong or has run out: make a new one on the node", reason="wrong-code")

    def _refuse_second(self, kept: FirstCode | None) -> None:
        used = kept is not None and not kept.digest
        if used or any(p.kind == "user" and ADMINISTRATOR in p.roles for p in self._directory.principals()):
            raise Conflict("this node has its first administrator already: ask one to add more")


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest()
