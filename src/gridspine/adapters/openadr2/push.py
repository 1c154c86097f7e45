"""Events pushed to VENs that do not poll: each is told as soon as what it should know is not what it was told last.

::

    changed ─► each VEN with an address: as told, and answered? ─► nothing
                                          └ not ─► oadrDistributeEvent to {address}/EiEvent ─ taken ─► noted as told
                                                       └ not: again, later and later, as it is then
    a VEN that no Thing is any more ─► oadrCancelPartyRegistration to {address}/EiRegisterParty, for a day at most

Nothing waits in queues: what is owed follows from what is kept, so a restart loses nothing, and whoever was away is
told what holds, not what is past. Those that do not answer have seats of their own, and hold nobody up. Where may be
pushed to is the settings' to say; to whom, the certificate that the VEN registered by, as long as it is worth anything.
"""

import asyncio
import logging
import ssl
from collections.abc import Coroutine, Mapping
from typing import Any

import httpx
import msgspec

from gridspine.adapters.openadr2 import message as m
from gridspine.adapters.openadr2.book import Gone, Registration
from gridspine.adapters.openadr2.desk import Desk
from gridspine.adapters.openadr2.document import MAX_BYTES
from gridspine.adapters.openadr2.problem import Refused
from gridspine.adapters.openadr2.settings import Push
from gridspine.adapters.openadr2.ven import Ven
from gridspine.adapters.openadr2.view import View
from gridspine.adapters.openadr2.wire import MEDIA, read, write
from gridspine.infra.runtime.address_rule import AddressRule
from gridspine.infra.runtime.clock import new_id
from gridspine.infra.runtime.guarded_http import guarded_client, read_body
from gridspine.infra.runtime.waiting import back_off_s, pause
from gridspine.kernel.errors import GridspineError, Invalid, Unavailable
from gridspine.kernel.time import US

TIMEOUT_S, SETTLE_S = 10.0, 0.2
"""How long a VEN may take to answer; how long changes may gather before they are told [s]."""
FIRST_S, LONGEST_S, LOOK_S = 2.0, 600.0, 60.0
"""Pauses before another try: the first, and what they grow to; how often all is looked at without a change [s]."""
AT_ONCE, AT_ONCE_AWAY = 32, 8
"""Messages under way at once: to VENs that answered last time, and to those that did not."""
GONE_S = 86_400
"""How long a VEN that no Thing is any more is tried to be told so [s]."""
_TURN = 50
"""VENs that are looked at before others' turn."""
_SECTION = "adapters.settings.openadr2.push"
_LOG = logging.getLogger(__name__)


class _Line:
    """How it goes with one address: tries that failed, when the next is [µs, monotonic], the one under way."""

    __slots__ = ("failures", "next_us", "task")

    def __init__(self) -> None:
        self.failures, self.next_us = 0, 0
        self.task: asyncio.Task[None] | None = None

    def rests(self, now_us: int) -> bool:
        """Whether there is nothing to be tried now."""
        return self.next_us > now_us or (self.task is not None and not self.task.done())


class Pusher:
    """Tells VENs that are pushed to. Lives on the event loop; `run` does the work."""

    def __init__(self, desk: Desk, push: Push) -> None:
        self._desk, self._push, self._clock = desk, push, desk.clock
        self._lines: dict[str, _Line] = {}
        self._room, self._room_away = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(AT_ONCE_AWAY)
        self._wake_us = 0

    async def run(self) -> None:
        """Push until cancelled. Raises `Invalid` for files that cannot be read."""
        tls = await asyncio.to_thread(_tls, self._push, self._desk.settings.vtn)
        rule = AddressRule(self._push.allow, self._push.only, _SECTION)
        async with guarded_client(rule, TIMEOUT_S, tls) as http, asyncio.TaskGroup() as group:
            while True:
                self._desk.changed.clear()
                await self._look(http, group)
                wait_us = min(self._wake_us - self._clock.now_us(), round(LOOK_S * US))
                await pause(self._clock, max(0.0, wait_us / US), self._desk.changed)
                await self._clock.sleep(SETTLE_S)

    async def _look(self, http: httpx.AsyncClient, group: asyncio.TaskGroup) -> None:
        desk = self._desk
        self._wake_us = self._clock.now_us() + round(LOOK_S * US)
        wanted: set[str] = set()
        for at, ven in enumerate(desk.vens.all()):
            if at % _TURN == _TURN - 1:
                await asyncio.sleep(0)  # others are served between them
            registration = desk.book.ven(ven.id, ven.thing).registration
            if registration is None or not registration.address:
                continue
            name = f"{registration.address} {ven.id}"  # at another address it has not failed yet
            wanted.add(name)
            line = self._line(name)
            if line is not None and await self._due(ven, registration) is not None:
                line.task = group.create_task(self._try(line, ven.id, self._tell(http, line, ven, registration)))
        for id_, gone in desk.book.gone().items():
            wanted.add(f"gone {id_}")
            line = self._line(f"gone {id_}")
            if line is not None:
                line.task = group.create_task(self._try(line, id_, self._dismiss(http, line, id_, gone)))
        for id_ in set(self._lines) - wanted:
            if (left := self._lines.pop(id_)).task is not None:
                left.task.cancel()

    def _line(self, id: str) -> _Line | None:
        """Return a line that may be tried now."""
        line, now_us = self._lines.setdefault(id, _Line()), self._clock.monotonic_us()
        if line.next_us > now_us:
            self._wake(self._clock.now_us() + line.next_us - now_us)
        return None if line.rests(now_us) else line

    def _wake(self, at_us: int) -> None:
        self._wake_us = min(at_us, self._wake_us)

    async def _due(self, ven: Ven, registration: Registration) -> View | None:
        """Return what a VEN is to be told, None where it knows, may yet answer, or may not be told any more."""
        desk = self._desk
        try:
            asker = await desk.asker(registration.certificate)
            if registration.report_only or asker.ven(ven.id) is not ven:
                return None
            view = await desk.view(ven, asker.source)
        except (Refused, GridspineError):
            return None
        self._wake(view.next_us)
        record = asker.record(ven)
        if view.numbers != record.told:
            return view
        if not view.events or not view.unanswered(record):
            return None
        if desk.waits(ven):
            self._wake(self._clock.now_us() + desk.settings.repeat_s * US)
            return None
        return view

    async def _try(self, line: _Line, ven: str, work: Coroutine[Any, Any, str]) -> None:
        """Do what tells one VEN; note how it went."""
        try:
            problem = await work
        except GridspineError as error:
            problem = error.detail
        except Exception as error:  # what one VEN says never ends the others'
            _LOG.exception("VEN %s could not be told", ven[:80])
            problem = type(error).__name__
        self._ended(line, ven, problem)

    async def _tell(self, http: httpx.AsyncClient, line: _Line, ven: Ven, registration: Registration) -> str:
        """Tell a VEN of all its events, as they are when its turn comes; return what went wrong, "" for nothing."""
        desk = self._desk
        async with self._seat(line):
            view = await self._due(ven, registration)
            if view is None:
                return ""
            numbers, id_ = view.numbers, new_id(self._clock)
            events = tuple(m.Event(event=view.events[one].event) for one in numbers)
            said = m.DistributeEvent(request_id=id_, vtn_id=desk.settings.vtn_id, events=events)
            problem = await self._say(http, registration, "EiEvent", said, signed=self._signed(ven, registration))
        if not problem:
            async with desk.turn(ven.id):
                record = desk.book.ven(ven.id, ven.thing)
                if record.registration == registration:
                    await desk.put(ven, msgspec.structs.replace(record, told=numbers))
                    desk.sent(ven)
        return problem

    async def _dismiss(self, http: httpx.AsyncClient, line: _Line, id: str, gone: Gone) -> str:
        """Tell a VEN that no Thing is any more that its registration ended; return what went wrong, "" for nothing."""
        said = m.CancelPartyRegistration(
            request_id=new_id(self._clock), registration_id=gone.registration.id, ven_id=id
        )
        signed = gone.registration.signed or self._desk.settings.signature == "required"
        async with self._seat(line):
            problem = await self._say(http, gone.registration, "EiRegisterParty", said, signed=signed)
        if not problem or self._clock.now_us() - gone.at_us > GONE_S * US:
            await self._desk.book.forget_gone(id)
        return problem

    def _seat(self, line: _Line) -> asyncio.Semaphore:
        return self._room_away if line.failures else self._room

    def _signed(self, ven: Ven, registration: Registration) -> bool:
        return registration.signed or self._desk.signature_of(ven) == "required"

    def _ended(self, line: _Line, ven: str, problem: str) -> None:
        if not problem:
            if line.failures:
                _LOG.info("VEN %s answers again", ven[:80])
            line.failures = line.next_us = 0
        else:
            pause_s = back_off_s(self._clock, line.failures, least_s=FIRST_S, most_s=LONGEST_S)
            line.failures += 1
            line.next_us = self._clock.monotonic_us() + round(pause_s * US)
            if line.failures == 1:
                _LOG.warning("VEN %s was not told: %s; it is tried again", ven[:80], problem)
        self._desk.changed.set()  # what changed meanwhile is looked at

    async def _say(
        self, http: httpx.AsyncClient, to: Registration, service: str, message: m.Message, *, signed: bool
    ) -> str:
        """Send a message; return what went wrong, "" for nothing."""
        signing, url = self._desk.signing, f"{to.address}/{service}"
        if signed and signing is None:
            return "its messages are signed, and nothing is signed here"
        body = signing.sign(message) if signed and signing is not None else write(message)
        trace = self._desk.context.trace
        try:
            async with asyncio.timeout(TIMEOUT_S):
                request = http.build_request("POST", url, content=body, headers={"content-type": MEDIA})
                trace("out", body, peer=request.url.host)
                answer = await http.send(request, stream=True)
                try:
                    said = await read_body(answer, MAX_BYTES, "the VEN", Unavailable)
                finally:
                    await answer.aclose()
            trace("in", said, peer=request.url.host)
            return _problem(answer.status_code, said)
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError, ValueError, TimeoutError) as error:
            return f"{type(error).__name__}: {str(error)[:200]}"
        except GridspineError as error:
            return error.detail


def _problem(status: int, said: bytes) -> str:
    """Return what an answer complains of: it says whether a message was taken, and is no message of its own."""
    if not 200 <= status < 300:
        return f"answered {status}"
    response = getattr(read(said), "response", None) if said.strip() else None
    if response is not None and response.code != 200:
        return f"answered {response.code}: {response.description[:200]}"
    return ""


def _tls(push: Push, vtn: Mapping[str, Any]) -> ssl.SSLContext:
    """Return what is shown to VENs, the listener's certificate, and whose servers are believed. Blocks."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    files = [push.ca] if push.ca else list(vtn.get("ca", ()))
    try:
        context.load_cert_chain(vtn["certificate"], vtn["key"])
        for one in files:
            context.load_verify_locations(one)
        if not files:
            context.load_default_certs()
    except OSError as error:  # ssl.SSLError is one, too
        raise Invalid(f"{_SECTION}: certificate, key, ca: they cannot be used: {error}") from error
    return context
