"""Ensembles: Things gathered by what they can do, how they are and where, with their sums; saved, and followed.

::

    POST   /ensembles/gather                  criteria ─► members and sums, once
    GET    /ensembles · POST /ensembles       saved ones of the caller's organisation
    GET    /ensembles/{id}                    gathered now                        DELETE: forgotten
    GET    /ensembles/{id}/stream             who joins and who leaves, as server-sent events
    GET    /ensembles/{id}/orders             what its members were told, and what became of it

A saved one is a Thing as well (`gridspine.apps.node.plants`): its sums are read, observed and commanded as those.

A caller's ensembles hold only Things that it may read: those of its organisation; for a device, those it speaks for.
"""

import math
from typing import Annotated

import msgspec
import numpy as np
from litestar import Response, delete, get, post
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, JSONBody, Parameter
from litestar.types import ASGIApp

from gridspine.apps.api.answer import json_answer
from gridspine.apps.api.command_view import CommandView, command_view
from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.description import AnyRequest
from gridspine.apps.api.flow import EventStream, Flow
from gridspine.apps.api.news import Message, NewsSource
from gridspine.apps.api.problems import response
from gridspine.apps.api.sending import SignedIn, take_place
from gridspine.apps.node.ensembles import Ensembles, Follower
from gridspine.apps.node.node import Node
from gridspine.energy.criteria import Criteria
from gridspine.energy.ensemble import Ensemble, Gathered
from gridspine.infra.identity.caller import Caller
from gridspine.kernel.readings import Int64Array
from gridspine.kernel.time import format_rfc3339
from gridspine.things.directory import Thing

MAX_PAGE, PAGE = 1_000, 100
MAX_ORDERS = 5_000
"""Commands of members that are listed, the newest."""
Limit = Annotated[int, Parameter(ge=0, le=MAX_PAGE)]
Offset = Annotated[int, Parameter(ge=0, le=10_000_000)]


class NewEnsemble(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """An ensemble to save. ``hold_s`` [s] is how long a Thing must fit, or not, before it joins or leaves."""

    title: str
    criteria: Criteria
    hold_s: float = 10.0


class EnsembleView(msgspec.Struct, frozen=True, rename="camel"):
    """A saved ensemble."""

    id: str
    title: str
    criteria: Criteria
    hold_s: float
    created: str
    by: str


class MemberView(msgspec.Struct, frozen=True, rename="camel"):
    """A member: its power now, what it can shed and raise [W], the energy of its store [Wh]; null: not known."""

    id: str
    power_w: float | None
    shed_w: float | None
    raise_w: float | None
    energy_wh: float | None


class SumsView(msgspec.Struct, frozen=True, rename="camel"):
    """Sums over all members [W, Wh]; of ``power_unknown`` members the present power is not among them."""

    count: int
    power_w: float
    shed_w: float
    raise_w: float
    energy_wh: float
    power_unknown: int


class GatheredView(msgspec.Struct, frozen=True, rename="camel"):
    """An ensemble as it is ``at`` this moment: some of its members, all of its sums, who was left out and why."""

    at: str
    considered: int
    sums: SumsView
    left_out: dict[str, int]
    members: list[MemberView]
    offset: int


class SavedGatheredView(msgspec.Struct, frozen=True, rename="camel"):
    """A saved ensemble, and who is in it now."""

    ensemble: EnsembleView
    gathered: GatheredView


@post(
    "/ensembles/gather", status_code=200, summary="Gather Things", tags=["search"],
    responses={200: ResponseSpec(GatheredView, generate_examples=False, description="Members and sums")},
)  # fmt: skip
async def gather_things(
    request: AnyRequest, node: TheNode, data: JSONBody[Criteria], limit: Limit = PAGE, offset: Offset = 0
) -> Response[bytes]:
    """Return which Things fit, with sums over all of them; `limit` and `offset` are the page of members."""
    found = await node.ensembles.gather(data, numbers_of(node, request.user))
    return response(json_answer(_view(node, found, limit, offset)))


@get("/ensembles", summary="List saved ensembles", tags=["search"])
async def list_ensembles(request: AnyRequest, node: TheNode) -> list[EnsembleView]:
    """List the saved ensembles of the caller's organisation."""
    _may_read(node, request.user)
    return [_saved(one) for one in await node.ensembles.list(request.user.organisation)]


@post("/ensembles", summary="Save an ensemble", tags=["search"])
async def save_ensemble(request: AnyRequest, node: TheNode, data: JSONBody[NewEnsemble]) -> EnsembleView:
    """Save an ensemble of the caller's organisation, to be gathered and followed again.

    It is a Thing of the same id from then on: `/things/{id}` describes it, and its properties are its sums.
    """
    caller = request.user
    node.authority.on_thing(caller, "thing.register", _any(caller))
    node.quotas.things(node.things.count(caller.organisation))
    made = await node.ensembles.saved.save(
        caller.organisation, data.title, data.criteria, data.hold_s, caller.principal
    )  # fmt: skip
    return _saved(made)


@get(
    "/ensembles/{ensemble_id:str}", summary="Gather a saved ensemble", tags=["search"],
    responses={200: ResponseSpec(SavedGatheredView, generate_examples=False, description="Members and sums")},
)  # fmt: skip
async def read_ensemble(
    request: AnyRequest, node: TheNode, ensemble_id: FromPath[str], limit: Limit = PAGE, offset: Offset = 0
) -> Response[bytes]:
    """Return who is in a saved ensemble now, with its sums."""
    ensemble = await _known(node, request.user, ensemble_id)
    found = await node.ensembles.gather(ensemble.criteria, numbers_of(node, request.user), ensemble=ensemble.id)
    return response(json_answer(SavedGatheredView(_saved(ensemble), _view(node, found, limit, offset))))


@delete("/ensembles/{ensemble_id:str}", status_code=204, summary="Forget a saved ensemble", tags=["search"])
async def remove_ensemble(request: AnyRequest, node: TheNode, ensemble_id: FromPath[str]) -> None:
    """Forget a saved ensemble, and retire its Thing; who follows it is told so."""
    node.authority.on_thing(request.user, "thing.register", _any(request.user))
    await node.ensembles.remove(
        await node.ensembles.get(ensemble_id, request.user.organisation), request.user.principal
    )


@get("/ensembles/{ensemble_id:str}/orders", summary="List what members of an ensemble were told", tags=["search"])
async def list_orders(request: AnyRequest, node: TheNode, ensemble_id: FromPath[str]) -> list[CommandView]:
    """List the commands that orders of an ensemble were spread into, the newest first: what each member took."""
    ensemble = await _known(node, request.user, ensemble_id)
    readable = set(numbers_of(node, request.user).tolist())
    given = reversed(node.plants.orders(ensemble.id)[-MAX_ORDERS:])
    return [command_view(one) for one in given if node.points.thing_number(one.lease.thing) in readable]


@get(
    "/ensembles/{ensemble_id:str}/stream", summary="Follow a saved ensemble", media_type="text/event-stream",
    tags=["search"],
)  # fmt: skip
async def follow_ensemble(request: AnyRequest, node: TheNode, ensemble_id: FromPath[str]) -> ASGIApp:
    """Follow who joins and who leaves: events `change`; the first ones name all members. `end` says why it is over."""
    caller = request.user
    # A device may read the Things it speaks for: no ensemble is theirs alone.
    node.authority.on_thing(caller, "thing.read", Thing("", caller.organisation, "any", ""))
    ensemble = await _known(node, caller, ensemble_id)
    place = take_place(node, caller)
    try:
        source = Changes(node.ensembles, ensemble)
    except BaseException:
        place()
        raise
    right = SignedIn(node, caller, f"ensemble {ensemble.id}")
    return EventStream(Flow(node, right, NewsSource(source), place), named=True)


class Changes:
    """The changes of an ensemble as news."""

    def __init__(self, ensembles: Ensembles, ensemble: Ensemble) -> None:
        self._ensembles, self._ensemble = ensembles, ensemble
        self._follower: Follower = ensembles.follow(ensemble)
        self.wake = self._follower.wake
        self._told = 0

    @property
    def over(self) -> str:
        """Why there will be no more, "" while there may be."""
        return self._follower.over

    def take(self) -> list[Message]:
        """Return what changed since the last time."""
        found = []
        for change in self._follower.changes():
            self._told += 1
            found.append(Message("change", msgspec.json.encode(change), str(self._told), {}))
        return found

    def close(self) -> None:
        """Follow no more."""
        self._ensembles.leave(self._ensemble, self._follower)


def numbers_of(node: Node, caller: Caller) -> Int64Array:
    """Return the numbers of the Things that ``caller`` may read, ascending; raise `Forbidden`."""
    _may_read(node, caller)
    if caller.kind != "device":
        return node.points.owned(caller.organisation)
    own = (one for one in node.things.of_device(caller.principal) if one.organisation == caller.organisation)
    return np.array(sorted(node.points.thing_number(one.id) for one in own), np.int64)


def _may_read(node: Node, caller: Caller) -> None:
    node.authority.on_thing(caller, "thing.read", _any(caller))


def _any(caller: Caller) -> Thing:
    """Return what stands for all Things that a caller may act on: policies look at organisation and devices only."""
    devices = (caller.principal,) if caller.kind == "device" else ()
    return Thing("", caller.organisation, "any", "", devices=devices)


async def _known(node: Node, caller: Caller, id: str) -> Ensemble:
    _may_read(node, caller)
    return await node.ensembles.get(id, caller.organisation)


def _saved(one: Ensemble) -> EnsembleView:
    return EnsembleView(one.id, one.title, one.criteria, one.hold_s, format_rfc3339(one.created_us), one.by)


def _view(node: Node, found: Gathered, limit: int, offset: int) -> GatheredView:
    names, part = node.points.things(), slice(offset, offset + limit)
    members = [MemberView(names[number], *map(_known_number, figures)) for number, *figures in found.rows(part)]
    sums = SumsView(**found.sums())  # type: ignore[arg-type]
    at = format_rfc3339(node.clock.now_us())
    return GatheredView(at, found.considered, sums, found.left_out, members, offset)


def _known_number(value: float) -> float | None:
    return value if math.isfinite(value) else None
