"""What a server is told of a Thing that takes part: reports of the programme that was made of its words."""

from typing import NamedTuple

import msgspec

from gridspine.energy.control_port import ControlPort
from gridspine.energy.programme import MAX_DESCRIPTORS, ReportDescriptor
from gridspine.energy.upstream.record import KnownProgramme


class Told(NamedTuple):
    """One value an interval, None where nothing valid was read or still held; ``earlier``: those read before theirs."""

    values: tuple[float | None, ...] = ()
    earlier: frozenset[int] = frozenset()


async def history(
    port: ControlPort, of: KnownProgramme, thing: str, wanted: ReportDescriptor, span: tuple[int, int], event: str = ""
) -> Told:
    """Return what ``thing`` reported in ``span`` [µs since 1970].

    The programme asks for it then: only so the node tells it. Raises what `ReportPort.deliver` does.
    """
    programme = port.programmes.own(of.noun)
    if wanted not in programme.reports:
        others = [one for one in programme.reports if one.payload_type != wanted.payload_type][: MAX_DESCRIPTORS - 1]
        await port.programmes.change(of.noun, msgspec.structs.replace(programme, reports=(*others, wanted)))
    made = await port.reports.deliver(
        of.noun, of.enrolment, wanted.payload_type, *span, point=wanted.point, event=event
    )  # fmt: skip
    resources = (await port.reports.values(made)).resources
    return next((Told(one.values, frozenset(one.earlier)) for one in resources if one.thing == thing), Told())
