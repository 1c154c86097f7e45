"""What a VTN asked to be told of a Thing: reports from the node's history, of times that are over.

::

    oadrRegisterReport   what can be told: mean power, the import register
    oadrCreateReport     what is asked for, how often ─► `KnownReport`
    oadrUpdateReport     its intervals, when the last of them is over; left out are those of which nothing is known

What is reported by exception holds until it is said otherwise: an interval in which nothing changed has the value that
was read before (*No New Value - Previous Value Used*), as long as its point may be silent.

It is told where an enrolment stands that lets the node tell it, and of no time before that.
"""

import contextlib

import msgspec

from gridspine.adapters.openadr2 import message as m
from gridspine.adapters.openadr2 import message_report as r
from gridspine.adapters.openadr2.client.call import Remote
from gridspine.adapters.openadr2.client.connection import Connection
from gridspine.adapters.openadr2.client.mirror import Mirror
from gridspine.adapters.openadr2.client.record import Kept, KnownReport
from gridspine.adapters.openadr2.problem import INVALID_ID
from gridspine.energy.control_port import ControlPort
from gridspine.energy.programme import ReportDescriptor
from gridspine.energy.upstream.record import KnownProgramme
from gridspine.energy.upstream.report import Told, history
from gridspine.infra.runtime.clock import Clock, new_id
from gridspine.kernel.errors import Conflict, Forbidden, Invalid, NotFound, Overloaded, Unavailable
from gridspine.kernel.time import US

GRACE_S = 10.0
"""How long after an interval is over its last readings may take to arrive [s]."""
SPECIFIER = "telemetry"
MAX_REPORTS, _MAX_SLOTS, _OLD_US = 20, 1_000, 86_400 * US
_MOST_AT_ONCE = 1
_OFFERED = {
    "power": ("activePower", "usage", m.Item(kind="power:powerReal", units="W", hertz=50.0, voltage=230.0, ac=True)),
    "energy": ("activeEnergyImport", "reading", m.Item(kind="power:energyReal", units="Wh")),
}
"""rID → point, reportType, item."""
_GOOD, _EARLIER = "Quality Good - Non Specific", "No New Value - Previous Value Used"
"""Of *DataQuality* in ``oadr_20b.xsd``."""


class Telemetry:
    """Tells one VTN of one Thing."""

    def __init__(self, mirror: Mirror, kept: Kept, connection: Connection, clock: Clock) -> None:
        self._mirror, self._kept, self._connection, self._clock = mirror, kept, connection, clock
        self._tried_us = 0
        """When the node could not look at its own history at last [µs since 1970], 0 where it could."""

    def offer(self) -> r.RegisterReport:
        """Return what can be told; nothing where no Thing is named."""
        now_us = self._clock.now_us()
        target = m.Target(resource_ids=(self._connection.resource or self._connection.telemetry,))
        sampling = r.Sampling(min_us=US, max_us=3600 * US)
        descriptions = tuple(
            r.Description(rid=rid, source=target, type=type_, item=item, reading_type=reading, sampling=sampling)
            for (rid, (_, type_, item)), reading in zip(_OFFERED.items(), ("Mean", "Direct Read"), strict=True)
        )
        report = r.Report(
            duration_us=3600 * US, descriptions=descriptions, request_id="0", specifier_id=SPECIFIER,
            name="METADATA_TELEMETRY_USAGE", created_us=now_us,
        )  # fmt: skip
        reports = (report,) if self._connection.telemetry else ()
        return r.RegisterReport(request_id=new_id(self._clock), reports=reports, ven_id=self._kept.now.ven_id)

    async def asked(self, requests: tuple[r.ReportRequest, ...], request_id: str) -> r.CreatedReport:
        """Note what is asked for; return what the VTN is answered to it."""
        now_us, found = self._clock.now_us(), dict(self._kept.now.reports)
        refused = ""
        for one in requests:
            said = one.specifier
            points = {each.rid: _OFFERED[each.rid][0] for each in said.wanted if each.rid in _OFFERED}
            room = one.request_id in found or len(found) < MAX_REPORTS
            if said.specifier_id != SPECIFIER or not points or not room or not self._connection.telemetry:
                refused = one.request_id
                continue
            step_us = max(US, (said.granularity_us or said.back_us or 60 * US) // US * US)
            every_us = -(-said.back_us // step_us) * step_us
            from_us = said.interval.start_us if said.interval else (now_us if every_us else now_us - step_us)
            begin_us = max(from_us, now_us - _OLD_US) // US * US
            found[one.request_id] = KnownReport(said.specifier_id, points, step_us, every_us, begin_us)
        await self._kept.change(reports=found)
        words = f"{refused[:80]!r} is none that is offered" if refused else "OK"
        response = m.Response(code=INVALID_ID if refused else 200, request_id=request_id, description=words)
        return r.CreatedReport(response=response, pending=tuple(found), ven_id=self._kept.now.ven_id)

    async def ended(self, given: r.CancelReport) -> r.CanceledReport:
        """Tell no more of what is not asked for any more."""
        known = self._kept.now.reports
        unknown = [one for one in given.report_request_ids if one not in known]
        left = {id_: one for id_, one in known.items() if id_ not in given.report_request_ids}
        await self._kept.change(reports=left)
        response = m.Response(code=INVALID_ID if unknown else 200, request_id=given.request_id)
        return r.CanceledReport(response=response, pending=tuple(left), ven_id=self._kept.now.ven_id)

    def next_us(self) -> int:
        """Return when the next report can be made [µs since 1970], 0 where none is to come.

        What the node could not make is tried again whenever the VTN is asked, and calls for no sooner time.
        """
        ends = (one.from_us + (one.every_us or one.step_us) for one in self._kept.now.reports.values())
        return min((at_us for one in ends if (at_us := one + round(GRACE_S * US)) > self._tried_us), default=0)

    async def tell(self, remote: Remote) -> None:
        """Send what is due; raise `Unavailable`, and then it is sent later. What cannot be made is a problem noted."""
        now_us, self._tried_us = self._clock.now_us(), 0
        for id_, known in list(self._kept.now.reports.items()):
            for _ in range(_MOST_AT_ONCE):
                lasts_us = known.every_us or known.step_us
                if known.from_us + lasts_us + GRACE_S * US > now_us:
                    break
                try:
                    intervals = await self._intervals(known, known.from_us + lasts_us)
                except (Overloaded, Unavailable) as error:  # the node's own: it says nothing of the VTN
                    self._mirror.problems.append(f"report {id_[:60]}: {error.detail}")
                    self._tried_us = now_us
                    break
                except (Invalid, Conflict, NotFound, Forbidden) as error:
                    self._mirror.problems.append(f"report {id_[:60]}: {error.detail}")
                    intervals = ()
                if intervals:
                    await self._send(remote, id_, known, intervals)
                # What is older than a day is not made up for.
                behind = max(0, (now_us - _OLD_US - known.from_us) // lasts_us)
                known = msgspec.structs.replace(known, from_us=known.from_us + lasts_us * max(1, behind))
                if id_ not in self._kept.now.reports:  # the VTN cancelled it as it took it
                    break
                left = {key: one for key, one in self._kept.now.reports.items() if key != id_}
                await self._kept.change(reports=left | ({id_: known} if known.every_us else {}))
                if not known.every_us:
                    break

    async def _send(self, remote: Remote, id: str, known: KnownReport, intervals: tuple[r.ReportInterval, ...]) -> None:
        now_us = self._clock.now_us()
        report = r.Report(
            start_us=intervals[0].start_us, intervals=intervals, id=new_id(self._clock), request_id=id,
            specifier_id=known.specifier_id, name="TELEMETRY_USAGE", created_us=now_us,
        )  # fmt: skip
        said = r.UpdateReport(request_id=new_id(self._clock), reports=(report,), ven_id=self._kept.now.ven_id)
        answer = await remote.say(said)
        if isinstance(answer, r.UpdatedReport) and answer.cancel is not None:
            await self.ended(answer.cancel)

    async def _intervals(self, known: KnownReport, until_us: int) -> tuple[r.ReportInterval, ...]:
        port = self._mirror.port()
        of = self._consent(port)
        if of is None:
            raise Conflict("nobody takes part in a programme of that VTN: nothing may be told")
        since_us = port.enrolments.get(of.noun, of.enrolment).from_us
        count = min((until_us - known.from_us) // known.step_us, _MAX_SLOTS)
        skipped = min(count, max(0, -(-(since_us - known.from_us) // known.step_us)))
        begin_us, end_us = known.from_us + skipped * known.step_us, known.from_us + count * known.step_us
        if begin_us >= end_us:
            return ()
        found: dict[str, Told] = {}
        for rid, point in known.points.items():
            try:
                wanted = ReportDescriptor(f"TELEMETRY_{point}", point, known.step_us // US)
                found[rid] = await history(port, of, self._connection.telemetry, wanted, (begin_us, end_us))
            except NotFound:  # that Thing has no such point
                continue
        made = []
        for at in range((end_us - begin_us) // known.step_us):
            payloads = tuple(
                r.ReportPayload(rid=rid, value=value, quality=_EARLIER if at in told.earlier else _GOOD)
                for rid, told in found.items()
                if at < len(told.values) and (value := told.values[at]) is not None
            )
            start_us = begin_us + at * known.step_us
            if payloads:
                made.append(r.ReportInterval(start_us=start_us, duration_us=known.step_us, payloads=payloads))
        return tuple(made)

    def _consent(self, port: ControlPort) -> KnownProgramme | None:
        """Return a programme with the enrolment in it by which the node may tell the VTN."""
        for one in self._kept.now.markets.values():
            with contextlib.suppress(NotFound):  # it was retired here, and let go since
                if one.enrolment and port.enrolments.get(one.noun, one.enrolment).state == "active":
                    return one
        return None
