"""Reports of commissioning: what was looked at, what was found, and what became of the test; kept, and receipted."""

from collections.abc import Sequence

import msgspec

from gridspine.infra.registry.port import Registry, Transaction
from gridspine.infra.runtime.clock import Clock, new_urn
from gridspine.kernel.errors import Invalid, NotFound
from gridspine.kernel.time import US
from gridspine.things.commissioning import Finding, Unchecked
from gridspine.things.lifecycle_book import Lifecycles
from gridspine.things.observed import Role
from gridspine.things.thing import Thing

MAX_REPORTS = 50
"""Reports one Thing keeps; the oldest go, the ledger has that they were."""
MAX_TEST_S = 600.0
MAX_WINDOW_S = 24 * 3600


class Consent(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Who agreed to a test command, in which words, and from when until when [RFC 3339] it may be made.

    ``safe`` says what makes the moment safe: nobody works on it, the battery is half full, the house is warned.
    """

    by: str
    words: str
    safe: str
    from_: str = msgspec.field(name="from")
    until: str


class Report(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A commissioning report: ``since_us`` … ``at_us`` [µs since 1970] was looked at, ``readings`` of each point.

    ``cut``: there was more than was looked at. ``command`` is the test's, "" without one; ``consent`` whose word it
    rests on.
    """

    id: str
    thing: str
    organisation: str
    model: str
    by: str
    since_us: int
    at_us: int
    role: Role
    readings: dict[str, int]
    refused: dict[str, int]
    findings: tuple[Finding, ...]
    made: tuple[str, ...]
    unchecked: tuple[Unchecked, ...]
    cut: bool = False
    command: str = ""
    consent: Consent | None = None

    @property
    def passed(self) -> bool:
        """Whether nothing was found that keeps the device from being commissioned."""
        return not any(one.severity == "fault" for one in self.findings)


class ReportsOf(msgspec.Struct, frozen=True):
    """The reports of a Thing, the newest last."""

    ids: tuple[str, ...] = ()


class Reports:
    """The book of reports."""

    def __init__(self, registry: Registry, lives: Lifecycles, clock: Clock) -> None:
        self._registry, self._lives, self._clock = registry, lives, clock

    async def keep(self, report: Report) -> Report:
        """Keep a report; return it with its id."""
        report = msgspec.structs.replace(report, id=new_urn(self._clock))

        def work(tx: Transaction) -> Report:
            of_id = f"{report.organisation}/{report.thing}"
            held = (tx.get(ReportsOf, of_id) or ReportsOf()).ids
            for old in held[: max(len(held) - MAX_REPORTS + 1, 0)]:
                tx.delete(Report, old)
            kept = (*held[-MAX_REPORTS + 1 :], report.id)
            tx.put(report, id=report.id, owner=report.organisation)
            tx.put(ReportsOf(kept), id=of_id, owner=report.organisation)
            told = {
                "report": report.id, "passed": report.passed, "findings": [one.code for one in report.findings],
                "words": [one.words for one in report.findings][:20], "made": list(report.made),
                "command": report.command,
            }  # fmt: skip
            self._lives.emit(tx, report.thing, "thing.examined", report.by, told, report.organisation)
            return report

        return await self._registry.run(work)

    async def get(self, thing: Thing, id: str) -> Report:
        """Return a report of a Thing that its present owner had made; raise `NotFound`."""
        found = await self._registry.run(lambda tx: tx.get(Report, id), write=False)
        if found is None or (found.thing, found.organisation) != (thing.id, thing.organisation):
            raise NotFound("the Thing has no such report")
        return found

    async def of(self, thing: Thing) -> Sequence[Report]:
        """Return the reports of a Thing, the newest first."""

        def work(tx: Transaction) -> list[Report]:
            held = tx.get(ReportsOf, f"{thing.organisation}/{thing.id}") or ReportsOf()
            return [one for id_ in reversed(held.ids) if (one := tx.get(Report, id_)) is not None]

        return await self._registry.run(work, write=False)


def check_consent(consent: Consent, window: tuple[int, int], now_us: int, until_us: int) -> None:
    """Raise `Invalid` unless ``consent`` covers a test from now until ``until_us`` [µs since 1970]."""
    for name, text in (("by", consent.by), ("words", consent.words), ("safe", consent.safe)):
        if not 0 < len(text.strip()) <= 500:
            raise Invalid(
                f"consent.{name}: 1 to 500 characters are needed: a test moves a device, somebody agrees to it"
            )
    start, end = window
    if not 0 < end - start <= MAX_WINDOW_S * US:
        raise Invalid("consent: the window ends after it begins, and within a day")
    if not start <= now_us or until_us > end:
        raise Invalid("consent: the test must lie within the window that was agreed to")
