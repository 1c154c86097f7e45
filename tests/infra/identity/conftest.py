"""An identity on a real registry in a temporary folder, on virtual time."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, OKPKey

from gridspine.infra.identity import jws
from gridspine.infra.identity.principal import Principal
from gridspine.infra.identity.service import Identity, TokenRequest
from gridspine.infra.identity.user import Cost
from gridspine.infra.registry.sql import SqlRegistry, sqlite_url
from gridspine.infra.runtime.clock import VirtualClock, new_id
from gridspine.kernel.time import US

ISSUER = "https://node.example"
TOKEN_URL = f"{ISSUER}/token"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
CHEAP = Cost(n=16, r=8, p=1)
Key = OKPKey | ECKey


class World:
    """A node's identity, and what its clients hold."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = VirtualClock()
        self.registry = SqlRegistry(sqlite_url(folder / "registry.db"), self.clock, None)
        self.demo = False
        self.identity = self.start()

    def start(self) -> Identity:
        """Compose identity (anew, as after a restart)."""
        self.identity = Identity(
            self.registry, self.clock, self.folder / "keys", ISSUER, demo=self.demo, cost=CHEAP, topic="identity"
        )
        return self.identity

    def now_s(self) -> int:
        return self.clock.now_us() // US

    def principal(self, *roles: str, organisation: str = "acme", kind: Any = "application") -> Principal:
        directory = self.identity.directory
        if all(known.id != organisation for known in directory.organisations()):
            directory.add_organisation(organisation, organisation.title())
        return directory.add_principal(organisation, kind, "Someone", roles)

    def client(self, *roles: str, key: Key | None = None, **more: Any) -> tuple[Principal, Key]:
        key = key or OKPKey.generate_key("Ed25519")
        principal = self.principal(*roles, **more)
        self.identity.directory.add_key(principal.id, dict(key.as_dict(private=False)))
        return principal, key

    def assertion(self, client: str, key: Key, *, header: dict[str, Any] | None = None, **claims: Any) -> str:
        now_s = self.now_s()
        body = {"iss": client, "sub": client, "aud": ISSUER, "exp": now_s + 60, "iat": now_s, "jti": new_id(self.clock)}
        body = {name: value for name, value in {**body, **claims}.items() if value is not None}
        return jws.sign(header or {}, body, key)

    def proof(self, key: Key, method: str, url: str, token: str = "", *, typ: str = "dpop+jwt", **claims: Any) -> str:
        from gridspine.infra.identity.dpop import token_hash

        body: dict[str, Any] = {"jti": new_id(self.clock), "htm": method, "htu": url, "iat": self.now_s()}
        if token:
            body["ath"] = token_hash(token)
        body = {name: value for name, value in {**body, **claims}.items() if value is not None}
        return jws.sign({"typ": typ, "jwk": dict(key.as_dict(private=False))}, body, key)

    def token(self, client: Principal, key: Key, *, scope: str = "", dpop: Key | None = None) -> str:
        request = TokenRequest(
            grant_type="client_credentials",
            client_assertion_type=ASSERTION_TYPE,
            client_assertion=self.assertion(client.id, key),
            scope=scope,
        )
        proof = self.proof(dpop or key, "POST", TOKEN_URL)
        return self.identity.issue_token(request, method="POST", url=TOKEN_URL, proof=proof).access_token


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.registry.close()


@pytest.fixture
def reason_of() -> Callable[..., str]:
    """Return the reason word with which a call is refused."""
    from gridspine.kernel.errors import Unauthenticated

    def reason(call: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
        with pytest.raises(Unauthenticated) as caught:
            call(*args, **kwargs)
        return str(caught.value.extra.get("reason", ""))

    return reason
