"""The door to identity: one object that the node composes and hands to whoever must know who is asking.

::

    Identity ─┬─ directory     organisations, principals, keys        ┐ standing data:
              ├─ users         names and passwords of people          │ writes block, so call
              ├─ sessions      the portal's                           │ them from a worker thread
              ├─ devices       device passwords                       │
              ├─ authority     certificates                           │
              ├─ first         the first administrator                ┘
              ├─ tokens, proofs, assertions, tickets, demo              memory (and revoked tokens on disk)
              ├─ rate, failures                                         how much, and how often wrong
              ├─ watch         who hears that a principal changed
              └─ custody       the node's own private keys
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

from gridspine.infra.identity.caller import Caller, How
from gridspine.infra.identity.certificate import Authority, thumbprint
from gridspine.infra.identity.client import ASSERTION_TYPE, Assertions
from gridspine.infra.identity.custody import Custody
from gridspine.infra.identity.demo import DemoTokens
from gridspine.infra.identity.device_password import DevicePasswords
from gridspine.infra.identity.directory import Directory
from gridspine.infra.identity.dpop import Proofs
from gridspine.infra.identity.first import FirstAdministrator
from gridspine.infra.identity.limit import Backoff, Rate
from gridspine.infra.identity.principal import Principal
from gridspine.infra.identity.refusal import refuse, refuse_client
from gridspine.infra.identity.session import PortalSession, Sessions
from gridspine.infra.identity.ticket import Tickets
from gridspine.infra.identity.token import MAX_LIFE_S, AccessClaims, AccessTokens, Confirmation
from gridspine.infra.identity.user import Cost, Users
from gridspine.infra.identity.watch import Watch
from gridspine.infra.registry.port import Registry
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import Invalid, Unauthenticated


class TokenRequest(msgspec.Struct, frozen=True):
    """A request for a token, as the token endpoint received it. Empty: not sent."""

    grant_type: str = ""
    client_id: str = ""
    client_assertion_type: str = ""
    client_assertion: str = ""
    scope: str = ""


class Issued(msgspec.Struct, frozen=True):
    """An access token and what its client must know of it (RFC 6749 §5.1)."""

    access_token: str
    token_type: str
    expires_in: int
    scope: str


class Identity:
    """Everything about who is asking. ``issuer`` is this node's URL, without a slash at its end.

    ``demo`` allows plain bearer tokens; where they are allowed (loopback) is for the web layer to keep. ``topic`` of
    the log hears of changes in the directory. ``rate`` bounds the requests of each principal.
    """

    def __init__(
        self,
        registry: Registry,
        clock: Clock,
        keys_dir: Path,
        issuer: str,
        *,
        audience: str = "",
        token_endpoint: str = "",
        topic: str = "",
        demo: bool = False,
        cost: Cost | None = None,
        rate: Rate | None = None,
    ) -> None:
        self.issuer, self.audience = issuer, audience or issuer
        self.token_endpoint = token_endpoint or f"{issuer}/token"
        self.custody = Custody(keys_dir, clock)
        self.watch = Watch()
        self.rate = rate or Rate(0, 0)
        self.failures = Backoff(clock, free=19, cap_s=60)
        self.directory = Directory(registry, clock, topic=topic, tell=self.watch.tell)
        self.tokens = AccessTokens(issuer, self.audience, self.custody.token_keys(), clock, registry)
        self.proofs = Proofs(clock)
        self.assertions = Assertions(self.directory, clock, frozenset({issuer, self.token_endpoint}))
        self.authority = Authority(registry, self.custody, clock, tell=self.watch.tell)
        self.devices = DevicePasswords(registry, self.custody.secrets("devices"), clock, tell=self.watch.tell)
        self.users = Users(registry, self.directory, clock, cost=cost)
        self.sessions = Sessions(registry, self.custody.secrets("cookies"), clock)
        self.first = FirstAdministrator(registry, self.directory, self.users, clock)
        self.tickets = Tickets(clock)
        self.demo = DemoTokens(clock) if demo else None

    # -- getting a token -------------------------------------------------------------------------------------------

    def issue_token(
        self, request: TokenRequest, *, method: str, url: str, proof: str = "", certificate_der: bytes | None = None
    ) -> Issued:
        """Answer a ``client_credentials`` request (RFC 6749 §4.4) with a token bound to a DPoP key or certificate.

        ``proof`` is the ``DPoP`` header, ``certificate_der`` the client certificate of the connection. Raises
        `Invalid` and `Unauthenticated` with an ``error`` code of RFC 6749 §5.2 or RFC 9449 §5.
        """
        if request.grant_type != "client_credentials":
            raise Invalid("grant_type must be client_credentials", error="unsupported_grant_type")
        principal, sid = self.authenticate_client(request, certificate_der)
        self.rate.take(principal.id)
        roles = _scope(principal, request.scope)
        cnf: Confirmation | None = None
        if proof:
            cnf = Confirmation(jkt=self.proofs.check(proof, method=method, url=url, owner=principal.id))
        elif certificate_der is not None:
            cnf = Confirmation(x5t=thumbprint(certificate_der))
            if not self._certificate_of(cnf.x5t, principal.id):
                raise refuse_client(
                    "the client certificate was not issued here to this client, or does not hold any more"
                )
        elif self.demo is None:
            raise Invalid(
                "send a DPoP proof or use a client certificate: a token is bound to either", error="invalid_request"
            )
        epoch = self.directory.epoch(principal.id)
        token = self.tokens.issue(principal.id, scope=" ".join(roles), sid=sid, epoch=epoch, cnf=cnf)
        return Issued(token, "DPoP" if cnf and cnf.jkt else "Bearer", MAX_LIFE_S, " ".join(roles))

    def authenticate_client(self, request: TokenRequest, certificate_der: bytes | None) -> tuple[Principal, str]:
        """Return the client that proves itself by assertion, else by certificate, and what its tokens depend on."""
        if request.client_assertion or request.client_assertion_type:
            if request.client_assertion_type != ASSERTION_TYPE:
                raise Invalid(f"client_assertion_type must be {ASSERTION_TYPE}", error="invalid_request")
            principal, key = self.assertions.check(request.client_assertion, client_id=request.client_id)
            return principal, f"key:{key.kid}"
        if certificate_der is not None:
            issued = self.authority.find(thumbprint(certificate_der))
            found = self.directory.active(issued.principal) if issued is not None else None
            if issued is None or found is None or found.id != request.client_id:
                raise refuse_client(
                    "the client certificate was not issued here to client_id, or does not hold any more"
                )
            return found, f"certificate:{issued.id}"
        raise refuse_client("the client must prove itself: send a client_assertion, or use a client certificate")

    def revoke_token(self, token: str, principal: Principal) -> None:
        """End a token of ``principal`` (RFC 7009 §2.1). One that is not valid any more is no error. Blocks."""
        try:
            claims = self.tokens.verify(token)
        except Unauthenticated:
            return
        if claims.client_id == principal.id:
            self.tokens.revoke(claims)

    def rotate_token_key(self, *, at_once: bool = False) -> None:
        """Sign tokens with a new key from now on; running tokens stay valid unless ``at_once``. Blocks."""
        self.custody.rotate_token_key(at_once=at_once)
        self.tokens.use_keys(self.custody.token_keys())

    def rotate_secret(self, name: Literal["cookies", "devices"]) -> None:
        """Replace the secret behind tokens against CSRF, or device passwords; nothing made before ends. Blocks."""
        secrets = self.custody.rotate_secret(name)
        if name == "cookies":
            self.sessions.use_secrets(secrets)
        else:
            self.devices.use_keys(secrets)

    # -- showing it ------------------------------------------------------------------------------------------------

    def by_dpop(self, token: str, proof: str, *, method: str, url: str) -> Caller:
        """Return the caller of a request with a DPoP-bound token and its proof; raise a 401 that says why not."""
        claims = self.tokens.verify(token)
        if claims.cnf is None or not claims.cnf.jkt:
            raise refuse("wrong-scheme", "this access token is not bound to a DPoP key")
        if not proof:
            raise refuse("no-proof", "a DPoP-bound token needs a DPoP header with a proof", error="invalid_dpop_proof")
        self.proofs.check(proof, method=method, url=url, owner=claims.sub, token=token, jkt=claims.cnf.jkt)
        return self._token_caller(claims, "dpop")

    def by_bearer(self, token: str, certificate_der: bytes | None, *, plain: bool = False) -> Caller:
        """Return the caller of a request with a certificate-bound token; with ``plain`` unbound ones pass too.

        ``plain`` is for loopback connections of the demo profile and has no effect without ``demo``.
        """
        plain = plain and self.demo is not None
        if plain and self.demo is not None and (principal := self.demo.find(token)) is not None:
            return self._caller(principal, None, f"demo:{principal}", "bearer", self.directory.epoch(principal))
        claims = self.tokens.verify(token)
        if claims.cnf is not None and claims.cnf.jkt:
            raise refuse("wrong-scheme", "this token is bound to a DPoP key: use Authorization: DPoP and a proof")
        if claims.cnf is None:
            if not plain or claims.door is not None:
                raise refuse(
                    "bearer-refused",
                    "tokens bound to nothing are taken in the demo profile on loopback only",
                    scheme="Bearer",
                )
            return self._token_caller(claims, "bearer")
        if certificate_der is None:
            raise refuse(
                "no-certificate", "the access token is bound to a client certificate: connect with it", scheme="Bearer"
            )
        if thumbprint(certificate_der) != claims.cnf.x5t:
            raise refuse(
                "wrong-certificate", "the access token is bound to another client certificate", scheme="Bearer"
            )
        if not self._certificate_of(claims.cnf.x5t, claims.sub):
            raise refuse("revoked", "the client certificate is revoked or has run out", scheme="Bearer")
        return self._token_caller(claims, "mtls")

    def by_cookie(self, cookie: str) -> tuple[Caller, PortalSession]:
        """Return the caller and session of a portal cookie; raise a 401. CSRF is for the web layer to check."""
        session = self.sessions.find(cookie)
        if session is None:
            raise refuse("session-ended", "the session has ended: sign in again", error="")
        return self._caller(session.principal, None, f"portal:{session.id}", "cookie", session.epoch), session

    def by_certificate(self, certificate_der: bytes) -> Caller:
        """Return the caller behind a client certificate of this node's authority, proven by TLS; raise a 401."""
        issued = self.authority.find(thumbprint(certificate_der))
        if issued is None:
            raise refuse(
                "wrong-certificate", "the client certificate was not issued here, is revoked or has run out", error=""
            )
        epoch = self.directory.epoch(issued.principal)
        return self._caller(issued.principal, None, f"certificate:{issued.id}", "mtls", epoch)

    def by_password(self, username: str, password: str) -> Caller:
        """Return the caller behind a device's user name (its principal's id) and password; raise a 401."""
        made_us = self.devices.check(username, password)
        if not made_us:
            raise refuse("wrong-password", "user name or password is wrong", error="")
        return self._caller(
            username, None, f"password:{username}/{made_us}", "password", self.directory.epoch(username)
        )

    def by_session(self, principal: str, session: str, epoch: int, roles: Iterable[str] | None = None) -> Caller:
        """Return the caller who proved itself before, by ``roles`` at most; raise a 401 when that holds no more."""
        how: How = "password" if session.startswith("password:") else "mtls"
        return self._caller(principal, roles, session, how, epoch)

    def for_adapter(self, principal: str, session: str) -> Caller:
        """Return ``principal`` as one whom an adapter of the node acts for; raise a 401 where it is gone.

        Who calls it has made sure that the adapter may.
        """
        found = self.directory.active(principal)
        if found is None:
            raise refuse("inactive", "the principal is deactivated or gone")
        epoch, roles = self.directory.epoch(principal), frozenset(found.roles)
        return Caller(principal, found.organisation, found.kind, found.name, roles, session, "adapter", epoch)

    def by_ticket(self, ticket: str, path: str) -> Caller:
        """Return the caller who was given ``ticket`` for ``path``; raise a 401. A ticket works once."""
        caller = self.tickets.redeem(ticket, path)
        if not self.holds(caller):
            raise refuse("revoked", "what the ticket was issued on does not hold any more", error="")
        return caller

    # -- afterwards ------------------------------------------------------------------------------------------------

    def holds(self, caller: Caller) -> bool:
        """Whether ``caller`` would still be let in: for streams, to be asked again and again. Memory only."""
        principal = self.directory.active(caller.principal)
        if principal is None or self.directory.epoch(caller.principal) != caller.epoch:
            return False
        return caller.roles <= frozenset(principal.roles) and self._anchored(caller.session, caller.principal)

    def sign_in(self, username: str, password: str, address: str) -> str:
        """Sign a user in and return what the portal's cookie must hold; see `Users.sign_in` for errors. Blocks."""
        user = self.users.sign_in(username, password, address)
        return self.sessions.open(user, self.directory.epoch(user.id))

    def sign_out_everywhere(self, principal: str, *, actor: str = "node") -> None:
        """End all sessions, tokens and tickets of ``principal``. Blocks."""
        self.directory.revoke_issued(principal, actor=actor)
        self.sessions.close_all(principal)

    def set_password(self, id: str, password: str, *, actor: str = "node") -> None:
        """Give a user another password; all that rests on the old one ends. Raises `NotFound`, `Conflict`. Blocks."""
        principal = self.directory.principal(id)
        self.users.set_password(principal, password)
        self.directory.note("principal.password-set", id, actor=actor)
        self.sign_out_everywhere(id, actor=actor)

    def new_device_password(self, id: str, *, actor: str = "node") -> str:
        """Give a principal a new device password and return it; all that rests on the old one ends. Blocks."""
        principal = self.directory.principal(id)
        password = self.devices.set_new(principal)
        self.directory.note("principal.device-password-set", id, actor=actor)
        return password

    def holds_session(self, principal: str, session: str, epoch: int) -> bool:
        """Whether a connection that ``principal`` opened may stay open: memory only."""
        active = self.directory.active(principal) is not None
        return active and self.directory.epoch(principal) == epoch and self._anchored(session, principal)

    def _token_caller(self, claims: AccessClaims, how: How) -> Caller:
        return self._caller(claims.sub, claims.scope.split(), claims.sid, how, claims.epoch)

    def _caller(self, id: str, scope: Iterable[str] | None, session: str, how: How, epoch: int) -> Caller:
        principal = self.directory.active(id)
        if principal is None:
            raise refuse("inactive", "the principal is deactivated or gone")
        if epoch != self.directory.epoch(id) or not self._anchored(session, id):
            raise refuse("revoked", "the key, certificate or session behind this does not hold any more: sign in anew")
        roles = frozenset(principal.roles)
        if scope is not None:
            roles &= frozenset(scope)
        return Caller(id, principal.organisation, principal.kind, principal.name, roles, session, how, epoch)

    def _anchored(self, session: str, principal: str) -> bool:
        """Whether that on which ``session`` rests is still in force."""
        kind, _, name = session.partition(":")
        if kind == "key":
            key = self.directory.key(name)
            return key is not None and key.principal == principal
        if kind == "certificate":
            return self._certificate_of(name, principal)
        if kind == "portal":
            return self.sessions.get(name) is not None
        if kind == "password":
            return name == f"{principal}/{self.devices.made_us(principal)}" and self.devices.made_us(principal) > 0
        return kind == "demo" and self.demo is not None

    def _certificate_of(self, x5t: str, principal: str) -> bool:
        issued = self.authority.find(x5t)
        return issued is not None and issued.principal == principal


def _scope(principal: Principal, asked: str) -> tuple[str, ...]:
    """Return the roles a token shall carry: those asked for, in order, or all of the principal's."""
    if not asked:
        return principal.roles
    wanted = tuple(dict.fromkeys(asked.split()))
    if not set(wanted) <= set(principal.roles):
        raise Invalid("the scope names a role this client does not have", error="invalid_scope")
    return wanted
