"""What is known of agents that sleep: which points are of interest, who has which behaviour, their states."""

from pathlib import Path

import msgspec
import numpy as np
import structlog

from gridspine.apps.node.behaviours import Behaviours, program
from gridspine.infra.runtime.durable import write_whole
from gridspine.kernel.readings import BoolArray, Int64Array
from gridspine.things.agent import States
from gridspine.things.point import PointTable
from gridspine.things.rollout import Deployment

log = structlog.get_logger(__name__)


class AgentBook:
    """The agents of a node, asleep; their states are written to ``path`` now and then.

    What was not written when the node died is lost: an agent then goes on from an older state.
    """

    def __init__(self, behaviours: Behaviours, points: PointTable, path: Path) -> None:
        self._behaviours, self._points, self._path = behaviours, points, path
        self.states: dict[str, States] = {}
        """By deployment."""
        self.by_model: dict[tuple[str, str], list[Deployment]] = {}
        """Deployments that are not stopped, by organisation and Thing Model."""
        self.interest: BoolArray = np.zeros(0, np.bool_)
        """For each rule of the point table whether a behaviour listens to its points; the last stands for the rest."""
        self.commanded: set[str] = set()
        """Thing Models with a behaviour that wakes on orders."""

    def load(self) -> None:
        """Read the states; blocks."""
        kept: dict[str, dict[str, bytes]] = {}
        if self._path.exists():
            try:
                kept = msgspec.msgpack.decode(self._path.read_bytes(), type=dict[str, dict[str, bytes]])
            except msgspec.MsgspecError as error:
                log.warning("the agents' states cannot be read: they begin anew", error=str(error))
        for id_, states in kept.items():
            held = self.states.setdefault(id_, States())
            for urn, packed in states.items():
                if (number := self._points.thing_number(urn)) >= 0:
                    held.load(number, packed)
        self.refresh()

    def save(self) -> None:
        """Write the states; blocks."""
        if not any(map(len, self.states.values())) and not self._path.exists():
            return
        names = self._points.things()
        kept = {id_: {names[n]: packed for n, packed in states.items()} for id_, states in self.states.items()}
        write_whole(self._path, msgspec.msgpack.encode(kept))

    def refresh(self) -> None:
        """Find out anew what is of interest."""
        self.by_model = {}
        self.commanded.clear()
        rows: list[int] = []
        known = {id(point): row for row, point in enumerate(self._points.rules.points)}
        for deployment in self._behaviours.deployments.values():
            if deployment.state == "stopped":
                continue
            self.by_model.setdefault((deployment.organisation, deployment.model), []).append(deployment)
            model = self._points.model(deployment.model)
            resident = False
            for version in filter(None, (deployment.version, deployment.canary)):
                behaviour = self._behaviours.behaviour(deployment.organisation, deployment.name, version)
                rows += [known[id(p)] for p in (model.points if model else ()) if p.name in behaviour.listens]
                resident = resident or behaviour.resident
                if behaviour.commands:
                    self.commanded.add(deployment.model)
            self._keep_states(deployment.id, resident=resident)
        self.interest = np.zeros(max(rows) + 2 if rows else 0, np.bool_)
        self.interest[rows] = True

    def programs(self) -> set[str]:
        """Return the versions that some Thing may have, by `program`."""
        active = [one for several in self.by_model.values() for one in several]
        return {program(one.organisation, one.name, v) for one in active for v in (one.version, one.canary) if v}

    def of(self, thing: int) -> list[Deployment]:
        """Return the deployments that a Thing (by its number) is among; none for one that is retired."""
        if not self.by_model:
            return []
        found = self._points.thing_points(self._points.things()[thing])
        if found is None:
            return []
        return self.by_model.get((self._points.owner_of(thing), found[1].id), [])

    def members(self, deployment: Deployment) -> Int64Array:
        """Return the Things of a deployment, by their numbers."""
        block = self._points.block()
        models, owners = list(block.models), list(block.organisations)
        if deployment.model not in models or deployment.organisation not in owners:
            return np.zeros(0, np.int64)
        mine = (block.model == models.index(deployment.model)) & (
            block.organisation == owners.index(deployment.organisation)
        )
        return np.flatnonzero(mine)

    def _keep_states(self, id_: str, *, resident: bool) -> None:
        kept = self.states.get(id_)
        if kept is None or kept.resident is not resident:
            self.states[id_] = States(resident=resident)
            for thing, packed in kept.items() if kept is not None else ():
                self.states[id_].load(thing, packed)
