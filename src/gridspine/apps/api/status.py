"""Health, readiness and status."""

from typing import Any

import msgspec
from litestar import Request, Response, get

from gridspine import __version__
from gridspine.apps.api.authenticate import PUBLIC
from gridspine.apps.api.dependency import TheNode
from gridspine.apps.node.checks import look
from gridspine.apps.node.condition import CRITICAL, Condition
from gridspine.apps.node.node import Node
from gridspine.kernel.time import format_rfc3339


class TaskView(msgspec.Struct, frozen=True):
    """How one of the node's tasks is doing."""

    name: str
    running: bool
    failures: int
    restarts: int
    error: str


class PartView(msgspec.Struct, frozen=True, rename="camel"):
    """How a part of the node is doing (``ok``, ``warn``, ``fail``), since when, and what somebody should do."""

    part: str
    state: str
    since: str
    what: str
    to_do: str


class StatusView(msgspec.Struct, frozen=True, rename="camel"):
    """What the node is and how it is doing; ``wrong`` lists in words what needs somebody."""

    version: str
    organisation: str
    time: str
    demo: bool
    things: int
    points: int
    readings: dict[str, int]
    stored: int
    delivered: int
    streams: int
    disk_full: bool
    parts: list[PartView]
    tasks: list[TaskView]
    listening: dict[str, str]
    quarantined: list[str]
    wrong: list[str]


@get("/health", opt=PUBLIC, summary="Is the process alive?", tags=["node"])
async def health() -> dict[str, str]:
    """Answer as long as the process does."""
    return {"status": "up"}


@get("/ready", opt=PUBLIC, summary="Does the node take readings?", tags=["node"])
async def ready(node: TheNode) -> Response[dict[str, str]]:
    """Answer 200 when readings are taken, 503 when not: the node stops, the disk is full, or log or registry fail."""
    if node.stopping:
        return Response({"status": "stopping"}, status_code=503)
    if node.room.full:
        return Response({"status": "disk full"}, status_code=503)
    # What was found of the disk may be some seconds old; the room itself was asked above.
    failing = [part for part in CRITICAL if part != "disk" and node.conditions.state(part) == "fail"]
    if failing:
        return Response({"status": f"{' and '.join(failing)} failing"}, status_code=503)
    return Response({"status": "ready"})


@get("/status", summary="What the node is doing, and what is wrong", tags=["node"])
async def status(request: Request[Any, Any, Any], node: TheNode) -> StatusView:
    """Return the node's status; for those who may watch it."""
    node.authority.on_node(request.user, "status.read")
    node.conditions.note(await look(node))
    return status_view(node)


def status_view(node: Node) -> StatusView:
    """Return the node's status, its parts as they were last looked at."""
    tasks = [TaskView(t.name, t.running, t.failures, t.restarts, t.error) for t in node.supervisor.states()]
    totals = node.intake.books.totals
    return StatusView(
        version=__version__,
        organisation=node.organisation,
        time=format_rfc3339(node.clock.now_us()),
        demo=node.settings.demo,
        things=node.points.thing_count,
        points=len(node.points),
        readings={name: getattr(totals, name) for name in totals.__slots__},
        stored=node.stored,
        delivered=node.hub.delivered,
        streams=node.hub.subscriptions,
        disk_full=node.room.full,
        parts=[_part(condition) for condition in node.conditions.all],
        tasks=tasks,
        listening={name: f"{host}:{port}" for name, (host, port) in node.adapters.listening.items()},
        quarantined=sorted(node.offences.quarantined_principals()),
        wrong=node.conditions.wrong,
    )


def _part(condition: Condition) -> PartView:
    found = condition.finding
    return PartView(found.part, found.state, format_rfc3339(condition.since_us), found.what, found.to_do)
