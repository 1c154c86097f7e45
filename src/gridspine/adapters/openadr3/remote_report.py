"""Reports to somebody else's VTN: what a Thing reported, by the intervals of an event.

::

    event asks ─► `Due` ─► its last interval is over ─► report of the programme, from history ─► POST /reports

Told are USAGE (what the import register rose by), DEMAND (the mean power, import positive) and STORAGE_CHARGE_LEVEL
(the mean). Left out is an interval in which nothing valid was read, or still held. Source: OpenADR 3.1.0, its OpenAPI
document (reportDescriptor) and enumerations/report-payloads.schema.yaml; the User Guide was not read.
"""

import math
from typing import Any

import msgspec

from gridspine.adapters.openadr3.remote import WAYS, Connection, Way
from gridspine.adapters.openadr3.remote_call import Remote
from gridspine.adapters.openadr3.remote_mirror import Mirror
from gridspine.adapters.openadr3.remote_record import Due, Kept, KnownEvent
from gridspine.energy.control_port import ControlPort
from gridspine.energy.programme import ReportDescriptor
from gridspine.energy.upstream.record import KnownProgramme
from gridspine.energy.upstream.report import history
from gridspine.kernel.errors import Conflict, GridspineError, Invalid, NotFound
from gridspine.kernel.time import US, format_rfc3339

GRACE_S = 10.0
"""How long after an interval is over its last readings may take to arrive [s]."""
_STEPS_S = (900, 300, 60, 30, 15, 10, 5, 2, 1)
_MAX_SLOTS = 5_000
_TRIED_US = 86_400 * US


class Reports:
    """Tells one VTN of one Thing."""

    def __init__(self, mirror: Mirror, kept: Kept, remote: Remote, connection: Connection) -> None:
        self._mirror, self._kept, self._remote, self._connection = mirror, kept, remote, connection
        self._tried_us = 0

    def next_us(self) -> int:
        """Return when the next report can be made [µs since 1970], 0 where none is due.

        One that was tried already is tried again whenever the VTN is asked, and calls for no sooner time.
        """
        ends = (due.intervals[-1][2] for one in self._kept.events.values() for due in one.due if due.intervals)
        return min((at_us for one in ends if (at_us := one + round(GRACE_S * US)) > self._tried_us), default=0)

    async def tell(self, now_us: int) -> None:
        """Send the reports that are due; raise what keeps all of them from being sent.

        One that cannot be made, or that the VTN refuses, is noted among the mirror's problems; after a day it goes.
        """
        self._tried_us = now_us
        for id_, known in list(self._kept.events.items()):
            for due in known.due:
                if due.intervals and due.intervals[-1][2] + GRACE_S * US > now_us:
                    continue
                try:
                    await self._send(id_, known, due)
                except (Invalid, Conflict, NotFound) as error:
                    self._mirror.problems.append(f"report {due.payload_type[:40]} of {id_[:60]}: {error.detail}")
                    if isinstance(error, Conflict) and due.intervals[-1][2] + _TRIED_US > now_us:
                        continue  # history may come yet
                known = msgspec.structs.replace(known, due=tuple(one for one in known.due if one is not due))
                await self._kept.keep(id_, known if known.due or known.digest else None)

    async def _send(self, id: str, known: KnownEvent, due: Due) -> None:
        way = WAYS.get(due.payload_type)
        of = self._kept.programs.get(known.program)
        if way is None or not self._connection.telemetry or of is None or not of.enrolment or not due.intervals:
            raise Invalid("nothing is told of it: the connection names no telemetry, or it is no payload of a Thing")
        unit = due.units or way.unit
        if unit not in way.factors:
            raise Invalid(f"its units {unit[:40]!r} are none of {', '.join(way.factors)}")
        values = await self._values(of, known, due, way)
        told = [
            {"id": number, "intervalPeriod": _period(begin_us, end_us),
             "payloads": [{"type": due.payload_type, "values": [round(value / way.factors[unit], 6)]}]}
            for (number, begin_us, end_us), value in zip(due.intervals, values, strict=True) if value is not None
        ]  # fmt: skip
        descriptor = {"objectType": "REPORT_PAYLOAD_DESCRIPTOR", "payloadType": due.payload_type, "units": unit}
        body: dict[str, Any] = {
            "eventID": id, "clientName": self._connection.name, "payloadDescriptors": [descriptor],
            "resources": [{"resourceName": self._connection.resource_name, "intervals": told}],
        }  # fmt: skip
        if self._connection.edition == "3.0.1":
            body["programID"] = known.program
        await self._remote.ask("POST", "/reports", body)

    async def _values(
        self, of: KnownProgramme, known: KnownEvent, due: Due, way: Way
    ) -> list[float | None]:  # fmt: skip
        """Return one value an interval, None where nothing valid was read, or still held."""
        port = self._mirror.port()
        begin_us, end_us = due.intervals[0][1], due.intervals[-1][2]
        step_us = _step_us(due, end_us - begin_us)
        since_us = port.enrolments.get(of.noun, of.enrolment).from_us
        skipped = max(0, -(-(since_us - begin_us) // step_us))  # of before it took part nothing is told
        from_us = begin_us + skipped * step_us
        more_us = step_us if way.point == "activeEnergyImport" else 0  # a register is read at the end, too
        if from_us >= end_us:
            return [None] * len(due.intervals)
        wanted = ReportDescriptor(due.payload_type, way.point, step_us // US)
        mine = await history(
            port, of, self._connection.telemetry, wanted, (from_us, end_us + more_us), _event_of(port, of.noun, known)
        )
        slots = [None] * skipped + list(mine.values)
        return [_value(slots, (a - begin_us) // step_us, (b - begin_us) // step_us, way) for _, a, b in due.intervals]


def _event_of(port: ControlPort, noun: str, known: KnownEvent) -> str:
    try:
        return port.programmes.event(noun, known.noun).id if known.noun else ""
    except GridspineError:
        return ""


def _step_us(due: Due, whole_us: int) -> int:
    """Return the longest step [µs] that all intervals are made of; raise `Invalid` where there is none."""
    begin_us = due.intervals[0][1]
    apart = math.gcd(*(time - begin_us for _, a, b in due.intervals for time in (a, b)))
    for step_s in _STEPS_S:
        if apart % (step_s * US) == 0 and whole_us // (step_s * US) <= _MAX_SLOTS:
            return step_s * US
    raise Invalid("its intervals are no whole seconds, or too many")


def _value(slots: list[float | None], begin: int, end: int, way: Way) -> float | None:
    """Return what is told of the slots from ``begin`` to ``end``: what a register rose by, or the mean."""
    if way.point == "activeEnergyImport":
        first, last = (slots[at] if at < len(slots) else None for at in (begin, end))
        return None if first is None or last is None or last < first else last - first
    found = [one for one in slots[begin:end] if one is not None]
    return sum(found) / len(found) if found else None


def _period(begin_us: int, end_us: int) -> dict[str, str]:
    whole, rest = divmod(end_us - begin_us, US)
    lasts = f"PT{whole}S" if not rest else f"PT{whole}.{rest:06d}S"
    return {"start": format_rfc3339(begin_us), "duration": lasts}
