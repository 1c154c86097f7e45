"""One-time tickets: a browser's event stream cannot sign its request, so it shows a ticket once."""

import base64
import threading
from collections import Counter, OrderedDict

from gridspine.infra.identity.caller import Caller
from gridspine.infra.identity.refusal import refuse
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import Overloaded
from gridspine.kernel.time import US

LIFE_S = 30
MAX_TICKETS = 10_000
MAX_TICKETS_EACH = 64


class Tickets:
    """Issues and redeems tickets; in memory only, for they live `LIFE_S` [s]. Full memory is answered by 429."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._tickets: OrderedDict[str, tuple[Caller, str, int]] = OrderedDict()
        self._each: Counter[str] = Counter()

    def issue(self, caller: Caller, path: str) -> str:
        """Return a ticket with which ``path`` may be opened once as ``caller``. Raises `Overloaded`."""
        ticket = base64.urlsafe_b64encode(self._clock.randbytes(24)).decode()
        with self._lock:
            self._sweep()
            if len(self._tickets) >= MAX_TICKETS or self._each[caller.principal] >= MAX_TICKETS_EACH:
                raise Overloaded("too many tickets wait to be used", retry_after_s=LIFE_S)
            self._tickets[ticket] = (caller, path, self._clock.monotonic_us() + LIFE_S * US)
            self._each[caller.principal] += 1
        return ticket

    def redeem(self, ticket: str, path: str) -> Caller:
        """Return the caller of an unused ticket for ``path``; raise a 401. It is used up either way."""
        with self._lock:
            self._sweep()
            found = self._tickets.pop(ticket, None)
            if found is not None:
                self._release(found[0])
        if found is None or found[1] != path:
            raise refuse("bad-ticket", "the ticket is used up, has run out, or is for another address", error="")
        return found[0]

    def _sweep(self) -> None:
        now_us = self._clock.monotonic_us()
        while self._tickets:
            oldest = next(iter(self._tickets.values()))
            if oldest[2] > now_us:
                return
            self._tickets.popitem(last=False)
            self._release(oldest[0])

    def _release(self, caller: Caller) -> None:
        self._each[caller.principal] -= 1
        if not self._each[caller.principal]:
            del self._each[caller.principal]
