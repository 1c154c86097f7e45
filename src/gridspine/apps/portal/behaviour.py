"""Pages of behaviours: the packages there are, how each is let out, how its versions do, and the way back."""

from typing import Any

from litestar import Response, get, post
from litestar.params import FromPath

from gridspine.apps.api.behaviour import (
    BehaviourView,
    BehaviourWord,
    DeploymentView,
    NewDeployment,
    change_deployment,
    deploy_behaviour,
    list_behaviours,
    read_behaviour,
    read_deployment,
)
from gridspine.apps.api.dependency import TheNode
from gridspine.apps.node.node import Node
from gridspine.apps.portal.command import number_of
from gridspine.apps.portal.display import known_name
from gridspine.apps.portal.page import PortalRequest, form, is_part, page
from gridspine.kernel.errors import NotFound
from gridspine.things.behaviour import decode_behaviour

SHOWN = 100
STATES = {
    "canary": ("waiting", "A share of the Things tries a version."),
    "running": ("good", "All Things have the same version."),
    "stopped": ("over", "It was stopped: no Thing has it."),
    "": ("over", "Published, and not let out yet."),
}
"""State of a deployment → its colour, and what it means."""
STORY = {"deployed": "waiting", "promoted": "good", "rolled-back": "bad", "stopped": "over"}
VERBS = {
    "promote": ("Give the canary to all", "main", "Give the canary's version to all Things now?"),
    "roll-back": ("Roll back", "", "Go back to the version before? The one left is not let out again."),
    "stop": ("Stop it", "danger", "Stop this behaviour on every Thing?"),
}


@get("/portal/behaviours")
async def behaviours_page(request: PortalRequest, node: TheNode) -> Response[Any]:
    """List the organisation's behaviours, by name."""
    newest: dict[str, BehaviourView] = {}
    versions: dict[str, list[str]] = {}
    for one in await list_behaviours.fn(request, node):
        newest[one.name] = one
        versions.setdefault(one.name, []).append(one.version)
    shown = list(newest.values())[:SHOWN]
    return page(
        request, node, "behaviours.html", current="behaviours", shown=shown, total=len(newest), versions=versions,
        out={one.name: await _deployment(request, node, one.name) for one in shown}, states=STATES,
        models={one.model: _model(node, request.user.organisation, one.model) for one in shown},
    )  # fmt: skip


@get("/portal/behaviours/{behaviour:str}")
async def behaviour_page(request: PortalRequest, node: TheNode, behaviour: FromPath[str]) -> Response[Any]:
    """Show one behaviour: how it is let out, its versions and what they may, its story."""
    return await _page(request, node, behaviour)


@get("/portal/behaviours/{behaviour:str}/text/{version:str}")
async def text_part(
    request: PortalRequest, node: TheNode, behaviour: FromPath[str], version: FromPath[str]
) -> Response[Any]:
    """Show the program of a version."""
    whole = await read_behaviour.fn(request, node, behaviour, version)
    return page(request, node, "parts/program.html", text=decode_behaviour(whole.package).text)


@post("/portal/behaviours/{behaviour:str}/{verb:str}", status_code=200)
async def act_on_behaviour(
    request: PortalRequest, node: TheNode, behaviour: FromPath[str], verb: FromPath[str]
) -> Response[Any]:
    """Let a version out (``deploy``), or promote, roll back or stop what is out."""
    fields = await form(request)
    if verb == "deploy":
        await deploy_behaviour.fn(request, node, behaviour, _wanted(fields))
    else:
        word = BehaviourWord(fields.get("reason", "")[:500])
        await change_deployment.fn(request, node, behaviour, verb, word)
    return await _page(request, node, behaviour)


def _wanted(fields: dict[str, str]) -> NewDeployment:
    """Return what the form asks for: percents and minutes become shares and seconds."""
    share = number_of(fields.get("share", ""), "To first") / 100
    faults = number_of(fields.get("faults", ""), "Most faults") / 100
    return NewDeployment(
        fields.get("version", ""), share, number_of(fields.get("minutes", ""), "Watch") * 60,
        round(number_of(fields.get("calls", ""), "Calls")), faults, reason=fields.get("reason", "")[:500],
    )  # fmt: skip


async def _page(request: PortalRequest, node: Node, name: str) -> Response[Any]:
    packages = [one for one in await list_behaviours.fn(request, node) if one.name == name]
    if not packages:
        raise NotFound("there is no such behaviour")
    now = await _deployment(request, node, name)
    state = now.state if now else ""
    running = {now.version, now.canary} - {""} if now and state != "stopped" else set()
    people = {one.publisher for one in packages} | {one.by for one in (now.changes if now else ())}
    return page(
        request, node, "parts/behaviour.html" if is_part(request) else "behaviour.html",
        current="behaviours", name=name, packages=packages[::-1][:SHOWN], title=packages[-1].title or name, now=now,
        state=state, tone=STATES[state], story=STORY, verbs=_verbs(state), running=running,
        steps={one.version: one.permissions.max_steps for one in packages},
        choice=[one.version for one in reversed(packages) if not one.bad and one.version not in running],
        model=_model(node, request.user.organisation, packages[-1].model), model_id=packages[-1].model,
        names={one: known_name(node, request.user, one) for one in people},
    )  # fmt: skip


async def _deployment(request: PortalRequest, node: Node, name: str) -> DeploymentView | None:
    """Return how a behaviour is let out; None when it never was."""
    try:
        view: DeploymentView = await read_deployment.fn(request, node, name)
    except NotFound:
        return None
    return view


def _verbs(state: str) -> list[tuple[str, str, str, str]]:
    """Return what can be done with a deployment: the verb, its words, the button's class, what is asked before."""
    known = {"canary": ("promote", "roll-back", "stop"), "running": ("roll-back", "stop")}.get(state, ())
    return [(verb, *VERBS[verb]) for verb in known]


def _model(node: Node, organisation: str, id: str) -> str:
    model = node.things.models.get(id, organisation)
    return model.title if model else id
