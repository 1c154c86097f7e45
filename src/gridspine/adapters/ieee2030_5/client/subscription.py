"""Subscriptions at a utility's server: to all that is read of it and that it lets be subscribed to.

::

    look ─► what was read, and may be subscribed to ─┬─ not yet: asked for ─► kept, renewed once in a while
                                                     └─ read no more: given up
    notification ─► of one that is kept? ─► what it is about is read anew, at once

What is said in a notification is not taken from there: it says what to read. So one that is forged, late or lost does
no more than a poll does, and polls go on at the server's own rates. A server that takes no more is polled only.

Source: Subscription and Notification of IEEE 2030.5-2018 ``sep.xsd``. How long a server keeps one that is not renewed
is in clauses that were not read.
"""

import logging
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import msgspec

from gridspine.adapters.ieee2030_5.client.connection import Connection
from gridspine.adapters.ieee2030_5.client.walk import Watch
from gridspine.adapters.ieee2030_5.wire import Part, part, text
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import GridspineError, NotFound, Unavailable
from gridspine.kernel.time import US
from gridspine.things.adapter import PrivateStore

log = logging.getLogger(__name__)
MAX_SUBSCRIPTIONS = 1_000
"""Subscriptions at one server at most; what is beyond is polled."""
RENEWED_US, AGAIN_US, SOON_US = 12 * 3_600 * US, 3_600 * US, 60 * US
"""When a subscription is asked for again; when what was refused is; when, where the server did not answer [µs]."""
_FIRST = ("DERControl", "DefaultDERControl", "EndDevice", "DERProgram", "FunctionSetAssignments")
"""What matters most, where there are more than may be: it changes most, and soonest."""


class Held(msgspec.Struct, frozen=True):
    """A subscription: to ``resource`` as the server calls it; where it is, "" where the server did not say.

    ``uri`` is where its notifications go, ``renew_us`` [µs since 1970] when it is asked for again.
    """

    resource: str
    href: str
    renew_us: int
    uri: str = ""

    def stands(self, now_us: int) -> bool:
        """Whether it need not be renewed at ``now_us`` [µs since 1970], nor was when the clock was ahead of that."""
        return now_us < self.renew_us <= now_us + RENEWED_US


class Subscriptions:
    """The subscriptions at the server of ``utility``; notifications are to go to ``uri``."""

    def __init__(self, clock: Clock, store: PrivateStore, utility: str, uri: str) -> None:
        self._clock, self._store, self._key, self._uri = clock, store, f"subscriptions/{utility}", uri
        self._held: dict[str, Held] | None = None
        self._later: dict[str, int] = {}
        self._silent_us = 0
        self._changed = False

    async def settle(self, connection: Connection, wanted: Mapping[str, Watch], usual: str, *, whole: bool) -> None:
        """Subscribe to what is ``wanted`` (by its href), and give up what is not, if ``wanted`` is ``whole``.

        ``usual`` is the list that subscriptions are added to where a resource has none of its own. Never raises what
        the server answers: what is not subscribed to is polled.
        """
        held = await self._load()
        if self._clock.monotonic_us() >= self._silent_us:
            try:
                # Those to an address that the settings had before tell nobody.
                await self._give_up(connection, [key for key, one in held.items() if one.uri != self._uri], held)
                await self._subscribe(connection, wanted, usual, held)
                if whole:
                    listed = {_path(resource) for resource in wanted}
                    await self._give_up(connection, [key for key in held if key not in listed], held)
            except Unavailable as error:
                self._silent_us = self._clock.monotonic_us() + SOON_US
                log.info("the server takes no subscriptions now: %s", error.detail)
        await self._keep(held)

    async def end(self, connection: Connection) -> None:
        """Give all of them up, as nobody listens any more; those that the server does not end now, later."""
        held, now_us = await self._load(), self._clock.monotonic_us()
        if not held or now_us < self._silent_us:
            return
        try:
            await self._give_up(connection, list(held), held)
        except Unavailable as error:
            self._silent_us = now_us + SOON_US
            log.info("the server ends no subscriptions now: %s", error.detail)
        await self._keep(held)

    async def _keep(self, held: dict[str, Held]) -> None:
        if self._changed:
            self._changed = False
            await self._store.put(self._key, msgspec.msgpack.encode(held) if held else None)

    def told(self, resource: str, href: str, status: int) -> str | None:
        """Return what to read anew, by its href, None for a subscription that is none of these.

        A ``status`` other than 0 ends it: it is asked for again after a while.
        """
        key = _path(resource)
        one = (self._held or {}).get(key)
        if one is None or (one.href and one.href != _path(href)):
            return None
        if status:
            assert self._held is not None
            del self._held[key]
            self._changed = True
            self._later[key] = self._clock.monotonic_us() + AGAIN_US
        return one.resource

    async def _load(self) -> dict[str, Held]:
        if self._held is None:
            raw = await self._store.get(self._key)
            self._held = {} if raw is None else msgspec.msgpack.decode(raw, type=dict[str, Held])
        return self._held

    async def _subscribe(
        self, connection: Connection, wanted: Mapping[str, Watch], usual: str, held: dict[str, Held]
    ) -> None:  # fmt: skip
        now_us, monotonic_us = self._clock.now_us(), self._clock.monotonic_us()
        self._later = {key: at_us for key, at_us in self._later.items() if at_us > monotonic_us}
        ranked = sorted(wanted.items(), key=lambda one: _FIRST.index(one[1].name) if one[1].name in _FIRST else 9)
        for resource, watch in ranked[:MAX_SUBSCRIPTIONS]:
            key, list_ = _path(resource), watch.subscriptions or usual
            known = held.get(key)
            if (known is not None and known.stands(now_us)) or key in self._later or not list_:
                continue
            try:
                there = _path(await connection.post(list_, subscription(resource, self._uri)))
            except Unavailable:
                raise
            except GridspineError as error:
                self._later[key] = monotonic_us + AGAIN_US
                self._changed |= held.pop(key, None) is not None
                log.info("not subscribed, polled only: %s: %s", key[:200], error.detail)
                continue
            held[key] = Held(resource, there or (known.href if known else ""), now_us + RENEWED_US, self._uri)
            self._changed = True

    async def _give_up(self, connection: Connection, keys: Sequence[str], held: dict[str, Held]) -> None:
        for key in keys:
            one = held.get(key)  # the server may end one by itself meanwhile, and say so: see `told`
            try:
                if one is not None and one.href:
                    await connection.delete(one.href)
            except NotFound:
                pass
            except Unavailable:
                raise
            except GridspineError as error:
                log.info("a subscription was not ended: %s: %s", key[:200], error.detail)
            held.pop(key, None)
            self._changed = True


def subscription(resource: str, uri: str) -> Part:
    """Return a Subscription to ``resource``, whose notifications go to ``uri`` with one item of a list at most."""
    return part(
        "Subscription", text("subscribedResource", resource), text("encoding", 0), text("level", "+S1"),
        text("limit", 1), text("notificationURI", uri),
    )  # fmt: skip


def _path(href: str) -> str:
    """Return the path of an address, by which servers call the same thing in more than one way; "" for none."""
    try:
        return urlsplit(href).path
    except ValueError:
        return ""
