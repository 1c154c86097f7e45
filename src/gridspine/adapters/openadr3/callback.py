"""Notifications: changes posted to who subscribed, and may see them; in the order they came, a few times each.

::

    change ─► subscriptions that ask for it ─► may it be seen? ─► one bounded queue each ─► POST ─┐
                                                                        ▲── again, later ─────────┘ not 2xx

Where a stranger says where to post, the node connects to no address of its own machine or network's inside
(`gridspine.infra.runtime.address_rule`), follows no redirect, and reads nothing of the answer but its status.
"""

import asyncio
import logging
from collections import Counter, deque
from typing import NamedTuple

import httpx
import msgspec

from gridspine.adapters.openadr3 import edition
from gridspine.adapters.openadr3.call import Call
from gridspine.adapters.openadr3.seats import Seats
from gridspine.adapters.openadr3.settings import Settings
from gridspine.adapters.openadr3.subscription import may_see, wanting
from gridspine.adapters.openadr3.vtn import Vtn
from gridspine.adapters.openadr3.wire import Operation, Record
from gridspine.infra.runtime.address_rule import AddressRule
from gridspine.infra.runtime.guarded_http import guarded_client
from gridspine.infra.runtime.waiting import back_off_s
from gridspine.infra.runtime.web_place import origin_of, split_address
from gridspine.kernel.errors import GridspineError, Invalid
from gridspine.things.adapter import AdapterContext, Source

MAX_CHANGES, MAX_WAITING = 10_000, 200
"""Changes that wait to be looked at, and notifications that wait for one subscription; of more the oldest go."""
MAX_BYTES = 64 << 20
"""What all that waits has at most [bytes]; of more the oldest go, in the organisation that has most of them.

What is told to many is counted once.
"""
ATTEMPTS = 4
TIMEOUT_S = 10.0
_TURN = 50
_LOG = logging.getLogger(__name__)


class _Body:
    """A notification that waits for so many subscriptions of each organisation."""

    __slots__ = ("data", "users")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.users: Counter[str] = Counter()


class _Post(NamedTuple):
    organisation: str
    url: str
    token: str
    body: _Body


class _Lost(GridspineError):
    """A notification that was not taken."""


class Callbacks:
    """Posts notifications. Lives on the event loop; `run` does the work."""

    def __init__(self, vtn: Vtn, context: AdapterContext, settings: Settings) -> None:
        self._vtn, self._context, self._settings = vtn, context, settings
        self._changes: deque[tuple[Record, Operation, frozenset[str]]] = deque(maxlen=MAX_CHANGES)
        self._wake = asyncio.Event()
        self._waiting: dict[str, deque[_Post]] = {}
        self._seats, self._bytes = Seats(), 0
        self._bytes_of: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        """Notifications that were told, and lost."""
        vtn.told.append(self._tell)
        vtn.check_callback = self.check

    def check(self, url: str) -> None:
        """Raise `Invalid` for an address that is never posted to."""
        try:
            parts = split_address(url)
        except Invalid as error:
            raise Invalid(f"callbackUrl: {error.detail}") from error
        if not parts.netloc.isascii():
            raise Invalid("callbackUrl: a name beyond ASCII is written as A-labels (xn--…)")
        if parts.scheme == "http" and not self._settings.plain_callbacks:
            raise Invalid("callbackUrl: https is needed; this VTN posts nothing in plain text")

    async def run(self) -> None:
        """Look at changes and post, until cancelled."""
        rule = AddressRule(self._settings.allow, self._settings.only, "adapters.settings.openadr3")
        client = guarded_client(rule, TIMEOUT_S)
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    await self._wake.wait()
                    self._wake.clear()
                    while self._changes:
                        try:
                            await self._look(*self._changes.popleft(), group, client)
                        except Exception:  # what is wrong with one change keeps no other from being told
                            self.counts["lost"] += 1
                            _LOG.exception("a change was not told by callback")
        finally:
            await client.aclose()

    def _tell(self, record: Record, operation: Operation, guard: frozenset[str]) -> None:
        if len(self._changes) == MAX_CHANGES:
            self.counts["lost"] += 1
        self._changes.append((record, operation, guard))
        self._wake.set()

    async def _look(
        self, record: Record, operation: Operation, guard: frozenset[str], group: asyncio.TaskGroup,
        client: httpx.AsyncClient,
    ) -> None:  # fmt: skip
        bodies: dict[str, _Body] = {}
        for at, (subscription, part) in enumerate(wanting(self._vtn, record, operation)):
            if at % _TURN == _TURN - 1:
                await asyncio.sleep(0)  # others are served between them
            call = self._call(subscription)
            if call is None or not may_see(self._vtn, call, record, guard):
                continue
            if record.kind == "SUBSCRIPTION" and record.client != subscription.client:
                continue  # it has the bearer token of who made it
            body = bodies.get(subscription.edition)
            if body is None:
                told = edition.notified(record, operation, subscription.edition)
                body = bodies[subscription.edition] = _Body(msgspec.json.encode(told))
            post = _Post(subscription.organisation, part["callbackUrl"], part.get("bearerToken") or "", body)
            self._offer(subscription, post, group, client)

    def _call(self, subscription: Record) -> Call | None:
        session, epoch, roles = subscription.proof
        source = Source(subscription.client, subscription.organisation, session, epoch, roles)
        try:
            port = self._vtn.controls.of(source)
            return Call("GET", subscription.edition, (), {}, b"", port, self._vtn.clock.now_us())
        except GridspineError:  # what it proved itself by holds no more: it is told nothing
            return None

    def _offer(self, of: Record, post: _Post, group: asyncio.TaskGroup, client: httpx.AsyncClient) -> None:
        queue = self._waiting.get(of.id)
        if queue is None:
            queue = self._waiting[of.id] = deque()
            group.create_task(self._work(of, queue, client))
        self._hold(post)
        queue.append(post)
        while len(queue) > MAX_WAITING:
            self._lose(queue)
        while self._bytes > MAX_BYTES and (full := [one for one in self._waiting.values() if one]):
            # The oldest of the fullest queue, from all queues that begin with it: its bytes go with the last of them.
            oldest = max(full, key=lambda one: (self._bytes_of[one[0].organisation], len(one)))[0]
            for one in full:
                while one and one[0].body is oldest.body and one[0].organisation == oldest.organisation:
                    self._lose(one)

    def _lose(self, queue: deque[_Post]) -> None:
        self._let_go(queue.popleft())
        self.counts["lost"] += 1

    def _hold(self, post: _Post) -> None:
        body, whose = post.body, post.organisation
        self._bytes += 0 if body.users else len(body.data)
        self._bytes_of[whose] += 0 if body.users[whose] else len(body.data)
        body.users[whose] += 1

    def _let_go(self, post: _Post) -> None:
        body, whose = post.body, post.organisation
        body.users[whose] -= 1
        if not body.users[whose]:
            del body.users[whose]
            self._bytes_of[whose] -= len(body.data)
        if not self._bytes_of[whose]:
            del self._bytes_of[whose]
        self._bytes -= 0 if body.users else len(body.data)

    async def _work(self, of: Record, queue: deque[_Post], client: httpx.AsyncClient) -> None:
        try:
            while queue:
                post = queue.popleft()
                try:
                    await self._deliver(of, post, client)
                finally:
                    self._let_go(post)
        except Exception:  # what one subscription asks for never ends the others'
            self.counts["lost"] += 1 + len(queue)
            _LOG.exception("notifications of subscription %s could not be sent", of.id)
        finally:
            for post in self._waiting.pop(of.id):
                self._let_go(post)

    async def _deliver(self, of: Record, post: _Post, client: httpx.AsyncClient) -> None:
        for attempt in range(ATTEMPTS):
            try:
                async with self._seats.seat(of.client, origin_of(post.url)):
                    await self._post(post, client)
            except (_Lost, GridspineError, httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
                self._context.trace("note", f"notification not taken: {type(error).__name__}", peer=post.url[:100])
            else:
                self.counts["told"] += 1
                return
            if attempt + 1 < ATTEMPTS:
                await self._vtn.clock.sleep(back_off_s(self._vtn.clock, attempt, least_s=1.0, most_s=60.0))
        self.counts["lost"] += 1
        _LOG.warning("a notification of subscription %s was not taken in %d attempts", of.id, ATTEMPTS)

    async def _post(self, post: _Post, client: httpx.AsyncClient) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            headers = {"content-type": "application/json"}
            if post.token:
                headers["authorization"] = f"Bearer {post.token}"
            request = client.build_request("POST", post.url, content=post.body.data, headers=headers)
            self._context.trace("out", post.body.data, peer=request.url.host)
            answer = await client.send(request, stream=True)
            await answer.aclose()
        self._context.trace("in", str(answer.status_code), peer=request.url.host)
        if not answer.is_success:
            raise _Lost(f"answered {answer.status_code}")
