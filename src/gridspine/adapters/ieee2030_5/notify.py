"""Notifications: subscribers are told what they subscribed to, whenever it is not as they were told last.

::

    changed ─► each subscription: rendered ─ as told? ─► nothing
                                              └ other ─► POST to its URI ─ answered ─► told
                                                             └ not: tried again, later and later, as it is then

Each is told what its certificate shows it now, as if it asked: who is deactivated is told nothing any more. Only what
is newest is told: who was away is not sent what is past. Those that do not answer have seats of their own, and hold
nobody up. Where notifications may go is the settings' to say.
"""

import asyncio
import logging
import ssl
from collections.abc import Mapping
from typing import Any
from weakref import WeakValueDictionary

import httpx
import msgspec

from gridspine.adapters.ieee2030_5 import resources
from gridspine.adapters.ieee2030_5.digests import Digests
from gridspine.adapters.ieee2030_5.metering import meter_of, triggered
from gridspine.adapters.ieee2030_5.record import Subscription
from gridspine.adapters.ieee2030_5.session import Sessions, Shown
from gridspine.adapters.ieee2030_5.settings import LISTENER, Settings
from gridspine.adapters.ieee2030_5.tree import subscribed
from gridspine.adapters.ieee2030_5.view import ClientView
from gridspine.adapters.ieee2030_5.wire import MEDIA
from gridspine.infra.runtime.address_rule import AddressRule
from gridspine.infra.runtime.guarded_http import guarded_client, read_body
from gridspine.kernel.errors import Forbidden, GridspineError, Invalid, Unavailable
from gridspine.kernel.time import US
from gridspine.things.adapter import AdapterContext

log = logging.getLogger(__name__)
SETTLE_S, TIMEOUT_S = 0.2, 10.0
"""How long changes may gather before they are told; how long a subscriber may take to answer [s]."""
FIRST_S, LONGEST_S = 2.0, 60.0
"""Pauses before another try [s]: the first, and what they grow to."""
AT_ONCE, AT_ONCE_OF_ONE, GONE_S = 16, 4, 60.0
"""Notifications under way at once, to who answered last and as many to who did not; those of one client; how long a
resource is away before its subscriber is told so [s]."""
MAX_ANSWER_BYTES = 65_536
"""What a subscriber's answer has at most."""
UNKNOWN_S = 60.0
"""How long a subscriber whom nobody knows any more is not asked for again [s]."""
_SLICE_US = 5_000
"""How long subscriptions are looked at before others have their turn [µs]."""
_SECTION = "adapters.settings.ieee2030_5"


class _Told:
    """What one subscriber was told last, and how it goes; its times are of the monotonic clock [µs]."""

    def __init__(self, digest: bytes) -> None:
        self.digest = digest
        self.failures = 0
        self.next_us = 0
        self.since_us = 0
        self.gone_us = 0
        self.task: asyncio.Task[None] | None = None
        self.changed = False
        """Whether there was something else to tell while this was told."""

    def is_due(self, digest: bytes, now_us: int) -> bool:
        """Whether there is something to tell now [µs, monotonic]: not while something is told, which is noted."""
        if self.task is not None and not self.task.done():
            self.changed = True
            return False
        return self.digest != digest and self.next_us <= now_us


class Notifier:
    """Tells subscribers, for ever."""

    def __init__(self, context: AdapterContext, settings: Settings, sessions: Sessions) -> None:
        self._context, self._settings, self._sessions = context, settings, sessions
        self._told: dict[tuple[str, str], _Told] = {}
        self._room, self._room_away = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(AT_ONCE)
        self._of_one: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._wake_us = 0
        self._unknown_us: dict[str, int] = {}
        self._digests, self._writing = Digests(), asyncio.Lock()

    async def run(self) -> None:
        """Tell whoever subscribed, until cancelled. Raises `Invalid` for authorities that cannot be read."""
        tls = await asyncio.to_thread(_tls, self._settings, self._context.settings.get(LISTENER))
        rule = AddressRule(self._settings.notify_allow, self._settings.notify_only, _SECTION)
        async with guarded_client(rule, TIMEOUT_S, tls) as http, asyncio.TaskGroup() as group:
            await self._look(http, group)
            while True:
                await self._changed()
                await self._look(http, group)

    async def _changed(self) -> None:
        """Return when something changed, or a try or a moment of a control is due."""
        clock = self._context.clock
        wait_us = max(0, self._wake_us - clock.monotonic_us()) if self._wake_us else 60 * US
        waiting = asyncio.create_task(self._sessions.changed.wait())
        sleeping = asyncio.create_task(clock.sleep(min(wait_us / US, 60.0)))
        try:
            await asyncio.wait({waiting, sleeping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (waiting, sleeping):
                task.cancel()
            await asyncio.gather(waiting, sleeping, return_exceptions=True)
        await clock.sleep(SETTLE_S)
        self._sessions.changed.clear()

    async def _look(self, http: httpx.AsyncClient, group: asyncio.TaskGroup) -> None:
        now_us = self._context.clock.monotonic_us()
        self._wake_us = 0
        present: set[tuple[str, str]] = set()
        watched: set[str] = set()
        clock, began_us = self._context.clock, now_us
        for lfdi in await self._sessions.book.subscribers():
            shown = await self._shown(lfdi, now_us)
            if shown is None:
                continue
            view = shown.view
            self._wake(now_us + max(0, view.next_us - clock.now_us()))
            for one in view.record.subscriptions:
                present.add((lfdi, one.number))
                watched.add(meter_of(one))
                self._look_at(http, group, shown, one, now_us)
                if clock.monotonic_us() - began_us > _SLICE_US:
                    await asyncio.sleep(0)
                    began_us = clock.monotonic_us()
        self._digests.turn()
        self._sessions.watched = frozenset(watched - {""})
        for key in set(self._told) - present:
            del self._told[key]

    def _look_at(
        self, http: httpx.AsyncClient, group: asyncio.TaskGroup, shown: Shown, one: Subscription, now_us: int
    ) -> None:
        view = shown.view
        told = self._told.setdefault((view.lfdi, one.number), _Told(one.digest))
        found = subscribed(view, one, 0)
        if found is None and not self._gone(told, now_us):
            return  # it may be back in a moment, as when an enrolment is made anew
        digest = self._digests.of(view, one)
        if found is not None:
            told.gone_us = 0
            if not triggered(view, one):
                told.digest = digest  # what was told before may come again, and is told then
                told.changed = True
                return
        if told.is_due(digest, now_us):
            told.changed = False
            told.task = group.create_task(self._tell(http, shown, one, told, digest))
        elif told.next_us > now_us:
            self._wake(told.next_us)

    async def _shown(self, lfdi: str, now_us: int) -> Shown | None:
        """Return what a subscriber is shown now, None for one whom nobody knows."""
        if now_us < self._unknown_us.get(lfdi, 0):
            return None
        try:
            shown = await self._sessions.subscriber(lfdi)
        except Forbidden:
            self._unknown_us[lfdi] = now_us + round(UNKNOWN_S * US)
            return None
        self._unknown_us.pop(lfdi, None)
        return shown

    def _gone(self, told: _Told, now_us: int) -> bool:
        """Whether a resource has been away for so long that its subscriber is told."""
        told.gone_us = told.gone_us or now_us + round(GONE_S * US)
        if now_us < told.gone_us:
            self._wake(told.gone_us)
        return now_us >= told.gone_us

    def _wake(self, at_us: int) -> None:
        self._wake_us = min(at_us, self._wake_us or at_us)

    async def _tell(self, http: httpx.AsyncClient, shown: Shown, one: Subscription, told: _Told, digest: bytes) -> None:
        view = shown.view
        of_one = self._of_one.setdefault(view.lfdi, asyncio.Semaphore(AT_ONCE_OF_ONE))  # it may have many, and be slow
        async with of_one, self._room_away if told.failures else self._room:
            body = await self._body(view, one)
            known = not shown.things or self._sessions.holds(shown)  # it may have waited
            problem = await self._post(http, one.uri, body) if known else "it is not known any more"
        now_us = self._context.clock.monotonic_us()
        if problem or told.changed:
            self._sessions.changed.set()  # what changed meanwhile is looked at, or when it is tried again
        if not problem:
            told.digest, told.failures, told.next_us, told.since_us = digest, 0, 0, 0
            if told.gone_us:
                await self._over(view.lfdi, one)
            return
        told.failures += 1
        told.since_us = told.since_us or now_us
        pause_s = min(FIRST_S * 2 ** min(told.failures - 1, 10), LONGEST_S)
        told.next_us = now_us + round(pause_s * US)
        if told.failures == 1:
            log.warning("a subscriber was not told: client=%s… subscription=%s %s", view.lfdi[:8], one.number, problem)
        if now_us - told.since_us > self._settings.notify_for_s * US:
            log.warning("a subscriber is given up: client=%s… subscription=%s", view.lfdi[:8], one.number)
            told.digest, told.failures, told.since_us = digest, 0, 0

    async def _body(self, view: ClientView, one: Subscription) -> bytes:
        """Return what a subscriber is sent. One is rendered at a time, and others have their turn before the next."""
        href = f"{self._settings.path}/edev/{one.device}/sub/{one.number}"
        async with self._writing:
            body = resources.notification(one, href, subscribed(view, one)).document(self._settings.csip_aus)
            await asyncio.sleep(0)
        return body

    async def _over(self, lfdi: str, one: Subscription) -> None:
        """End a subscription to what is gone."""
        async with self._sessions.turn(lfdi):
            record = await self._sessions.book.client(lfdi)
            kept = tuple(own for own in record.subscriptions if own.number != one.number)
            await self._sessions.book.put_client(lfdi, msgspec.structs.replace(record, subscriptions=kept))
        self._sessions.renew()

    async def _post(self, http: httpx.AsyncClient, uri: str, body: bytes) -> str:
        """Send a notification where the rule allows it; return what went wrong, "" for nothing."""
        try:
            async with (
                asyncio.timeout(TIMEOUT_S),
                http.stream("POST", uri, content=body, headers={"content-type": MEDIA}) as answer,
            ):
                await read_body(answer, MAX_ANSWER_BYTES, "the subscriber", Unavailable)
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError, ValueError) as error:
            return f"{type(error).__name__}: {str(error)[:200]}"
        except GridspineError as error:
            return error.detail
        return "" if answer.is_success else f"answered {answer.status_code}"


def _tls(settings: Settings, listener: Any) -> ssl.SSLContext:
    """Return whom to believe, and what to show to who asks; ``listener`` is its section of the settings."""
    context = ssl.create_default_context()
    context.check_hostname = settings.notify_check_name
    if ca := settings.notify_ca:
        try:
            context.load_verify_locations(ca)
        except OSError as error:
            raise Invalid(f"{_SECTION}.notify_ca: {ca} cannot be read: {error}") from error
    usual = listener if isinstance(listener, Mapping) else {}
    certificate, key = settings.notify_certificate, settings.notify_key
    if not certificate:
        certificate, key = str(usual.get("certificate", "")), str(usual.get("key", ""))
    if certificate:
        try:
            context.load_cert_chain(certificate, key or None)
        except OSError as error:
            raise Invalid(f"{_SECTION}.notify_certificate: {certificate} cannot be used: {error}") from error
    return context
