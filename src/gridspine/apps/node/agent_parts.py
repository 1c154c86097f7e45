"""The parts that make agents, put together."""

from pathlib import Path

from gridspine.apps.node.agent_effects import Effects
from gridspine.apps.node.agents import Agents
from gridspine.apps.node.alarms import Alarms
from gridspine.apps.node.behaviours import Behaviours
from gridspine.apps.node.commands import Commands
from gridspine.apps.node.paths import Paths
from gridspine.infra.identity.directory import Directory as IdentityDirectory
from gridspine.infra.registry.port import Registry
from gridspine.infra.runtime.clock import Clock
from gridspine.infra.runtime.starlark_runner import Runner
from gridspine.things.incident import Incidents
from gridspine.things.intake import Intake
from gridspine.things.point import PointTable
from gridspine.things.twin import TwinState

CALL_S = 0.25
"""What one call may take [s of real time]; the steps it may take are some 10 ms of processor time."""


def make_agents(
    registry: Registry, identity: IdentityDirectory, intake: Intake, commands: Commands, alarms: Alarms,
    points: PointTable, twins: TwinState, incidents: Incidents, clock: Clock, root: Path,
) -> Agents:  # fmt: skip
    """Return the agents of a node whose data lie in ``root``; they hear of readings and orders from now on."""
    runner = Runner(wall_s=CALL_S)
    behaviours = Behaviours(registry, identity, points, runner, clock)
    effects = Effects(intake, commands, alarms, points, clock)
    agents = Agents(behaviours, effects, runner, points, twins, commands.forms, incidents, clock, Paths(root).agents)
    intake.books.listeners.append(agents.on_committed)
    commands.behind = behaviours.behind
    commands.listeners.append(agents.on_events)
    return agents
