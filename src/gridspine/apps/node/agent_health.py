"""How the versions of behaviours do, and what is done about it without anyone's help."""

from collections import defaultdict

import structlog

from gridspine.apps.node.alarms import INCIDENT_WITHIN_US
from gridspine.apps.node.behaviours import Behaviours, program
from gridspine.infra.runtime.clock import Clock
from gridspine.infra.runtime.starlark_wire import Fault
from gridspine.kernel.errors import GridspineError
from gridspine.things.incident import Incidents
from gridspine.things.rollout import Deployment, Health, judge

log = structlog.get_logger(__name__)


class HealthWatch:
    """Counts calls, faults and steps of each version, promotes what proves itself and takes back what does not."""

    def __init__(self, behaviours: Behaviours, incidents: Incidents, clock: Clock) -> None:
        self._behaviours, self._incidents, self._clock = behaviours, incidents, clock
        self.health: dict[str, Health] = defaultdict(Health)
        """By `program`, since it was let out or the node started."""
        self.faults: dict[str, str] = {}
        """The last fault of each program, in words."""

    def begin(self, name: str) -> None:
        """Let a version begin with a clean sheet."""
        self.health[name] = Health()
        self.faults.pop(name, None)

    def call(self, name: str, steps: int) -> None:
        """Count a call."""
        health = self.health[name]
        health.calls += 1
        health.steps += steps

    def fault(self, name: str, fault: Fault, where: str) -> None:
        """Count a call as a fault."""
        line = "" if fault.line is None else f", line {fault.line}"
        self.health[name].faults += 1
        self.faults[name] = f"{where}: {fault.kind}: {fault.detail}{line}"

    async def judge_all(self) -> None:
        """Promote what proved itself, take back what did not."""
        for deployment in list(self._behaviours.deployments.values()):
            if deployment.state == "stopped":
                continue
            behaviour = self._behaviours.watched(deployment)
            name = program(deployment.organisation, behaviour.name, behaviour.version)
            verdict, reason = judge(deployment, self.health[name], behaviour.max_steps, self._clock.now_us())
            try:
                if verdict == "promote":
                    await self._behaviours.promote(deployment, actor="node", reason=reason)
                elif verdict == "back":
                    await self._take_back(deployment, name, reason)
            except GridspineError as error:
                log.warning("what a behaviour's health asks for could not be done", behaviour=name, why=error.detail)

    async def _take_back(self, deployment: Deployment, name: str, reason: str) -> None:
        """Roll a version back, and open an incident: somebody is to look at it."""
        last = self.faults.get(name, "none")
        log.error("a behaviour is rolled back", behaviour=name, why=reason, last=last)
        await self._behaviours.roll_back(deployment, actor="node", reason=reason)
        await self._incidents.open(
            name,
            organisation=deployment.organisation,
            title="A behaviour was rolled back",
            owner="operator on duty",
            deadline_us=self._clock.now_us() + INCIDENT_WITHIN_US,
            evidence=f"{reason}; last fault: {last}"[:2_000],
            actor="node",
            work_order="Mend it and publish a new version.",
        )
