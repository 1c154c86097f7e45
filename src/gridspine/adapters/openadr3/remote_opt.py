"""Opting out, told to somebody else's VTN: a report upon the event, by what its resource is then.

::

    owner opts out of an event that was read   ─► POST /reports  OPERATING_STATE: RUNNING_OPTED_OUT
    and in again, while it is not over         ─► POST /reports  OPERATING_STATE: NORMAL

OpenADR 3 has no message for it. Whether the device runs is not known here, so it is never called idle. Source: OpenADR
3.1.0, enumerations/report-payloads.schema.yaml (OPERATING_STATE), and its OpenAPI document (report).
"""

from typing import Any

import msgspec

from gridspine.adapters.openadr3.remote import Connection
from gridspine.adapters.openadr3.remote_call import Remote
from gridspine.adapters.openadr3.remote_mirror import Mirror
from gridspine.adapters.openadr3.remote_record import Kept, KnownEvent
from gridspine.energy.control_port import ControlPort
from gridspine.energy.programme_enrolment import ProgrammeEnrolment
from gridspine.energy.programme_event import ProgrammeEvent
from gridspine.kernel.errors import Conflict, Invalid, NotFound
from gridspine.kernel.time import format_rfc3339

OUT, IN = "RUNNING_OPTED_OUT", "NORMAL"
_PAYLOAD = "OPERATING_STATE"


class Opts:
    """Tells one VTN which of its events the owner does not take part in."""

    def __init__(self, mirror: Mirror, kept: Kept, remote: Remote, connection: Connection) -> None:
        self._mirror, self._kept, self._remote, self._connection = mirror, kept, remote, connection

    def concerns(self, enrolment: str) -> bool:
        """Whether an enrolment is of a program that is followed."""
        return any(one.enrolment == enrolment for one in self._kept.programs.values())

    async def tell(self, now_us: int) -> None:
        """Tell what is not told yet; raise what keeps all of it from being told.

        What the VTN refuses is noted among the mirror's problems, and not told again.
        """
        port = self._mirror.port()
        enrolments = {id_: found for id_ in self._kept.programs if (found := self._enrolment(port, id_)) is not None}
        opted = {id_ for id_, one in enrolments.items() if one.opt_outs}
        for id_, known in list(self._kept.events.items()):
            if known.opted or known.program in opted:
                await self._look(port, id_, known, enrolments.get(known.program), now_us)

    def _enrolment(self, port: ControlPort, program: str) -> ProgrammeEnrolment | None:
        known = self._kept.programs[program]
        try:
            return port.enrolments.get(known.noun, known.enrolment) if known.enrolment else None
        except NotFound:
            return None

    async def _look(
        self, port: ControlPort, id: str, known: KnownEvent, enrolment: ProgrammeEnrolment | None, now_us: int
    ) -> None:
        try:
            event = port.programmes.event(self._kept.programs[known.program].noun, known.noun) if known.noun else None
        except (NotFound, KeyError):  # it is over, and was let go
            event = None
        if event is None or event.until_us <= now_us or event.cancelled_us:
            return
        out = enrolment is not None and is_out(enrolment, event, now_us)
        if out == known.opted:
            return
        try:
            await self._send(id, known, event, OUT if out else IN, now_us)
        except (Invalid, Conflict, NotFound) as error:
            self._mirror.problems.append(f"opting {'out of' if out else 'into'} {id[:60]}: {error.detail}")
        await self._kept.keep(id, msgspec.structs.replace(known, opted=out))

    async def _send(self, id: str, known: KnownEvent, event: ProgrammeEvent, state: str, now_us: int) -> None:
        begin_us = max(event.from_us, now_us)
        lasts = f"PT{max(1, (event.until_us - begin_us) // 1_000_000)}S"
        interval = {
            "id": 0, "intervalPeriod": {"start": format_rfc3339(begin_us), "duration": lasts},
            "payloads": [{"type": _PAYLOAD, "values": [state]}],
        }  # fmt: skip
        body: dict[str, Any] = {
            "eventID": id, "clientName": self._connection.name, "reportName": "opt",
            "payloadDescriptors": [{"objectType": "REPORT_PAYLOAD_DESCRIPTOR", "payloadType": _PAYLOAD}],
            "resources": [{"resourceName": self._connection.resource_name, "intervals": [interval]}],
        }  # fmt: skip
        if self._connection.edition == "3.0.1":
            body["programID"] = known.program
        await self._remote.ask("POST", "/reports", body)


def is_out(enrolment: ProgrammeEnrolment, event: ProgrammeEvent, now_us: int) -> bool:
    """Whether an owner opted out of an event, or of a time [µs since 1970] in which some of it is yet to come."""
    return any(
        one.covers(event.id) and one.from_us < event.until_us and one.until_us > max(event.from_us, now_us)
        for one in enrolment.opt_outs
    )
