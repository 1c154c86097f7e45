"""The parts of live pages, and how to look whether one changed. What it shows the page asks for again by itself."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import suppress
from functools import cache

from gridspine.apps.api.status import status_view
from gridspine.apps.node.behaviours import program
from gridspine.apps.node.edge_link import edge_of
from gridspine.apps.node.node import Node
from gridspine.apps.portal.connection import look_at
from gridspine.infra.identity.caller import Caller
from gridspine.kernel.errors import NotFound
from gridspine.things.command import Command
from gridspine.things.directory import Thing

Look = Callable[[], Hashable]


def looks(
    node: Node, caller: Caller, thing: Thing | None, grant: str, behaviour: str = "", commands: Sequence[str] = ()
) -> dict[str, Look]:
    """Return how to look at each part, by name.

    They are of ``caller``'s organisation: its ``thing``, ``grant``, ``behaviour`` and ``commands`` of an order.
    """
    own = caller.organisation

    @cache
    def edges() -> list[str]:
        served = (one for one in node.things.of_adapter("edge") if one.organisation == own)
        return sorted({edge for one in served if (edge := edge_of(one))})

    return {
        "alarms": lambda: _alarms(node, own),
        "stop": lambda: node.commands.commander.stopped,
        "commands": lambda: _commands(node, thing),
        "waiting": lambda: (
            tuple(one.id for one in node.commands.commander.awaiting()),
            tuple(sorted(node.intake.standings.counts().items())),
        ),
        "edges": lambda: tuple((edge, node.edges.state(edge).connected) for edge in edges()),
        "connections": look_at(node, own),
        "channels": lambda: _held(node, thing) if thing else (),
        "life": lambda: thing and node.intake.standings.state(thing.id),
        "grant": lambda: _grant(node, grant),
        "grants": lambda: _grants(node, own),
        "behaviour": lambda: _behaviour(node, f"{own}/{behaviour}"),
        "order": lambda: sum(len(one.changes) for one in _known(node, commands)),
        "status": lambda: tuple(status_view(node).wrong),
    }


def _behaviour(node: Node, id: str) -> Hashable:
    """Return how a behaviour is let out, and how it does: each fault counts, of the calls every twentieth."""
    now = node.agents.behaviours.deployments.get(id)
    if now is None:
        return None
    known = [
        node.agents.watch.health.get(program(now.organisation, now.name, version))
        for version in (now.version, now.canary)
    ]
    return (
        now.state,
        now.canary,
        len(now.changes),
        tuple((one.faults, one.calls // 20) if one else (0, 0) for one in known),
    )


def _known(node: Node, commands: Sequence[str]) -> Iterator[Command]:
    for id_ in commands:
        with suppress(NotFound):  # long over
            yield node.commands.commander.command(id_)


def _commands(node: Node, thing: Thing | None) -> Hashable:
    known = node.commands.commander.commands(thing.id if thing else "")
    return tuple((command.id, len(command.changes)) for command in known)


def _grant(node: Node, grant: str) -> Hashable:
    now = node.gate.grant(grant)
    return now and (now.epoch, now.why_not(node.clock.now_us()))


def _grants(node: Node, organisation: str) -> Hashable:
    now_us = node.clock.now_us()
    return tuple((known.id, known.why_not(now_us)) for known in node.access.grants_of(organisation))


def _alarms(node: Node, organisation: str) -> Hashable:
    raised = node.alarms.of(organisation)
    return tuple((alarm.number, alarm.kind, alarm.active, alarm.acknowledged_by) for alarm in raised)


def _held(node: Node, thing: Thing) -> Hashable:
    """Return what changes who has a Thing in hand, and what it is told or planned to do."""
    commander, now_us = node.commands.commander, node.clock.now_us()
    channels, points = node.twins.channels, range(thing.first, thing.first + len(thing.points))
    return (
        _commands(node, thing),
        commander.local(thing.id),
        tuple(tag.id for tag in commander.tags(thing.id, now_us)),
        node.forms.forms.get(thing.id),
        tuple(tuple(one and one.observed_us for one in channels.planned(point, now_us)) for point in points),
    )
