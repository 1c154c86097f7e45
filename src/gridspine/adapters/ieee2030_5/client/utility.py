"""One utility's server, and all Things of the node that stand for EndDevices of it: looked at one after the other.

The client is whom its certificate says, there and here: it is known to the node as a principal's
(``known-certificates``), whose roles say what a utility may do to the organisation's sites. Where that principal is
deactivated, or its certificate revoked, nothing more is carried, and what was goes on to its end.
"""

import asyncio
import logging
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gridspine.adapters.ieee2030_5.client.connection import Access, Connection, Failed, tls_of
from gridspine.adapters.ieee2030_5.client.end_device import Upstream, is_upstream, read_upstream
from gridspine.adapters.ieee2030_5.client.follower import Follower, end
from gridspine.adapters.ieee2030_5.client.notified import Notified
from gridspine.adapters.ieee2030_5.client.record import Book
from gridspine.adapters.ieee2030_5.client.subscription import Subscriptions
from gridspine.adapters.ieee2030_5.client.walk import Walk, link_of, own
from gridspine.adapters.ieee2030_5.identity import lfdi_of
from gridspine.adapters.ieee2030_5.settings import NOTIFICATIONS
from gridspine.energy.control_port import ControlPort, Controls
from gridspine.infra.runtime.tasks import heed_cancellation
from gridspine.infra.runtime.waiting import back_off_s, pause
from gridspine.kernel.errors import GridspineError, Invalid, Unavailable
from gridspine.kernel.ids import point_id
from gridspine.kernel.readings import named_readings
from gridspine.kernel.time import US
from gridspine.things.adapter import AdapterContext, Binding

log = logging.getLogger(__name__)
_LEAST_S, _MOST_S = 2.0, 300.0
"""Pauses before a server that does not answer is asked again [s]."""
_REST_S, _REST_AWAY_S = 0.2, 1.0
"""How long a server is left alone at least, one that answers and one that does not [s]: whoever wakes its follower, as
it may by notifications without end."""
_BROKEN_S = 10.0
"""When a server is followed anew of which something was said that nobody thought of [s]."""
_MANY_S = 0.3
"""How long changes may gather [s]: a fleet is registered one by one."""
_TELL_S = 30.0
"""How often the Things say how it goes [s]."""


class Client(msgspec.Struct, frozen=True):
    """Whom the node is at a server: its certificate (DER), and its LFDI."""

    certificate: bytes
    lfdi: str


class Utility:
    """A server by its name in the settings; `run` follows it for ever."""

    def __init__(self, context: AdapterContext, controls: Controls, name: str, access: Access, pen: int) -> None:
        self.name = name
        self.wake = asyncio.Event()
        """Set when something changed here that may be the server's to know."""
        self._context, self._controls, self._access, self._pen = context, controls, access, pen
        self._followers: dict[str, Follower] = {}
        self._bound: dict[str, Binding] = {}
        self._book = Book(context.store, name)
        self.uri = access.notification_uri(name)
        """Where its server posts notifications, "" where it is only polled."""
        self._subscriptions = Subscriptions(context.clock, context.store, name, self.uri)
        self._walk: Walk | None = None
        self._left: set[str] | None = None
        self._reached = False
        self._said: set[str] = set()

    async def run(self) -> None:
        """Follow it until cancelled; raises `Invalid` for files that cannot be used."""
        client, tls = await asyncio.to_thread(_client, self._access)
        log.info("client of utility %s: lfdi=%s", self.name, client.lfdi)
        connection = Connection(self._access, tls, self._trace)
        walk = self._walk = Walk(connection, self._context.clock, most_s=self._access.poll_most_s)
        attempt = 0
        try:
            while True:
                self.wake.clear()
                problem = await self._tried(client, walk)
                self._reached = not problem
                if problem:
                    if not attempt:
                        log.warning("utility %s is not followed: %s", self.name, problem)
                    walk.forget()
                    wait_s = back_off_s(self._context.clock, attempt, least_s=_LEAST_S, most_s=_MOST_S)
                    attempt += 1
                else:
                    attempt, wait_s = 0, walk.due_s
                await self._report()
                await self._pause(wait_s, _REST_AWAY_S if problem else _REST_S)
        finally:
            await connection.close()

    async def _pause(self, wait_s: float, rest_s: float) -> None:
        """Return after ``wait_s`` [s], or when something is due or woke it, but not before ``rest_s`` [s]."""
        clock, rest_s = self._context.clock, min(wait_s, rest_s)
        await clock.sleep(rest_s)
        await pause(clock, max(0.0, self._wait_s(wait_s) - rest_s), self.wake)

    async def _tried(self, client: Client, walk: Walk) -> str:
        """Look at every EndDevice once; return what was in the way, "" for nothing."""
        for one in self._followers.values():
            one.next_us = 0  # what is due next is said by its look, if it is looked at
        try:
            source = await self._context.authorise("", "", client.certificate)
            if source is None:
                return "the client's certificate is no principal's that is known here: see `gridspine csip join`"
            await self._rebind(client, walk, self._controls.of(source), source.organisation)
            problem, away, refused = "", False, list[str]()
            walk.watched.clear()
            for one in list(self._followers.values()):
                try:
                    # In somebody's name who may have lost it while the one before was looked at.
                    await one.look(self._controls.of(source), away=away)
                except GridspineError as error:
                    if isinstance(error, Unavailable) and not isinstance(error, Failed):
                        problem, away = error.detail, True
                        continue
                    # The others are followed all the same, and as often.
                    refused.append(error.detail)
                    self._note(f"{one.thing}: {error.detail}")
                except Exception as error:  # nobody thought of it: no reason not to follow the others
                    refused.append(f"{type(error).__name__} while an EndDevice was followed")
                    self._note(f"{one.thing}: it could not be followed: {error!r}"[:500], error)
            if refused and len(refused) == len(self._followers):  # it is the server, then
                problem = refused[0]
            if not problem:
                await self._subscribe(client, walk, whole=not refused)
        except GridspineError as error:
            return error.detail
        return problem

    async def _subscribe(self, client: Client, walk: Walk, *, whole: bool) -> None:
        """Subscribe to what was read, where there is somebody to listen; ``whole``: it is all there is."""
        if not self.uri or not self._followers:
            await self._subscriptions.end(walk.connection)
            return
        devices = await walk.end_devices()
        lists = (link_of(one, "SubscriptionListLink") for one in (own(devices, client.lfdi), *devices) if one)
        usual = next((href for href in lists if href), "")
        await self._subscriptions.settle(walk.connection, walk.watched, usual, whole=whole)

    @property
    def server_lfdi(self) -> str:
        """LFDI of the server: that of the settings, or as it showed itself; "" while nobody knows."""
        known = "" if self._walk is None else self._walk.connection.server_lfdi
        return self._access.server_lfdi.upper() or known

    def told(self, resource: str, href: str, status: int) -> bool:
        """Read ``resource`` anew, as its server says that it changed; False for a subscription that is none of ours."""
        known = self._subscriptions.told(resource, href, status)
        if known is None or self._walk is None:
            return False
        if status > 1:  # it moved, or is gone: so may be what led there
            self._walk.forget()
        self._walk.renew(known)
        self.wake.set()
        return True

    async def _rebind(self, client: Client, walk: Walk, port: ControlPort, organisation: str) -> None:
        """Follow what is bound now; what was made for a Thing that is bound no more is ended."""
        wanted: dict[str, tuple[Binding, Upstream]] = {}
        for binding in self._context.bindings():
            if not is_upstream(binding.connection):
                continue
            try:
                upstream = read_upstream(binding.connection)
                if upstream.utility == self.name and binding.organisation != organisation:
                    raise Invalid("the client's certificate is known as another organisation's")
            except Invalid as error:
                self._note(f"{binding.thing}: {error.detail}")
                continue
            if upstream.utility == self.name:
                wanted[binding.thing] = (binding, upstream)
        if self._left is None:
            self._left = set(await self._book.known())
        for thing in (self._left | self._followers.keys()) - wanted.keys():
            await end(self._book, port, self._context.clock, thing)
            self._followers.pop(thing, None)
        self._left = set(wanted)
        for thing, (_, upstream) in wanted.items():
            known = self._followers.get(thing)
            if known is None or known.upstream != upstream:
                lfdi = upstream.lfdi or client.lfdi
                self._followers[thing] = Follower(
                    self._context.clock, self._book, walk, thing, upstream, lfdi, self._pen
                )
        self._bound = {thing: binding for thing, (binding, _) in wanted.items()}

    def _wait_s(self, wait_s: float) -> float:
        """Return how long to wait at most [s]: until something begins or ends, or is to be said."""
        now_us = self._context.clock.now_us()
        times = [one.next_us for one in self._followers.values() if one.next_us]
        sooner_s = min(((one - now_us) / US for one in times), default=wait_s)
        return max(0.2, min(wait_s, sooner_s, _TELL_S))

    async def _report(self) -> None:
        """Have the Things say how it goes: whether the server answers, what it lists, what of it holds."""
        now_us = self._context.clock.now_us()
        for thing, one in self._followers.items():
            binding = self._bound.get(thing)
            if binding is None:
                continue
            said = (
                ("serverReached", "code", float(self._reached)), ("controlsListed", "1", float(one.listed)),
                ("controlsHeld", "1", float(one.held)), ("controlsUnreadable", "1", float(one.unread)),
            )  # fmt: skip
            rows = [
                (point_id(thing, point), unit, now_us, value, 0)
                for point, unit, value in said
                if point in binding.points
            ]  # fmt: skip
            try:
                if rows:
                    await self._context.intake(named_readings(rows), self._context.source_of(thing))
            except GridspineError as error:
                self._note(f"{thing}: {error.detail}")

    def _note(self, words: str, error: Exception | None = None) -> None:
        """Say once what is wrong."""
        if words not in self._said:
            if len(self._said) >= 1_000:
                self._said.clear()
            self._said.add(words)
            log.error("utility %s: %s", self.name, words, exc_info=error)

    def _trace(self, direction: str, said: str) -> None:
        if self._context.trace.on:
            self._context.trace("out" if direction == "out" else "in", said, peer=self.name)


async def follow_utilities(
    context: AdapterContext, controls: Controls, utilities: Mapping[str, Access], pen: int
) -> None:
    """Follow all utilities of the settings until cancelled; one that cannot be followed does not stop the others."""
    found = [Utility(context, controls, name, access, pen) for name, access in utilities.items()]
    tasks = [asyncio.create_task(_again(context, one), name=f"utility {one.name}") for one in found]
    tasks.append(asyncio.create_task(_listen(context, found), name="notifications of utilities"))
    tasks += [asyncio.create_task(_wake(context, controls, found)), asyncio.create_task(_rebound(context, found))]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _listen(context: AdapterContext, utilities: Sequence[Utility]) -> None:
    paths = {unquote(urlsplit(one.uri).path): one for one in utilities if one.uri}
    if paths:
        host, port = await context.serve(NOTIFICATIONS, Notified(context, paths))
        log.info("notifications of utilities are taken: %s:%d", host, port)
    await asyncio.get_running_loop().create_future()


async def _again(context: AdapterContext, utility: Utility) -> None:
    while True:
        try:
            await utility.run()
        except Invalid as error:
            log.error("utilities.%s: %s", utility.name, error.detail)
            await context.clock.sleep(60.0)
        except Exception as error:  # what one server says never ends the others, nor what is served here
            heed_cancellation(error)
            log.exception("utilities.%s: it could not be followed; it begins anew", utility.name)
            await context.clock.sleep(_BROKEN_S)


async def _wake(context: AdapterContext, controls: Controls, utilities: Sequence[Utility]) -> None:
    """Look again when somebody opts out, or cancels what a server asked for."""
    while True:
        async for change in controls.changes():
            if change.type.startswith(("programme-enrolment.", "site.", "programme-event.cancelled")):
                for one in utilities:
                    one.wake.set()


async def _rebound(context: AdapterContext, utilities: Sequence[Utility]) -> None:
    """Look again when Things came or went, or somebody's standing changed: at once, and for those amid many."""
    while True:
        await context.bindings_changed()
        for _ in range(2):
            for one in utilities:
                one.wake.set()
            await context.clock.sleep(_MANY_S)


def _client(access: Access) -> tuple[Client, ssl.SSLContext]:
    """Read who the client is, and make its TLS; blocks. Raises `Invalid`."""
    tls = tls_of(access)
    try:
        made = x509.load_pem_x509_certificate(Path(access.certificate).read_bytes())
    except (OSError, ValueError) as error:
        raise Invalid(f"certificate: {access.certificate} cannot be read: {error}") from error
    der = made.public_bytes(Encoding.DER)
    return Client(der, lfdi_of(der)), tls
