"""Programmes: what an organisation runs, or offers to others, to let energy follow the grid.

::

    GET  /programmes · POST /programmes           own ones, open ones, those the organisation takes part in
    GET  /programmes/{id}   PUT (If-Match)   DELETE: retired, its events are cancelled
"""

from typing import Any

import msgspec
from litestar import Request, Response, delete, get, post, put
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, JSONBody

from gridspine.apps.api.dependency import TheNode, controls_of
from gridspine.apps.api.versioned import matching, rfc3339, tagged
from gridspine.energy.control import NOTHING, Control
from gridspine.energy.programme import Programme, ReportDescriptor, SignalDescriptor
from gridspine.kernel.time import format_rfc3339

AnyRequest = Request[Any, Any, Any]


class NewProgramme(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A programme. ``primacy`` (0 to 255): the lower wins. ``modes`` are what its events may command.

    ``default_control`` holds for the enrolled while no event does. ``open``: other organisations see it and may ask
    to enrol. ``interval_s`` [s] is how long an interval lasts that says no end.
    """

    title: str
    primacy: int = 100
    description_url: str = ""
    interval_s: int = 0
    signals: tuple[SignalDescriptor, ...] = ()
    modes: tuple[str, ...] = ()
    default_control: Control = NOTHING
    reports: tuple[ReportDescriptor, ...] = ()
    targets: tuple[str, ...] = ()
    open: bool = False


class ProgrammeView(NewProgramme, frozen=True, kw_only=True, rename="camel"):
    """A programme as it is kept; ``owner`` is the organisation that runs it."""

    id: str
    owner: str
    created: str
    retired: str | None
    version: int


@get("/programmes", summary="List programmes", tags=["programmes"])
async def list_programmes(request: AnyRequest, node: TheNode) -> list[ProgrammeView]:
    """List the programmes that the caller's organisation runs, takes part in, or may ask to enrol in; by title."""
    return [_view(one) for one in controls_of(node, request).programmes.all()]


@post(
    "/programmes", summary="Create a programme", tags=["programmes"],
    responses={201: ResponseSpec(ProgrammeView, generate_examples=False, description="The programme")},
)  # fmt: skip
async def create_programme(request: AnyRequest, node: TheNode, data: JSONBody[NewProgramme]) -> Response[bytes]:
    """Create a programme of the caller's organisation."""
    made = await controls_of(node, request).programmes.create(_programme(data, request.user.organisation))
    return tagged(_view(made), made.version, 201, f"/programmes/{made.id}")


@get(
    "/programmes/{programme_id:str}", summary="Read one programme", tags=["programmes"],
    responses={200: ResponseSpec(ProgrammeView, generate_examples=False, description="The programme")},
)  # fmt: skip
async def read_programme(request: AnyRequest, node: TheNode, programme_id: FromPath[str]) -> Response[bytes]:
    """Return a programme."""
    found = controls_of(node, request).programmes.get(programme_id)
    return tagged(_view(found), found.version)


@put(
    "/programmes/{programme_id:str}", summary="Change a programme", tags=["programmes"],
    responses={200: ResponseSpec(ProgrammeView, generate_examples=False, description="The programme")},
)  # fmt: skip
async def change_programme(
    request: AnyRequest, node: TheNode, programme_id: FromPath[str], data: JSONBody[NewProgramme]
) -> Response[bytes]:
    """Replace what is said of a programme; `If-Match` is heeded. What commands it gives follows at once.

    A mode that is new commands none of those who enrolled before: they did not consent to it.
    """
    changed, match = _programme(data, request.user.organisation), matching(request, "programme")
    after = await controls_of(node, request).programmes.change(programme_id, changed, match=match)
    return tagged(_view(after), after.version)


@delete("/programmes/{programme_id:str}", status_code=204, summary="Retire a programme", tags=["programmes"])
async def retire_programme(request: AnyRequest, node: TheNode, programme_id: FromPath[str]) -> None:
    """End a programme: its events are cancelled and its leases end. Those who took part can still read it."""
    await controls_of(node, request).programmes.retire(programme_id, match=matching(request, "programme"))


def _programme(data: NewProgramme, organisation: str) -> Programme:
    fields = {name: getattr(data, name) for name in NewProgramme.__struct_fields__}
    return Programme(id="", organisation=organisation, **fields)


def _view(one: Programme) -> ProgrammeView:
    return ProgrammeView(
        **{name: getattr(one, name) for name in NewProgramme.__struct_fields__}, id=one.id, owner=one.organisation,
        created=format_rfc3339(one.created_us), retired=rfc3339(one.retired_us), version=one.version,
    )  # fmt: skip
