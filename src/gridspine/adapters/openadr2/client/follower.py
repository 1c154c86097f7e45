"""Following one VTN as a VEN: register, poll, answer, report, again; slower while it does not answer.

::

    oadrCreatePartyRegistration ─► oadrRegisterReport ─► oadrRequestEvent ─► oadrPoll, as often as the VTN wishes
                ▲                                                              ├► oadrDistributeEvent ─► `Mirror`
                └─────── 463, oadrRequestReregistration ◄──────────────────────┴► oadrCreateReport ─► `Telemetry`
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from gridspine.adapters.openadr2 import message as m
from gridspine.adapters.openadr2 import message_report as r
from gridspine.adapters.openadr2.client.call import Remote
from gridspine.adapters.openadr2.client.connection import Connection
from gridspine.adapters.openadr2.client.mirror import Mirror
from gridspine.adapters.openadr2.client.record import Kept
from gridspine.adapters.openadr2.client.telemetry import Telemetry
from gridspine.adapters.openadr2.problem import INVALID_ID, NO_SUCH_REPORT, NOT_REGISTERED, reply
from gridspine.energy.upstream.pace import Pace
from gridspine.infra.runtime.clock import new_id
from gridspine.kernel.errors import Unavailable
from gridspine.kernel.time import US
from gridspine.things.adapter import AdapterContext, Binding

_USUAL_POLL_S = 10.0
"""How often one is polled that does not say [s]."""
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
        self._pace = Pace(context, binding, connection.vtn)
        self._fresh, self._consented = True, False
        self._handlers: dict[type, Callable[[Any], Awaitable[None]]] = {
            m.DistributeEvent: self._take_events, m.RequestReregistration: self._register_again,
            m.CancelPartyRegistration: self._be_dismissed, r.CreateReport: self._answer_reports,
            r.RegisteredReport: self._answer_reports, r.CancelReport: self._end_reports,
            r.RegisterReport: self._note_offer, r.UpdateReport: self._refuse_report,
        }  # fmt: skip

    async def run(self) -> None:
        """Follow until cancelled."""
        await self._kept.load()
        await self._pace.run(self.once, self._poll_s, self._telemetry.next_us)

    async def close(self) -> None:
        """Close what is open to the VTN."""
        await self._remote.close()

    def read_soon(self) -> None:
        """Poll at once."""
        self._pace.wake()

    async def once(self) -> str:
        """Register where that is needed, take what there is, answer and report; raise what prevents it.

        Returns what could not be kept.
        """
        if not self._consented:  # what the owner takes back is taken back also where the VTN is away
            await self._mirror.consent()
            self._consented = True
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
        return "; ".join(self._mirror.problems[:3])

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
                xml_signature=self._remote.signs,
            )
        )  # fmt: skip
        if not isinstance(said, m.CreatedPartyRegistration) or said.response.code != 200 or not said.registration_id:
            code = said.response.code if isinstance(said, m.CreatedPartyRegistration | m.Answer) else 0
            words = said.response.description[:200] if code else type(said).__name__
            if known and code in {NOT_REGISTERED, INVALID_ID}:
                await self._forget()  # who it was the VTN knows no more: it begins anew
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
        """Say what can be told, and ask for all events; a VTN that wants no reports is followed all the same."""
        refused = ""
        if self._connection.telemetry:
            offered = await self._remote.say(self._telemetry.offer())
            refused = _refusal(offered)
            if not refused or _forgotten(offered):
                await self._take(offered)
        asked = m.RequestEvent(request_id=new_id(self._context.clock), ven_id=self._kept.now.ven_id)
        said = await self._remote.say(asked)
        if isinstance(said, m.Answer) and said.response.code == 200:  # openleadr's way to say that there are none
            said = m.DistributeEvent(request_id=asked.request_id, vtn_id=self._kept.now.vtn_id)
        await self._take(said)
        if refused:
            self._mirror.problems.append(f"the VTN takes no reports: {refused}")
        self._fresh = False

    # -- what is said --------------------------------------------------------------------------------------------

    async def _take(self, said: m.Message) -> bool:
        """Do what a message asks; return whether another may be waiting.

        Raises `Unavailable`, for an error too: what it lacks then, events above all, is not what the VTN has not.
        """
        refused = _refusal(said)
        if _forgotten(said):
            await self._forget()
            raise Unavailable(f"the VTN does not know this VEN any more: {refused}")
        if refused:
            raise Unavailable(f"the VTN answers an error: {refused}")
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


def _refusal(said: m.Message) -> str:
    """Return the code and words of an answer that is an error, "" for another."""
    response: m.Response | None = getattr(said, "response", None)
    return "" if response is None or response.code == 200 else f"{response.code} {response.description[:200]}".strip()


def _forgotten(said: m.Message) -> bool:
    """Whether an answer says that the VTN knows no such VEN."""
    response: m.Response | None = getattr(said, "response", None)
    return response is not None and response.code == NOT_REGISTERED
