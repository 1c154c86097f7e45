"""Announcements: devices that said what they are, taken in or turned away by a person."""

import asyncio
from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath, FromQuery, JSONBody

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.thing import check_speakers, may_connect
from gridspine.apps.node.node import Node
from gridspine.infra.identity.caller import Caller
from gridspine.infra.runtime.clock import new_urn
from gridspine.kernel.errors import Invalid, NotFound
from gridspine.kernel.time import format_rfc3339
from gridspine.things.announcement import Announcement, waiting_one
from gridspine.things.lifecycle import Step
from gridspine.things.registrar import Caller as Registering
from gridspine.things.td.check import check_description
from gridspine.things.td.document import check_depth
from gridspine.things.thing import Thing

_PROBLEMS = 20
"""Things wrong with a description that are kept with an announcement, at most."""


class NewAnnouncement(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What a device is: ``thingModel`` is the id of a Thing Model it is one of, ``description`` its own TD."""

    make: str
    model: str
    serial: str
    firmware: str = ""
    thing_model: str = ""
    description: dict[str, Any] = {}


class AnnouncementView(msgspec.Struct, frozen=True, rename="camel"):
    """An announcement: ``state`` is waiting, accepted (as ``thing``) or rejected; ``problems`` must be solved first.

    ``adapter`` and ``connection``, where there are any, are what it is taken in with unless others are given.
    """

    id: str
    make: str
    model: str
    serial: str
    firmware: str
    thing_model: str
    by: str
    at: str
    state: str
    problems: list[str]
    thing: str
    decided_by: str
    why: str
    adapter: str = ""
    connection: dict[str, Any] = {}


class Verdict(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What becomes of an announced device: a Thing's ``title``, ``model`` (that it said itself, when ""), ``adapter``
    and ``connection``; or ``why`` it is turned away.
    """

    title: str = ""
    model: str = ""
    id: str = ""
    adapter: str = ""
    connection: dict[str, Any] = {}
    why: str = ""


@get("/announcements", summary="List announced devices", tags=["lifecycle"])
async def list_announcements(
    request: Request[Any, Any, Any], node: TheNode, after: FromQuery[str] = "", limit: FromQuery[int] = 1_000
) -> list[AnnouncementView]:
    """List the devices that announced themselves to the caller's organisation, the oldest first."""
    node.authority.on_own(request.user, "thing.enrol")
    found = await node.lives.announcements.list(
        request.user.organisation, after=after[:300], limit=min(max(limit, 1), 1_000)
    )
    return [announcement_view(one) for one in found]


@post("/announcements", summary="Announce a device for it", tags=["lifecycle"])
async def make_announcement(
    request: Request[Any, Any, Any], node: TheNode, data: JSONBody[NewAnnouncement]
) -> AnnouncementView:
    """Say what a device is on its behalf: an installer's application, a gateway."""
    node.authority.on_own(request.user, "thing.enrol")
    return announcement_view(await announce(node, request.user.organisation, request.user.principal, data))


@post(
    "/announcements/{announcement_id:str}/{verb:str}",
    status_code=200,
    summary="Take a device in, or turn it away",
    description="`verb` is accept or reject.",
    tags=["lifecycle"],
)
async def decide_announcement(
    request: Request[Any, Any, Any],
    node: TheNode,
    announcement_id: FromPath[str],
    verb: FromPath[str],
    data: JSONBody[Verdict],
) -> AnnouncementView:
    """Register the device as a Thing, and let its voucher enrol for it; or turn it away with a reason."""
    node.authority.on_own(request.user, "thing.enrol")
    try:
        said = await node.lives.announcements.get(announcement_id)
    except NotFound:
        said = None
    if said is None or said.organisation != request.user.organisation:
        raise NotFound("there is no such announcement")
    if verb == "reject":
        decided = await node.lives.announcements.reject(said.id, by=request.user.principal, why=data.why)
        return announcement_view(decided)
    if verb != "accept":
        raise Invalid("verb: is accept or reject")
    async with node.lives.deciding:  # two at once would make two Things of one device
        return announcement_view(await _accept(node, request, await node.lives.announcements.get(said.id), data))


async def announce(node: Node, organisation: str, by: str, said: NewAnnouncement) -> Announcement:
    """Keep what a device says of itself, checked as far as the node knows its model."""
    problems = []
    check_depth(said.description)
    if said.description:
        found = await asyncio.to_thread(check_description, said.description)
        problems += [f"description, {one.field}: {one.description}" for one in found[:_PROBLEMS]]
    if not said.thing_model and not said.description:
        problems.append("neither a Thing Model nor a description was sent: say which model it is when it is accepted")
    elif said.thing_model and node.things.models.get(said.thing_model, organisation) is None:
        problems.append(f"Thing Model {said.thing_model[:200]} is not known here: register it, or name another")
    new = Announcement(
        id="", organisation=organisation, make=said.make, model=said.model, serial=said.serial, by=by, at_us=0,
        firmware=said.firmware, thing_model=said.thing_model, description=said.description, problems=tuple(problems),
    )  # fmt: skip
    return await node.lives.announcements.announce(new)


async def _accept(node: Node, request: Request[Any, Any, Any], said: Announcement, verdict: Verdict) -> Announcement:
    caller, lives, said = request.user, node.lives, waiting_one(said)
    thing = Thing(
        verdict.id or new_urn(node.clock), said.organisation,
        verdict.title or f"{said.make} {said.model} {said.serial}"[:200],
        verdict.model or said.thing_model, adapter=verdict.adapter or said.adapter,
        connection=verdict.connection or ({} if verdict.adapter else said.connection), devices=said.devices,
    )  # fmt: skip
    node.authority.on_thing(caller, "thing.register", thing)
    node.quotas.things(node.things.count(thing.organisation))
    if thing.connection and thing.organisation not in node.settings.adapters.connect_for:
        node.authority.on_node(caller, "node.connect")
    check_speakers(node, caller, thing)
    why = verdict.why or f"taken in as {thing.title}"
    begun = Step(said.at_us, "announced", said.by, f"{said.make} {said.model}, serial {said.serial}", (said.id,))
    described = Step(node.clock.now_us(), "described", caller.principal, why[:2_000], (said.id,))
    lives.lifecycles.expect(thing.id, (begun, described))
    try:
        if thing.model:
            await node.things.register(thing, actor=caller.principal)
        else:
            await _register_described(node, caller, thing, said)
    finally:
        lives.lifecycles.forget(thing.id)
    accepted = await lives.announcements.accept(said.id, thing.id, by=caller.principal, why=why[:2_000])
    kind, _, voucher = said.by.partition(":")
    if kind == "voucher":
        await node.lives.bind(voucher, thing.id, actor=caller.principal)
    return accepted


async def _register_described(node: Node, caller: Caller, thing: Thing, said: Announcement) -> None:
    """Register a device by its own description, under the id and title it is given here."""
    if not said.description:
        raise Invalid("model: the device did not say what it is: name its Thing Model")
    if thing.adapter or thing.connection:
        raise Invalid("adapter, connection: follow from the device's own description; name a model to give others")
    document = {**said.description, "id": thing.id}
    document.setdefault("title", thing.title)
    who = Registering(caller.organisation, caller.principal, lambda: may_connect(node, caller))
    await node.registrar.create(document, who, thing.id)


def announcement_view(one: Announcement) -> AnnouncementView:
    """Return an announcement as it is shown."""
    return AnnouncementView(
        one.id, one.make, one.model, one.serial, one.firmware, one.thing_model, one.by, format_rfc3339(one.at_us),
        one.state, list(one.problems), one.thing, one.decided_by, one.why, one.adapter, one.connection,
    )  # fmt: skip
