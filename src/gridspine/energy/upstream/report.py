"""What a server is told of a Thing that takes part: reports of the programme that was made of its words."""

import msgspec

from gridspine.energy.control_port import ControlPort
from gridspine.energy.programme import MAX_DESCRIPTORS, ReportDescriptor
from gridspine.energy.upstream.record import KnownProgramme


async def history(
    port: ControlPort, of: KnownProgramme, thing: str, wanted: ReportDescriptor, span: tuple[int, int], event: str = ""
) -> tuple[float | None, ...]:
    """Return what ``thing`` reported in ``span`` [µs since 1970], one value an interval, None where nothing valid was.

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
    return next((one.values for one in resources if one.thing == thing), ())
