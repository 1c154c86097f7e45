"""Examinations: a device's readings gathered, checked, and put into a report; with consent, a test of its control."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec

from gridspine.apps.node.commands import Commands
from gridspine.apps.node.lives import Lives
from gridspine.apps.node.witness import observed
from gridspine.infra.log.port import EventLog
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import Conflict, Invalid, NotFound, Overloaded
from gridspine.kernel.time import US, parse_rfc3339
from gridspine.things.checks import CHECKS
from gridspine.things.command import Command
from gridspine.things.commissioning import Examination, Finding, Unchecked, examine
from gridspine.things.commissioning_report import MAX_TEST_S, Consent, Report, check_consent
from gridspine.things.directory import Directory
from gridspine.things.lease import Authority
from gridspine.things.model import ThingModel
from gridspine.things.observed import Device, Observed, Role, role_of
from gridspine.things.thing import Thing

MAX_SPAN_S = 31 * 86_400
MAX_WAITING = 16
"""Who looks through the log, or waits to, at most: it costs a second or two of a busy node's time."""
_SHOWN_BY_READING = {"applied", "ended"}
_OVER = {"expired", "rejected", "failed", "refused", "cancelled", "superseded"}


class Test(msgspec.Struct, frozen=True, rename={"duration_s": "durationS"}, forbid_unknown_fields=True):
    """A test command: ``value`` [the point's unit] of ``point``, for ``durationS`` [s], upon somebody's consent."""

    __test__ = False
    point: str
    value: float
    consent: Consent
    duration_s: float = 60.0


class ExaminationQuestion(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What to examine, and what is known of the device from its plate; the rest is taken from its model.

    ``since`` (RFC 3339; an hour ago when ""), ``nameplate_w`` [W], ``nominal_v`` [V], ``nominal_hz`` [Hz],
    ``reference``: id of a point of another Thing that measures the same power.
    """

    since: str = ""
    role: Role | None = None
    nameplate_w: float | None = None
    nominal_v: float | None = None
    nominal_hz: float | None = None
    reference: str = ""
    test: Test | None = None


class Examinations:
    """Examines Things; ``lives`` keeps the reports."""

    def __init__(self, log: EventLog, things: Directory, commands: Commands, lives: Lives, clock: Clock) -> None:
        self._log, self._things, self._commands, self._lives, self._clock = log, things, commands, lives, clock
        self._one = asyncio.Lock()
        self._waiting = 0

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for the one place of those who look through the log; raise `Overloaded` when many wait for it."""
        if self._waiting >= MAX_WAITING:
            raise Overloaded(f"{MAX_WAITING} look through the log, or wait to", retry_after_s=5)
        self._waiting += 1
        try:
            async with self._one:
                yield
        finally:
            self._waiting -= 1

    async def examine(
        self, thing: Thing, question: ExaminationQuestion, *, by: str, reference: Thing | None = None
    ) -> Report:
        """Examine a Thing and keep the report; with a test, give the command: its effect shows in `judged` later.

        ``reference`` is the Thing that the question's reference is a point of. Raises `Invalid`, `Conflict`.
        """
        now_us, since_us = self._clock.now_us(), self._since(question)
        self._check_plate(question)
        model = self._things.model(thing)
        async with self.turn():
            points, cut = await asyncio.to_thread(observed, self._log, thing, model, since_us)
            other = None
            if reference is not None:
                other = await asyncio.to_thread(self._reference, reference, question, since_us)
        power = next(
            (p for p in points if (p.quantity, p.kind, p.phase) == ("active_power", "instantaneous", "all")), None
        )
        role = question.role or role_of(power)
        device = Device(points, role, question.nameplate_w, question.nominal_v, question.nominal_hz, other)
        found = await asyncio.to_thread(examine, device, CHECKS)
        command = await self._test(thing, model, question.test, by) if question.test is not None else None
        return await self._lives.reports.keep(
            _report(thing, by, (since_us, now_us), device, found, cut, command, question)
        )

    def judged(self, report: Report) -> Report:
        """Return a report with what became of its test: a finding when no reading showed it."""
        if not report.command:
            return report
        try:
            command = self._commands.commander.command(report.command)
        except NotFound:
            lacking = Unchecked("test", "what became of the test command is not remembered: see the Thing's history")
            return msgspec.structs.replace(report, unchecked=(*report.unchecked, lacking))
        states = {change.state for change in command.changes}
        if states & _SHOWN_BY_READING:
            return msgspec.structs.replace(report, made=(*report.made, "test"))
        if command.state not in _OVER:
            waits = Unchecked("test", f"the test command is {command.state}: look again when its time is over")
            return msgspec.structs.replace(report, unchecked=(*report.unchecked, waits))
        finding = Finding(
            "no-effect", "fault", (command.lease.point,),
            f"the test command was {command.state} ({command.reason or 'no reason'}) and no reading showed its effect",
            "look at the control's wiring and address map, at local control, and at the point that confirms it",
            {"value": command.lease.value},
        )  # fmt: skip
        return msgspec.structs.replace(report, findings=(*report.findings, finding), made=(*report.made, "test"))

    def _since(self, question: ExaminationQuestion) -> int:
        now_us = self._clock.now_us()
        since_us = parse_rfc3339(question.since) if question.since else now_us - 3_600 * US
        if not now_us - MAX_SPAN_S * US <= since_us < now_us:
            raise Invalid(f"since: lies in the past, at most {MAX_SPAN_S // 86_400} days ago")
        return since_us

    def _check_plate(self, question: ExaminationQuestion) -> None:
        for name in ("nameplate_w", "nominal_v", "nominal_hz"):
            value = getattr(question, name)
            if value is not None and not 0 < value < 1e12:
                raise Invalid(f"{name}: a positive number is needed")

    def _reference(self, thing: Thing, question: ExaminationQuestion, since_us: int) -> Observed:
        name = question.reference.partition("/")[2]
        points, _ = observed(self._log, thing, self._things.model(thing), since_us)
        for point in points:
            if point.name == name and (point.quantity, point.kind) == ("active_power", "instantaneous"):
                return point
        raise Invalid("reference: is no point of that Thing that measures active power")

    async def _test(self, thing: Thing, model: ThingModel, test: Test, by: str) -> Command:
        rule = next((point.lease for point in model.points if point.name == test.point), None)
        if rule is None:
            raise Invalid(f"test.point: {test.point[:64]!r} cannot be commanded")
        if not 1 <= test.duration_s <= MAX_TEST_S:
            raise Invalid(f"test.durationS: 1 to {MAX_TEST_S:.0f} seconds")
        now_us = self._clock.now_us()
        until_us = now_us + round(test.duration_s * US)
        consent = test.consent
        check_consent(consent, (parse_rfc3339(consent.from_), parse_rfc3339(consent.until)), now_us, until_us)
        if self._lives.lifecycles.standings.state(thing.id) not in {"described", "provisioned", "commissioned"}:
            raise Conflict("the Thing is not to be commanded now: resume it first")
        lease = self._commands.new_lease(
            thing=thing.id, point=test.point, value=test.value, role=rule.role, authority=Authority.OWNER, priority=0,
            from_us=now_us, until_us=until_us, principal=by,
        )  # fmt: skip
        self._lives.lifecycles.test_until(thing.id, until_us, lambda: self._runs(lease.command))
        return await self._commands.request(lease, "")

    def _runs(self, command: str) -> bool:
        try:
            return not self._commands.commander.command(command).final
        except NotFound:
            return True  # it is being asked for


def _report(
    thing: Thing, by: str, span: tuple[int, int], device: Device, found: Examination, cut: bool,
    command: Command | None, question: ExaminationQuestion,
) -> Report:  # fmt: skip
    findings = found.findings
    if command is not None and command.state == "refused":
        words = f"the test command was refused: {command.reason}"
        findings = (*findings, Finding("no-effect", "fault", (command.lease.point,), words, "see the reason", {}))
    return Report(
        id="", thing=thing.id, organisation=thing.organisation, model=thing.model, by=by, since_us=span[0],
        at_us=span[1], role=device.role, readings={one.name: len(one) for one in device.points},
        refused={one.name: int(one.refused.sum()) for one in device.points if one.refused.any()},
        findings=findings, made=found.made, unchecked=found.unchecked, cut=cut,
        command=command.id if command is not None and command.state != "refused" else "",
        consent=question.test.consent if question.test is not None else None,
    )  # fmt: skip
