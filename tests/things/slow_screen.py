"""The screen again, slow and obvious: dictionaries, and one reading at a time. What the real one must agree with."""

import copy
import math
from dataclasses import dataclass, field

from gridspine.kernel.quality import Quality
from gridspine.kernel.readings import Channel, Readings
from gridspine.kernel.time import MAX_US, US
from gridspine.things.model import PointModel

ACCEPTED, SUPPRESSED, DUPLICATE, REFUSED, HELD = range(5)
NOT_FINITE, FUTURE, IMPOSSIBLE, NOT_A_CODE, BAD_QUALITY = range(1, 6)
NEVER = -(1 << 62)


@dataclass
class Known:
    """What is known of one point."""

    value: float = math.nan
    observed_us: int = NEVER
    quality: int = 0
    pending: bool = False
    until_us: int = NEVER
    seen_value: float = math.nan
    seen_us: int = NEVER
    changes: list[int] = field(default_factory=list)
    flapping: bool = False


@dataclass
class Answer:
    verdict: list[int]
    reason: list[int]
    quality: list[int]
    beyond: list[bool]
    ended: list[tuple[int, int, int, int]]


def add(quality: int, *bits: Quality) -> int:
    validity = quality & 3 if quality & 3 == Quality.INVALID else int(Quality.QUESTIONABLE)
    return (quality & ~3) | validity | sum(bits)


class SlowScreen:
    def __init__(self, models: dict[int, PointModel]) -> None:
        self.models = models
        self.known: dict[int, Known] = {}
        self.horizon: set[tuple] = set()

    def snapshot(self) -> tuple:
        return copy.deepcopy((self.known, self.horizon))

    def restore(self, snapshot: tuple) -> None:
        self.known, self.horizon = copy.deepcopy(snapshot)

    def screen(self, batch: Readings) -> Answer:
        n = len(batch)
        answer = Answer([ACCEPTED] * n, [0] * n, batch.quality.tolist(), [False] * n, [])
        rows = list(zip(batch.point.tolist(), batch.observed_us.tolist(), batch.value.tolist(), strict=True))
        for at in sorted(range(n), key=lambda at: (*rows[at][:2], at)):
            self.one(batch, at, *rows[at], answer)
        return answer

    def one(self, batch: Readings, at: int, point: int, time_us: int, value: float, answer: Answer) -> None:
        rule, quality = self.models[point].screen, answer.quality[at]
        reason = self.refusal(batch, self.models[point], time_us, value, quality)
        if reason:
            answer.verdict[at], answer.reason[at] = REFUSED, reason
            return
        if value < low(rule.limit_min) or value > high(rule.limit_max):
            quality = add(quality, Quality.OUT_OF_RANGE)
            answer.beyond[at] = True
        answer.quality[at] = quality
        key = (batch.channel, point, time_us, value + 0.0, quality)
        if key in self.horizon:
            answer.verdict[at] = DUPLICATE
            return
        self.horizon.add(key)
        if batch.channel == Channel.REPORTED and not batch.backfill:
            self.live(at, point, time_us, value, answer)

    def refusal(self, batch: Readings, model: PointModel, time_us: int, value: float, quality: int) -> int:
        rule, kind = model.screen, model.reading_type.kind
        possible_min = rule.possible_min
        if possible_min is None and kind in {"register", "interval"}:
            possible_min = 0.0
        if not math.isfinite(value):
            return NOT_FINITE
        ahead = batch.received_us + rule.max_future_s * US
        if batch.channel in {Channel.PLANNED, Channel.COMMANDED}:
            ahead = MAX_US
        if time_us < 0 or time_us > ahead:
            return FUTURE
        if value < low(possible_min) or value > high(rule.possible_max):
            return IMPOSSIBLE
        if kind == "state" and (value != int(value) or abs(value) > 2**53):
            return NOT_A_CODE
        return BAD_QUALITY if quality >= 0x8000 else 0

    def live(self, at: int, point: int, time_us: int, value: float, answer: Answer) -> None:
        model = self.models[point]
        rule, known, quality = model.screen, self.known.setdefault(point, Known()), answer.quality[at]
        if time_us > known.seen_us > NEVER:
            change = value - known.seen_value
            if rule.max_rate_per_s is not None and abs(change) * 1e6 > rule.max_rate_per_s * (time_us - known.seen_us):
                quality, answer.beyond[at] = add(quality, Quality.OUT_OF_RANGE), True
            if model.reading_type.kind == "register" and change < 0:
                quality = add(quality, Quality.INCONSISTENT)
        wait_us = round(rule.min_interval_s * US)
        if rule.flap_changes:
            quality = self.flap(point, known, time_us, value, quality, answer)
            wait_us = round(rule.flap_window_s * US) if known.flapping else 0
        alarm = answer.beyond[at] and rule.flap_changes > 0
        answer.quality[at] = quality
        answer.verdict[at] = self.report(rule, known, time_us, value, quality, wait_us, alarm)
        if time_us >= known.seen_us:
            known.seen_value, known.seen_us = value, time_us

    def flap(self, point: int, known: Known, time_us: int, value: float, quality: int, answer: Answer) -> int:
        """Follow the changes of a state; late readings are no part of it."""
        if time_us < known.seen_us:
            return quality
        rule = self.models[point].screen
        window_us = round(rule.flap_window_s * US)
        if known.flapping and time_us - known.changes[-1] > window_us:
            answer.ended.append((point, known.changes[0], known.changes[-1], len(known.changes)))
            known.flapping, known.changes, known.pending = False, [], False
        if not math.isnan(known.seen_value) and value != known.seen_value:
            if not known.flapping and known.changes and time_us - known.changes[0] > window_us:
                known.changes = []
            known.changes.append(time_us)
            known.flapping = known.flapping or len(known.changes) > rule.flap_changes
        return add(quality, Quality.OSCILLATORY) if known.flapping else quality

    def report(
        self, rule: object, known: Known, time_us: int, value: float, quality: int, wait_us: int, alarm: bool
    ) -> int:
        if time_us < known.observed_us:
            return ACCEPTED
        if known.flapping and time_us < known.seen_us:
            pass
        elif not alarm and quality == known.quality and not (time_us == known.observed_us and value != known.value):
            band = rule.effective_deadband
            unchanged = band > 0 and abs(value - known.value) <= band
            if unchanged and not known.pending:
                return SUPPRESSED
            if wait_us and time_us < known.until_us:
                known.pending = True
                return HELD
        known.value, known.observed_us, known.quality = value, time_us, quality
        known.pending = known.pending and time_us < known.seen_us  # what is held is newer than what is revised
        if wait_us:
            known.until_us = time_us + wait_us
        return ACCEPTED


def low(limit: float | None) -> float:
    return -math.inf if limit is None else limit


def high(limit: float | None) -> float:
    return math.inf if limit is None else limit
