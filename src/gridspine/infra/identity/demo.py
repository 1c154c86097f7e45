"""Plain bearer tokens for trying things out: demo profile, loopback, this run of the node only."""

import base64

from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import Overloaded

MAX_TOKENS = 100
PREFIX = "demo."


class DemoTokens:
    """Tokens that anyone who reads them can use; so they live in memory and end with the process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._principals: dict[str, str] = {}

    def issue(self, principal: str) -> str:
        """Return a new token for ``principal``. Raises `Overloaded` beyond `MAX_TOKENS`."""
        if len(self._principals) >= MAX_TOKENS:
            raise Overloaded(f"a demo has at most {MAX_TOKENS} plain tokens")
        token = PREFIX + base64.urlsafe_b64encode(self._clock.randbytes(24)).decode()
        self._principals[token] = principal
        return token

    def find(self, token: str) -> str | None:
        """Return the principal of ``token``, or None. The 192 random bits are looked up by hash, not compared."""
        return self._principals.get(token)
