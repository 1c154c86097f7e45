"""Settlement at work: registers are read where an accepted bid begins and ends, and one line is made of the two.

::

    begins ─► read now ─► record of the start ─┐
    ends ───► read now ─► record of the end ───┴─► line ──── a late reading ─► record ─► line that supersedes it

Nothing of it is kept but documents, whose ids follow from the bid: after a start, whenever it was ended, it goes on,
and settles once. A device that reports by itself is not asked: its readings around the instant serve.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import structlog

from gridspine.apps.node.bids import MAX_CORRECTIONS, Bids, part_of
from gridspine.apps.node.read_now import Reads
from gridspine.apps.node.registers import Registers
from gridspine.energy.bid import Bid, Verb
from gridspine.energy.register_record import RegisterRecord, Which
from gridspine.energy.settlement_line import MeterExchanged, exchanged, settle
from gridspine.infra.registry.port import Registry
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import Conflict, GridspineError, NotFound
from gridspine.kernel.readings import Channel, Int32Array
from gridspine.kernel.time import US
from gridspine.things.books import Committed
from gridspine.things.directory import Directory
from gridspine.things.intake import Intake
from gridspine.things.meter_exchange import Exchanges
from gridspine.things.point import PointTable

LOOK_S, RETRY_US, CORRECT_US = 0.5, 2 * US, 30 * US
"""How often what is due is looked for [s]; how soon readings are looked at again; how soon for a correction."""
_READS_AT_ONCE, _CORRECTED_AT_ONCE, _SETTLED_AT_ONCE = 200, 20, 32
_ENDS: tuple[Which, ...] = ("start", "end")
log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Case:
    """A bid that is to be settled, or may yet be corrected; ``news``: where a reading came that may count."""

    bid: Bid
    asked: set[Which] = field(default_factory=set)
    news: set[Which] = field(default_factory=lambda: set(_ENDS))
    looked_us: dict[Which, int] = field(default_factory=dict)

    def at_us(self, which: Which) -> int:
        """When it begins, or ends [µs since 1970]."""
        return self.bid.from_us if which == "start" else self.bid.until_us

    def hear(self, observed_us: int) -> None:
        """Note a reading of then where it may be one that the bid is settled by."""
        apart_us = (self.bid.wait_s if self.bid.estimate == "interpolate" else self.bid.tolerance_s) * US
        self.news.update(which for which in _ENDS if abs(observed_us - self.at_us(which)) <= apart_us)


class SettlementDesk:
    """Settles bids. Lives on the event loop."""

    def __init__(
        self, registry: Registry, bids: Bids, registers: Registers, things: Directory, points: PointTable,
        intake: Intake, clock: Clock,
    ) -> None:  # fmt: skip
        self._registry, self._bids, self._registers = registry, bids, registers
        self._things, self._points, self._intake, self._clock = things, points, intake, clock
        self._cases: dict[str, _Case] = {}
        self._by_number: dict[int, list[_Case]] | None = None
        self._numbers: Int32Array = np.empty(0, np.int32)
        self._reading = 0
        intake.books.listeners.append(self.on_committed)

    def load(self) -> None:
        """Take up all bids that are accepted and not over."""
        now_us = self._clock.now_us()
        for bid in self._bids.book.kept.values():
            if bid.state == "accepted" and not self._bids.over(bid, now_us):
                self.watch(bid)

    def watch(self, bid: Bid) -> None:
        """See to a bid that was accepted."""
        self._cases[bid.id] = _Case(bid)
        self._by_number = None

    async def decide(self, bid: Bid, verb: Verb, actor: str, reason: str) -> Bid:
        """Accept, refuse or withdraw a bid; an accepted one is seen to. Raises `Conflict` as `Bids.decide`."""
        try:
            return await self._bids.decide(bid, verb, actor, reason)
        finally:  # it may be accepted although the log did not take that at once
            known = self._bids.book.kept.get(bid.id)
            if known is not None and known.state == "accepted" and known.id not in self._cases:
                self.watch(known)

    def changed(self, meter: str) -> None:
        """Look again at what is settled by a meter: it was exchanged."""
        for case in self._cases.values():
            if case.bid.meter == meter:
                case.news.update(_ENDS)

    def on_committed(self, committed: Committed) -> None:
        """Note that readings came that may count, also late ones and those of a backlog."""
        accepted = committed.screened.accepted
        if not self._cases or accepted.channel is not Channel.REPORTED or not len(accepted):
            return
        by_number = self._watched()
        for at in np.flatnonzero(np.isin(accepted.point, self._numbers)).tolist():
            observed_us = int(accepted.observed_us[at])
            for case in by_number[int(accepted.point[at])]:
                case.hear(observed_us)

    async def work(self, reads: Reads) -> None:
        """Read meters at their instants and settle what is due, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._settle_all())
            while True:
                self._read_due(reads, group)
                await self._clock.sleep(self._pause_s())

    # -- reading ------------------------------------------------------------------------------------------------

    def _read_due(self, reads: Reads, group: asyncio.TaskGroup) -> None:
        now_us = self._clock.now_us()
        for case, which in self._instants():
            late_us = now_us - case.at_us(which)
            if 0 <= late_us <= case.bid.tolerance_s * US and self._reading < _READS_AT_ONCE:
                case.asked.add(which)
                self._reading += 1
                group.create_task(self._read(reads, case, which))

    async def _read(self, reads: Reads, case: _Case, which: Which) -> None:
        try:
            await reads.read(case.bid.meter, case.bid.registers)
        except (Conflict, NotFound):
            pass  # it reports by itself, or is gone: what was read around the instant serves
        except GridspineError as error:
            log.info("a meter could not be read for a settlement", bid=case.bid.id, why=error.detail)
            await self._clock.sleep(LOOK_S)
            case.asked.discard(which)
        except Exception:
            log.exception("a meter could not be read for a settlement", bid=case.bid.id)
        finally:
            self._reading -= 1

    def _instants(self) -> Iterator[tuple[_Case, Which]]:
        """Yield where a meter may yet have to be read."""
        for case in self._cases.values():
            for which in _ENDS:
                if which not in case.asked and not self._bids.records(case.bid.id, which):
                    yield case, which

    def _pause_s(self) -> float:
        """Return how long there is nothing to do [s]: until the next instant, but not for long: a clock can be set."""
        now_us = self._clock.now_us()
        coming = (case.at_us(which) - now_us for case, which in self._instants())
        return min([LOOK_S, *(one / US for one in coming if one > 0)])

    # -- settling -----------------------------------------------------------------------------------------------

    async def _settle_all(self) -> None:
        while True:
            settled = [one for one in self._cases.values() if self._bids.lines(one.bid.id)]
            now_us = self._clock.now_us()
            open_ = [one for one in self._cases.values() if not self._bids.lines(one.bid.id)]
            await self._see_to_all([one for one in open_ if now_us >= one.bid.from_us])
            # After a start all may want to be looked at again: what is to be settled first does not wait for them.
            await self._see_to_all([one for one in settled if one.news][:_CORRECTED_AT_ONCE])
            for case in settled:
                if self._bids.over(case.bid, self._clock.now_us()):
                    del self._cases[case.bid.id]
                    self._by_number = None
            await self._clock.sleep(LOOK_S)

    async def _see_to_all(self, cases: Sequence[_Case]) -> None:
        """See to bids, some at once: many begin and end at one instant, and each waits for disks and registers."""
        for part in (cases[at : at + _SETTLED_AT_ONCE] for at in range(0, len(cases), _SETTLED_AT_ONCE)):
            await asyncio.gather(*map(self._see_to, part))

    async def _see_to(self, case: _Case) -> None:
        """Make the records and the line of a bid as far as they can be made; one that fails stops no other."""
        now_us, bid = self._clock.now_us(), case.bid
        if now_us < bid.from_us:
            return
        try:
            if not self._bids.lines(bid.id):
                await self._settle(case, now_us)
            elif case.news:
                await self._correct(case)
        except GridspineError as error:
            log.warning("a bid could not be settled: tried again", bid=bid.id, why=error.detail)
        except Exception:
            log.exception("a bid could not be settled: tried again", bid=bid.id)

    async def _settle(self, case: _Case, now_us: int) -> None:
        for which in _ENDS:
            if now_us >= case.at_us(which) and not self._bids.records(case.bid.id, which):
                await self._first_record(case, which, now_us)
        if all(self._bids.records(case.bid.id, which) for which in _ENDS):
            await self._keep_line(case.bid)

    async def _first_record(self, case: _Case, which: Which, now_us: int) -> None:
        """Keep what the registers were, as soon as it is known; what is not known in time is kept as missing."""
        late_us = now_us - case.at_us(which)
        given_up = late_us >= case.bid.wait_s * US
        ready = which in case.news and (late_us > case.bid.tolerance_s * US or self._heard_of(case, which))
        if not (given_up or ready) or self._recently(case, which, RETRY_US):
            return
        case.news.discard(which)
        try:
            found = await self._record(case.bid, which, None)
            if given_up or not (found.missing or any(one.estimated for one in found.readings)):
                await self._bids.keep("register-record.kept", found)
        except BaseException:
            case.news.add(which)
            raise

    def _recently(self, case: _Case, which: Which, apart_us: int) -> bool:
        """Whether the readings were looked at just now; if not, they are now."""
        now_us = self._clock.monotonic_us()
        if now_us - case.looked_us.get(which, -apart_us) < apart_us:
            return True
        case.looked_us[which] = now_us
        return False

    def _heard_of(self, case: _Case, which: Which) -> bool:
        """Whether all registers were read at the instant or since: nothing nearer is to come by itself."""
        numbers = [self._points.number(f"{case.bid.meter}/{name}") for name in case.bid.registers]
        twins = self._intake.books.twins
        return all(number >= 0 and twins.get(number).observed_us >= case.at_us(which) for number in numbers)

    async def _correct(self, case: _Case) -> None:
        due = [which for which in _ENDS if which in case.news and not self._recently(case, which, CORRECT_US)]
        case.news.difference_update(due)
        try:
            for which in due:
                last = self._bids.records(case.bid.id, which)[-1]
                found = await self._record(case.bid, which, last)
                if not found.same(last) and found.number <= MAX_CORRECTIONS:
                    await self._bids.keep("register-record.kept", found)
            if due:
                await self._keep_line(case.bid)
        except BaseException:
            case.news.update(due)
            raise

    async def _record(self, bid: Bid, which: Which, last: RegisterRecord | None) -> RegisterRecord:
        number = 0 if last is None else last.number + 1
        supersedes = "" if last is None else last.id
        id_ = part_of(bid.id, which, number)
        return await self._registers.record(bid, which, id=id_, number=number, supersedes=supersedes)

    async def _keep_line(self, bid: Bid) -> None:
        """Keep the line that the latest records come to, unless the last one says the same."""
        lines = self._bids.lines(bid.id)
        start, end = (self._bids.records(bid.id, which)[-1] for which in _ENDS)
        number, supersedes = (lines[-1].number + 1, lines[-1].id) if lines else (0, "")
        if number > MAX_CORRECTIONS:
            return
        line = settle(
            bid, start, end, await self._exchanges(bid), id=part_of(bid.id, "line", number), number=number,
            supersedes=supersedes, made_us=self._clock.now_us(),
        )  # fmt: skip
        if not lines or not line.same(lines[-1]):
            await self._bids.keep("settlement-line.made", line)

    async def _exchanges(self, bid: Bid) -> list[MeterExchanged]:
        thing = self._things.roll.get(bid.meter)
        kept = await self._registry.run(lambda tx: tx.get(Exchanges, bid.meter), write=False)
        if thing is None or kept is None:
            return []
        return [exchanged(one) for one in kept.list if one.at_us >= thing.owned_since_us]

    def _watched(self) -> dict[int, list[_Case]]:
        if self._by_number is None:
            self._by_number = {}
            for case in self._cases.values():
                for name in case.bid.registers:
                    self._by_number.setdefault(self._points.number(f"{case.bid.meter}/{name}"), []).append(case)
            self._by_number.pop(-1, None)
            self._numbers = np.array(sorted(self._by_number), np.int32)
        return self._by_number
