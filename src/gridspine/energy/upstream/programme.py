"""Programmes that are made of what a server says: each once, also where the node stops amid it."""

from gridspine.energy.control_port import ControlPort
from gridspine.energy.programme import Programme
from gridspine.energy.upstream.record import BegunProgramme, KnownProgramme, Notes


async def made(port: ControlPort, notes: Notes, id: str, wanted: Programme, now_us: int) -> KnownProgramme:
    """Make the programme of what a server knows as ``id``, or find what was made before the node stopped; note it.

    To be called by one of all followers at a time: what another is about to note is not yet known to be its own.
    """
    begun = notes.begun(id)
    found = None if begun is None else await left(port, notes, begun)
    if found is None:
        if begun is None or begun.title != wanted.title:
            await notes.begin(id, BegunProgramme(wanted.title, now_us))
        found = await port.programmes.create(wanted)
    known = KnownProgramme(found.id)
    await notes.note(id, known)
    return known


async def left(port: ControlPort, notes: Notes, begun: BegunProgramme) -> Programme | None:
    """Return what was made of it and is noted of no Thing: two of one application may follow what has one name."""
    noted = await notes.noted()
    for one in port.programmes.all():
        mine = one.by == port.source.principal and one.title == begun.title and one.created_us >= begun.from_us
        if mine and one.id not in noted and not one.retired_us:
            return one
    return None
