"""What agents bring about: derived readings, set-points and alarms, each under the name of the behaviour.

Derived readings are estimated, by their quality: they confirm no command. A set-point has the authority *service*, the
weakest: whatever anyone else asks for comes first, and limits hold.
"""

import asyncio
from typing import Any

import structlog

from gridspine.apps.node.alarms import Alarms
from gridspine.apps.node.commands import Commands
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import GridspineError
from gridspine.kernel.quality import Quality
from gridspine.kernel.readings import Channel, named_readings
from gridspine.kernel.time import US
from gridspine.things.adapter import Order, Source
from gridspine.things.approval import BEHAVIOUR
from gridspine.things.behaviour import Answer, Behaviour, Wanted
from gridspine.things.intake import Intake
from gridspine.things.lease import Authority
from gridspine.things.point import PointTable

SOURCE = BEHAVIOUR
_ESTIMATED = int(Quality.ESTIMATED)
_MAX_ASKED = 200_000
log = structlog.get_logger(__name__)


class Effects:
    """Gathers what agents answer, and brings it about when all of a go have answered."""

    def __init__(self, intake: Intake, commands: Commands, alarms: Alarms, points: PointTable, clock: Clock) -> None:
        self._intake, self._commands, self._alarms = intake, commands, alarms
        self._points, self._clock = points, clock
        self._derived: dict[tuple[str, str, Channel], list[tuple[str, str, int, float, int]]] = {}
        self._wanted: list[tuple[str, str, str, Wanted]] = []
        self._asked: dict[tuple[str, str, str], tuple[float, int]] = {}

    def own(self, order: Order) -> bool:
        """Whether an order is a behaviour's doing."""
        try:
            principal = self._commands.commander.command(order.command).lease.principal
        except GridspineError:
            return False
        return principal.startswith(SOURCE)

    def take(
        self, urn: str, organisation: str, behaviour: Behaviour, channel: Channel, points: dict[str, Any],
        answer: Answer,
    ) -> None:  # fmt: skip
        """Gather an answer's effects; alarms are raised at once, and by what was reported only."""
        name = f"{SOURCE}{behaviour.name}@{behaviour.version}"
        now_us = self._clock.now_us()
        if answer.derived:
            rows = self._derived.setdefault((name, organisation, channel), [])
            rows += [(f"{urn}/{point}", "", now_us, value, _ESTIMATED) for point, value in answer.derived.items()]
        principal = f"{SOURCE}{organisation}/{behaviour.name}@{behaviour.version}"
        self._wanted += [(principal, urn, point, wanted) for point, wanted in answer.set.items()]
        if channel is Channel.REPORTED:
            for point, met in answer.alarms.items():
                seen = points.get(point) or {}
                value = float(seen.get("value", answer.derived.get(point, float("nan"))))
                self._alarms.on_judged(self._points.number(f"{urn}/{point}"), met, now_us, value)

    async def flush(self) -> None:
        """Hand in what was derived, and ask for the set-points; what cannot be done is logged, and is not a fault."""
        derived, self._derived = self._derived, {}
        wanted, self._wanted = self._wanted, []
        for (name, organisation, channel), rows in derived.items():
            try:
                source = Source(name, organisation, name)
                outcome = await self._intake.submit(named_readings(rows), source, channel=channel)
                if outcome.refused:
                    log.warning("derived readings were refused", behaviour=name, first=outcome.problems[0].detail)
            except GridspineError as error:
                log.warning("derived readings could not be kept", behaviour=name, why=error.detail)
        if wanted:
            await asyncio.gather(*(self._ask(*one) for one in wanted))

    async def _ask(self, name: str, urn: str, point: str, wanted: Wanted) -> None:
        """Ask for a set-point, unless the same one holds for more than half of its time still."""
        now_us, length_us = self._clock.now_us(), round(wanted.duration_s * US)
        value, until_us = self._asked.get((name, urn, point), (None, 0))
        if value == wanted.value and until_us - now_us > length_us // 2:
            return
        lease = self._commands.new_lease(
            thing=urn, point=point, value=wanted.value, role="setpoint", authority=Authority.SERVICE, principal=name,
            from_us=now_us, until_us=now_us + length_us,
        )  # fmt: skip
        try:
            command = await self._commands.request(lease, "")
        except GridspineError as error:
            log.warning("a behaviour's set-point could not be asked for", behaviour=name, thing=urn, why=error.detail)
            return
        if command.state == "refused":
            log.info("a behaviour's set-point was refused", behaviour=name, thing=urn, why=command.reason)
        if len(self._asked) >= _MAX_ASKED:
            self._asked.clear()
        self._asked[name, urn, point] = (wanted.value, now_us + length_us)
