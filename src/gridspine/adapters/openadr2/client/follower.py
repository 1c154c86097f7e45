"""Following one VTN as a VEN: register, poll, answer, report, again; slower while it does not answer.

::

    oadrCreatePartyRegistration ─► oadrRegisterReport ─► oadrRequestEvent ─► oadrPoll, as often as the VTN wishes
                ▲                                                              ├► oadrDistributeEvent ─► `Mirror`
                └─────── 463, oadrRequestReregistration ◄──────────────────────┴► oadrCreateReport ─► `Telemetry`
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from gridspine.adapters.openadr2 import message as m
from gridspine.adapters.openadr2 import message_report as r
from gridspine.adapters.openadr2.client.call import Remote
from gridspine.adapters.openadr2.client.connection import Connection
from gridspine.adapters.openadr2.client.mirror import Mirror
from gridspine.adapters.openadr2.client.record import Kept
from gridspine.adapters.openadr2.client.telemetry import Telemetry
from gridspine.adapters.openadr2.problem import NO_SUCH_REPORT, NOT_REGISTERED, reply
from gridspine.infra.runtime.clock import new_id
from gridspine.infra.runtime.waiting import back_off_s, within
from gridspine.kernel.errors import GridspineError, Unavailable
from gridspine.kernel.ids import point_id
from gridspine.kernel.readings import named_readings
from gridspine.kernel.time import US
from gridspine.things.adapter import AdapterContext, Binding

_LOG = logging.getLogger(__name__)
LONGEST_S, _USUAL_POLL_S = 600.0, 10.0
"""How long one that does not answer is left alone at most [s]; how often one is polled that does not say."""
MAX_MESSAGES = 20
"""Messages that are taken of one VTN before others' turn."""


class Follower:
    """The node as a VEN of one VTN, for one Thing."""

    def __init__(
        self, context: AdapterContext, binding: Binding, connection: Connection, remote: Remote, making: asyncio.Lock
    ) -> None:  # fmt: skip
        self._context, self._binding, self._connection, self._remote = context, binding, connection, remote
        self._kept = Kept(context.store, binding.thing)
        self._mirror = Mirror(context, binding, connection, self._kept, making)
        self._telemetry = Telemetry(self._mirror, self._kept, connection, context.clock)
        self._wake = asyncio.Event()
        self._fresh, self._said = True, ""
        self._handlers: dict[type, Callable[[Any], Awaitable[None]]] = {
            m.DistributeEvent: self._take_events, m.RequestReregistration: self._register_again,
            m.CancelPartyRegistration: self._be_dismissed, r.CreateReport: self._answer_reports,
            r.RegisteredReport: self._answer_reports, r.CancelReport: self._end_reports,
            r.RegisterReport: self._note_offer, r.UpdateReport: self._refuse_report,
        }  # fmt: skip

    async def run(self) -> None:
        """Follow until cancelled."""
        await self._kept.load()
        clock, attempt = self._context.clock, 0
        while True:
            self._wake.clear()
            try:
                await self.once()
                attempt, pause_s = 0, self._poll_s()
            except GridspineError as error:
                await self._tell(0, error.detail)
                pause_s = back_off_s(
                    clock, attempt, least_s=min(5.0, self._poll_s()), most_s=max(self._poll_s(), LONGEST_S)
                )
                attempt += 1
            else:
                due_us = self._telemetry.next_us()
                if due_us:
                    pause_s = min(pause_s, max(1.0, (due_us - clock.now_us()) / US))
            try:
                await within(clock, pause_s, self._wake.wait())
            except TimeoutError:
                continue

    async def once(self) -> None:
        """Register where that is needed, take what there is, answer and report; raise what prevents it."""
        if not self._kept.now.registration_id:
            await self._register()
        if self._fresh:
            await self._begin()
        for _ in range(MAX_MESSAGES):
            said = await self._remote.say(m.Poll(ven_id=self._kept.now.ven_id))
            if not await self._take(said):
                break
        await self._tell_opts()
        await self._telemetry.tell(self._remote)
        await self._tell(1, "; ".join(self._mirror.problems[:3]))

    def read_soon(self) -> None:
        """Poll at once."""
        self._wake.set()

    def _poll_s(self) -> float:
        wished_s = self._kept.now.polls_us / US or _USUAL_POLL_S
        return self._connection.poll_s or min(max(wished_s, 1.0), 86_400.0)

    # -- registration --------------------------------------------------------------------------------------------

    async def _register(self, known: str = "") -> None:
        """Register, or (with the registrationID ``known``) again; raise `Unavailable` where that is refused."""
        now = self._kept.now
        said = await self._remote.say(
            m.CreatePartyRegistration(
                request_id=new_id(self._context.clock), registration_id=known, ven_id=now.ven_id if known else "",
                ven_name=self._connection.ven_name or self._binding.title[:128], http_pull=True,
            )
        )  # fmt: skip
        if not isinstance(said, m.CreatedPartyRegistration) or said.response.code != 200 or not said.registration_id:
            code = said.response.code if isinstance(said, m.CreatedPartyRegistration | m.Answer) else 0
            words = said.response.description[:200] if code else type(said).__name__
            raise Unavailable(f"the VTN does not register this VEN: {code} {words}")
        await self._kept.change(
            ven_id=said.ven_id or now.ven_id, registration_id=said.registration_id, vtn_id=said.vtn_id,
            polls_us=said.poll_us or 0,
        )  # fmt: skip
        self._fresh = True

    async def _forget(self) -> None:
        """Be registered no more; what was published stands."""
        await self._kept.change(registration_id="")

    async def _begin(self) -> None:
        """Say what can be told, and ask for all events."""
        if self._connection.telemetry:
            await self._take(await self._remote.say(self._telemetry.offer()))
        asked = m.RequestEvent(request_id=new_id(self._context.clock), ven_id=self._kept.now.ven_id)
        said = await self._remote.say(asked)
        if isinstance(said, m.Answer) and said.response.code == 200:  # openleadr's way to say that there are none
            said = m.DistributeEvent(request_id=asked.request_id, vtn_id=self._kept.now.vtn_id)
        await self._take(said)
        self._fresh = False

    # -- what is said --------------------------------------------------------------------------------------------

    async def _take(self, said: m.Message) -> bool:
        """Do what a message asks; return whether another may be waiting. Raises `Unavailable`."""
        response = getattr(said, "response", None)
        if response is not None and response.code == NOT_REGISTERED:
            await self._forget()
            raise Unavailable(f"the VTN does not know this VEN any more: {response.description[:200]}")
        if isinstance(said, m.Answer):
            return False
        handler = self._handlers.get(type(said))
        if handler is None:
            raise Unavailable(f"the VTN answers {type(said).__name__}, which nobody asked for")
        await handler(said)
        return True

    async def _answer_reports(self, said: r.CreateReport | r.RegisteredReport) -> None:
        """Note which reports are asked for."""
        registered = isinstance(said, r.RegisteredReport)
        if said.requests or not registered:
            request_id = said.response.request_id if isinstance(said, r.RegisteredReport) else said.request_id
            await self._remote.say(await self._telemetry.asked(said.requests, request_id))

    async def _end_reports(self, said: r.CancelReport) -> None:
        await self._remote.say(await self._telemetry.ended(said))

    async def _register_again(self, _said: m.RequestReregistration) -> None:
        await self._register(self._kept.now.registration_id)
        await self._begin()

    async def _be_dismissed(self, said: m.CancelPartyRegistration) -> None:
        done, own = m.Response(request_id=said.request_id), self._kept.now.ven_id
        await self._remote.say(
            m.CanceledPartyRegistration(response=done, registration_id=said.registration_id, ven_id=own)
        )
        await self._forget()
        raise Unavailable("the VTN ended the registration")

    async def _note_offer(self, said: r.RegisterReport) -> None:
        """Answer a VTN that says what it could report: nothing of it is asked for."""
        done = m.Response(request_id=said.request_id)
        await self._remote.say(r.RegisteredReport(response=done, ven_id=self._kept.now.ven_id))

    async def _refuse_report(self, said: r.UpdateReport) -> None:
        now = self._kept.now
        await self._remote.say(reply(said, NO_SUCH_REPORT, "no report was asked for", now.vtn_id, now.ven_id))

    async def _take_events(self, said: m.DistributeEvent) -> None:
        responses = await self._mirror.take(said)
        if responses:
            answer = m.CreatedEvent(
                response=m.Response(request_id=said.request_id), responses=responses, ven_id=self._kept.now.ven_id
            )
            answered = await self._remote.say(answer)
            code = answered.response.code if isinstance(answered, m.Answer) else 0
            if code != 200:
                raise Unavailable(f"the VTN does not take the answer to its events: {code}")
            await self._mirror.answered(responses)

    async def _tell_opts(self) -> None:
        """Tell of events that are taken part in otherwise than was answered."""
        clock = self._context.clock
        for id_, known, opt in self._mirror.changed_opts():
            of = m.QualifiedEvent(event_id=id_, modification_number=known.number)
            said = m.CreateOpt(
                opt_id=new_id(clock), opt=opt, reason="participating" if opt == m.OPT_IN else "notParticipating",
                ven_id=self._kept.now.ven_id, created_us=clock.now_us(), request_id=new_id(clock), event=of,
                market_context=known.market, target=m.Target(ven_ids=(self._kept.now.ven_id,)),
            )  # fmt: skip
            answer = await self._remote.say(said)
            if isinstance(answer, m.CreatedOpt) and answer.response.code == 200:
                heard = m.EventResponse(event=of, opt=opt)
                await self._mirror.answered((heard,))
            else:
                self._mirror.problems.append(f"event {id_[:60]}: the VTN does not take its opt")

    async def _tell(self, connected: int, problem: str) -> None:
        """Report whether it answers, and log what is wrong once."""
        if problem != self._said:
            _LOG.warning("%s: %s", self._binding.thing, problem or "the VTN answers, and all of it is kept")
            self._said = problem
        if "connected" not in self._binding.points:
            return
        row = (point_id(self._binding.thing, "connected"), "code", self._context.clock.now_us(), float(connected), 0)
        try:
            await self._context.intake(named_readings([row]), self._context.source_of(self._binding.thing))
        except GridspineError as error:
            _LOG.warning("%s: that it is connected was not kept: %s", self._binding.thing, error.detail)
