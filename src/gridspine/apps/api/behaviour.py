"""Behaviours: published as signed packages, let out to the twins of a make and model, watched, taken back."""

from typing import Annotated, Any

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath, JSONBody

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.node.behaviours import program
from gridspine.apps.node.node import Node
from gridspine.kernel.errors import Invalid, NotFound
from gridspine.kernel.time import format_rfc3339
from gridspine.things.behaviour import Behaviour, Package
from gridspine.things.rollout import Deployment, Plan

MAX_PACKAGE_CHARS = 120_000
_Reason = Annotated[str, msgspec.Meta(max_length=500)]


class NewBehaviour(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A package to publish: its JSON as one text, and its publisher's signature.

    The signature is a compact JWS (``typ`` is ``behaviour+jwt``) by a registered key of the caller, over
    ``{"digest": "sha256-…"}``: the SHA-256 of the text's UTF-8, in hexadecimal.
    """

    package: str
    signature: str


class Permissions(msgspec.Struct, frozen=True, rename="camel"):
    """What a behaviour may, whatever its text says."""

    reads: list[str]
    derives: list[str]
    commands: list[str]
    alarms: bool
    max_steps: int


class BehaviourView(msgspec.Struct, frozen=True, rename="camel"):
    """A published package: what it is for, what it may, who signed it."""

    name: str
    version: str
    title: str
    model: str
    permissions: Permissions
    publisher: str
    kid: str
    digest: str
    published: str
    bad: bool


class BehaviourText(msgspec.Struct, frozen=True):
    """A package whole, as it was signed."""

    package: str
    signature: str
    jwk: dict[str, str]


class NewDeployment(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Let ``version`` out to a ``share`` of the Things, then to all when it proves healthy; else it is taken back."""

    version: str
    share: float = 0.05
    observe_s: float = msgspec.field(default=600.0, name="observeS")
    min_calls: int = 100
    max_fault_rate: float = 0.01
    max_step_use: float = 0.8
    reason: _Reason = ""


class BehaviourWord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why."""

    reason: _Reason = ""


class HealthView(msgspec.Struct, frozen=True, rename="camel"):
    """How a version does since it was let out (or the node started): calls, faults, steps a call on average."""

    version: str
    calls: int
    faults: int
    steps_a_call: float
    last_fault: str


class DeploymentChange(msgspec.Struct, frozen=True):
    """What happened to a deployment."""

    at: str
    what: str
    version: str
    by: str
    reason: str


class DeploymentView(msgspec.Struct, frozen=True, rename="camel"):
    """How a behaviour is deployed: what all Things have, what the canaries have, how both do, and its story."""

    name: str
    model: str
    state: str
    version: str
    canary: str
    before: str
    share: float
    since: str
    health: list[HealthView]
    changes: list[DeploymentChange]


@get("/behaviours", summary="List behaviours", tags=["behaviours"])
async def list_behaviours(request: Request[Any, Any, Any], node: TheNode) -> list[BehaviourView]:
    """List the behaviours of the caller's organisation, by name and version."""
    node.authority.on_organisation(request.user, "behaviour.read", request.user.organisation)
    return [_view(node, *pair) for pair in node.agents.behaviours.of(request.user.organisation)]


@post("/behaviours", summary="Publish a behaviour", tags=["behaviours"])
async def publish_behaviour(
    request: Request[Any, Any, Any], node: TheNode, data: JSONBody[NewBehaviour]
) -> BehaviourView:
    """Publish a package under a new version; nothing runs before it is deployed."""
    organisation = request.user.organisation
    node.authority.on_organisation(request.user, "behaviour.publish", organisation)
    if len(data.package) > MAX_PACKAGE_CHARS:
        raise Invalid(f"package: at most {MAX_PACKAGE_CHARS} characters")
    behaviours = node.agents.behaviours
    package = await behaviours.publish(organisation, request.user.principal, data.package, data.signature)
    return _view(node, *next(pair for pair in behaviours.of(organisation) if pair[0] is package))


@get("/behaviours/{behaviour:str}/versions/{version:str}", summary="Read one behaviour", tags=["behaviours"])
async def read_behaviour(
    request: Request[Any, Any, Any], node: TheNode, behaviour: FromPath[str], version: FromPath[str]
) -> BehaviourText:
    """Return a package whole, with the signature and the key that prove who published it."""
    node.authority.on_organisation(request.user, "behaviour.read", request.user.organisation)
    package, _ = node.agents.behaviours.package(request.user.organisation, behaviour, version)
    return BehaviourText(package.text, package.signature, package.jwk)


@get("/behaviours/{behaviour:str}/deployment", summary="Read how a behaviour is deployed", tags=["behaviours"])
async def read_deployment(request: Request[Any, Any, Any], node: TheNode, behaviour: FromPath[str]) -> DeploymentView:
    """Return which versions the Things have, how they do, and what happened."""
    node.authority.on_organisation(request.user, "behaviour.read", request.user.organisation)
    return _deployment(node, node.agents.behaviours.deployment(request.user.organisation, behaviour))


@post("/behaviours/{behaviour:str}/deployment", status_code=200, summary="Deploy a behaviour", tags=["behaviours"])
async def deploy_behaviour(
    request: Request[Any, Any, Any], node: TheNode, behaviour: FromPath[str], data: JSONBody[NewDeployment]
) -> DeploymentView:
    """Let a version out: to canaries first, to all when they are healthy; taken back by itself when they are not."""
    organisation = request.user.organisation
    node.authority.on_organisation(request.user, "behaviour.deploy", organisation)
    plan = Plan(data.share, data.observe_s, data.min_calls, data.max_fault_rate, data.max_step_use)
    deployment = await node.agents.behaviours.deploy(
        organisation, behaviour, data.version, plan, actor=request.user.principal, reason=data.reason
    )
    return _deployment(node, deployment)


@post(
    "/behaviours/{behaviour:str}/{verb:str}", status_code=200, summary="Promote, roll back or stop", tags=["behaviours"]
)
async def change_deployment(
    request: Request[Any, Any, Any],
    node: TheNode,
    behaviour: FromPath[str],
    verb: FromPath[str],
    data: JSONBody[BehaviourWord | None] = None,
) -> DeploymentView:
    """``promote`` the canary to all, ``roll-back`` to the version before, or ``stop`` the behaviour."""
    organisation, behaviours = request.user.organisation, node.agents.behaviours
    node.authority.on_organisation(request.user, "behaviour.deploy", organisation)
    work = {"promote": behaviours.promote, "roll-back": behaviours.roll_back, "stop": behaviours.stop}.get(verb)
    if work is None:
        raise NotFound("promote, roll-back or stop")
    reason = (data.reason if data else "") or "by hand"
    deployment = await work(behaviours.deployment(organisation, behaviour), actor=request.user.principal, reason=reason)
    return _deployment(node, deployment)


def _view(node: Node, package: Package, behaviour: Behaviour) -> BehaviourView:
    deployment = node.agents.behaviours.deployments.get(f"{package.organisation}/{behaviour.name}")
    rights = Permissions(
        list(behaviour.listens), list(behaviour.derives), list(behaviour.sets), behaviour.alarms, behaviour.max_steps
    )
    bad = deployment is not None and behaviour.version in deployment.bad
    return BehaviourView(
        behaviour.name, behaviour.version, behaviour.title, behaviour.model, rights, package.publisher, package.kid,
        package.digest, format_rfc3339(package.published_us), bad,
    )  # fmt: skip


def _deployment(node: Node, now: Deployment) -> DeploymentView:
    changes = [
        DeploymentChange(format_rfc3339(one.at_us), one.what, one.version, one.by, one.reason) for one in now.changes
    ]
    return DeploymentView(
        now.name, now.model, now.state, now.version, now.canary, now.before, now.plan.share,
        format_rfc3339(now.since_us), [_health(node, now, one) for one in (now.version, now.canary) if one], changes,
    )  # fmt: skip


def _health(node: Node, now: Deployment, version: str) -> HealthView:
    name = program(now.organisation, now.name, version)
    known = node.agents.watch.health.get(name)
    if known is None:
        return HealthView(version, 0, 0, 0.0, "")
    steps = round(known.steps / known.calls, 1) if known.calls else 0.0
    return HealthView(version, known.calls, known.faults, steps, node.agents.watch.faults.get(name, ""))
