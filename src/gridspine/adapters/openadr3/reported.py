"""What VENs report, as readings of Things: of a resource that a Thing's connection names, told by who speaks for it.

::

    report, resource "pump": DEMAND 1.8 KW ─► Thing with {"resource": "pump"} ─► activePower 1800 W ─► durable
                                                                                 the report is answered ◄──┘

A value stands at the beginning of its interval. Sources: OpenADR 3.1.0, enumerations/report-payloads.schema.yaml and
units.schema.yaml (PERCENT is 0 to 1). Power is import positive on both sides: *DEMAND* is real power that is used.
"""

from typing import NamedTuple

import msgspec

from gridspine.adapters.openadr3.payload import number_of
from gridspine.adapters.openadr3.period import spans
from gridspine.adapters.openadr3.remote import WAYS
from gridspine.adapters.openadr3.wire import EventRequest, ReportRequest
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import Invalid
from gridspine.kernel.ids import point_id
from gridspine.kernel.readings import named_readings
from gridspine.things.adapter import AdapterContext, Binding, Source

_TAKEN = ("DEMAND", "STORAGE_CHARGE_LEVEL")
Row = tuple[str, str, int, float, int]


class ResourceConnection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ``connection`` of a Thing that VENs report of: the name of their ``resource``."""

    resource: str


class _Told(NamedTuple):
    """A value that was told of a resource: ``payload_type`` in ``units``, at ``at_us`` [µs since 1970]."""

    payload_type: str
    units: str
    at_us: int
    value: float


class Reported:
    """Hands in what reports tell of the adapter's Things. Lives on the event loop."""

    def __init__(self, context: AdapterContext) -> None:
        self._context = context
        self._of: dict[str, list[Binding]] = {}

    def sync(self, bindings: list[tuple[Binding, ResourceConnection]]) -> None:
        """Take the Things that there are now."""
        self._of = {}
        for binding, connection in bindings:
            self._of.setdefault(connection.resource, []).append(binding)

    async def take(self, source: Source, report: ReportRequest) -> None:
        """Hand in what a report tells of Things that ``source`` speaks for; returns when it is durable.

        Raises `Overloaded`, `DiskFull` where it was not kept, `Invalid` for what is no time.
        """
        units = {one.payload_type: one.units or "" for one in report.payload_descriptors or ()}
        rows: list[Row] = []
        for resource in report.resources:
            things = [one for one in self._of.get(resource.resource_name, ()) if self._speaks(source, one)]
            if not things:
                continue
            event = EventRequest(program_id="-", interval_period=resource.interval_period, intervals=resource.intervals)
            told = told_of(event, units, self._context.clock)
            rows += [row for thing in things for one in told if (row := _row(thing, one)) is not None]
        if rows:
            await self._context.intake(named_readings(rows), source)

    def _speaks(self, source: Source, binding: Binding) -> bool:
        return self._context.may_publish(source, binding.thing)


def told_of(event: EventRequest, units: dict[str, str], clock: Clock) -> list[_Told]:
    """Return the values of a resource's intervals; one without a time is of now. Raises `Invalid`."""
    now_us = clock.now_us()
    return [
        _Told(payload.type, units.get(payload.type, ""), span.from_us, _value(payload.type, payload.values[0]))
        for span in spans(event, 0, now_us)
        for payload in span.interval.payloads
        if payload.type in _TAKEN
        and len(payload.values) == 1
        and isinstance(payload.values[0], int | float)
        and not isinstance(payload.values[0], bool)
    ]


def _value(payload_type: str, given: int | float) -> float:
    """Return a value that a float can be; raise `Invalid`: JSON's whole numbers may have hundreds of digits."""
    found = number_of(given)
    if found is None:
        raise Invalid(f"{payload_type}: a value is no number that there can be")
    return found


def _row(binding: Binding, told: _Told) -> Row | None:
    way = WAYS[told.payload_type]
    factor = way.factors.get(told.units or way.unit)
    if factor is None:
        raise Invalid(f"units of {told.payload_type}: one of {', '.join(way.factors)} is needed")
    if way.point not in binding.points:
        return None
    return point_id(binding.thing, way.point), way.node_unit, told.at_us, told.value * factor, 0
