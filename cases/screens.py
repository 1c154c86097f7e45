"""How many failures the node's screen notices, and how often it cries wolf, on recorded homes.

Three homes, as they were recorded: a year of hourly energy by the model *home*; and sixty days of it as the node's
*meter* would tell minute by minute: net power straight between the middles of hours, and its two registers. Failures
of one kind at a time are put over them (`gridspine.energy.emulators.failure`), the screen judges, and each judgement is
compared with the truth. A reading is *noticed* when it is refused or marked by the node; a drop-out when the gap is
longer than the point's maximum silence, by the rule of `things.silence`.

recall     failures noticed / failures
precision  noticed readings that were false / noticed readings (those within a step after a failure's end count as its)
false alarms  runs of noticed readings where nothing failed, by point and year, without any failure
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from cases.homes import HOURS, read
from gridspine.energy.emulators.failure import Failing, Kind, Plan
from gridspine.energy.emulators.fleet import Fleet
from gridspine.energy.emulators.mix import Mix
from gridspine.energy.models import load_models
from gridspine.kernel.readings import Channel, Readings
from gridspine.kernel.time import US
from gridspine.things.horizon import DEFAULT_CAPACITY
from gridspine.things.point import PointTable
from gridspine.things.screen import ACCEPTED, HELD, REFUSED, Screen

HOMES, PV_KW = (1, 2, 4), (4.0, 4.0, 5.0)
START_US = 1_470_000_000 * US - (1_470_000_000 * US) % (3_600 * US)
H_S, DAY_S = 3_600.0, 86_400.0


@dataclass(frozen=True)
class Recording:
    """True values (t, m) every ``step_s`` [s] of m points, which points of the model they are, and the model's name."""

    values: Any
    step_s: float
    names: tuple[str, ...]
    model: str

    @property
    def times_us(self) -> Any:
        return START_US + round(self.step_s * US) * np.arange(len(self.values), dtype=np.int64)

    @property
    def point_years(self) -> float:
        return self.values.size * self.step_s / (365.0 * DAY_S)


def hourly() -> Recording:
    """Return the homes as they were recorded: six points, a year."""
    columns = []
    for number, pv_kw in zip(HOMES, PV_KW, strict=True):
        used_kwh, sun = read(number)
        columns += [used_kwh, sun * pv_kw / 1000.0]
    return Recording(np.column_stack(columns), H_S, ("consumedEnergy", "producedEnergy") * 3, "home")


def by_the_minute(days: int = 60) -> Recording:
    """Return the homes as meters would tell them: nine points, from the second month on."""
    columns: list[Any] = []
    minutes = np.arange(60 * 24 * days)
    for number, pv_kw in zip(HOMES, PV_KW, strict=True):
        used_kwh, sun = read(number)
        net_w = 1000.0 * used_kwh - sun * pv_kw
        power_w = np.interp(minutes / 60.0 + 720.0, np.arange(HOURS) - 0.5, net_w)
        columns += [power_w, 4e6 + np.cumsum(np.maximum(power_w, 0.0)) / 60.0]
        columns += [1e6 + np.cumsum(np.maximum(-power_w, 0.0)) / 60.0]
    names = ("activePower", "activeEnergyImport", "activeEnergyExport") * 3
    return Recording(np.column_stack(columns), 60.0, names, "meter")


def chargers(seconds: int = 3_600) -> Recording:
    """Return the connector states of 20 emulated chargers, second by second: what may flap."""
    fleet = Fleet(Mix(ev_charger=20), 1, START_US)
    block = fleet.layout.block("ev_charger")
    column = block.points.index("connectorState")
    rows = [fleet.step(1.0).reshape(block.count, -1)[:, column] for _ in range(seconds)]
    return Recording(np.array(rows), 1.0, ("connectorState",) * 20, "ev_charger")


class Bench:
    """A screen with the points of a recording, a Thing for each point."""

    def __init__(self, recording: Recording) -> None:
        model = load_models()[recording.model]
        table = PointTable()
        table.add_model(model)
        self.numbers, self.rules = [], []
        from gridspine.things.point import PointBinding

        first = 0
        for number, name in enumerate(recording.names):
            points = [point.name for point in model.points]
            units = [point.reading_type.unit for point in model.points]
            table.bind(PointBinding(first, f"urn:example:{number}", "o", model.id, points, units, 0))
            at = points.index(name)
            self.numbers.append(first + at)
            self.rules.append(model.points[at].screen)
            first += len(model.points)
        self.screen = Screen(table, DEFAULT_CAPACITY)
        self.numbers = np.array(self.numbers, np.int32)

    def notice(self, told: Any, present: Any, times_us: Any, at_once: int = 512) -> Any:
        """Return which of the readings (t, m) are refused, marked or held as flapping, bool (t, m)."""
        noticed = np.zeros(told.shape, np.bool_)
        for begin in range(0, len(told), at_once):
            part = slice(begin, begin + at_once)
            row, column = np.nonzero(present[part])
            time_us = times_us[part][row]
            batch = Readings(
                self.numbers[column], time_us, told[part][row, column], np.zeros(len(row), np.uint16),
                ("s",), Channel.REPORTED, int(time_us[-1]),
            )  # fmt: skip
            screened = self.screen.screen(batch)
            self.screen.settle()
            marks = np.isin(screened.verdict, (REFUSED, HELD))
            marks[np.flatnonzero(screened.verdict == ACCEPTED)] |= screened.accepted.quality > 0
            noticed[part][row, column] = marks
        return noticed


def trial(recording: Recording, plan: Plan | None) -> dict[str, float | None]:
    """Put ``plan`` over a recording and judge the screen."""
    told, present = recording.values.copy(), np.ones(recording.values.shape, np.bool_)
    if plan is not None:
        failing = Failing(plan)
        for row, now_us in enumerate(recording.times_us.tolist()):
            told[row], present[row] = failing.apply(recording.values[row], now_us)
    bench = Bench(recording)
    noticed = bench.notice(told, present, recording.times_us)
    if plan is None:
        begins = noticed & ~np.vstack([np.zeros((1, noticed.shape[1]), np.bool_), noticed[:-1]])
        return {"false_alarms_per_point_year": float(begins.sum() / recording.point_years)}
    return _judge(recording, plan, bench, told, present, noticed)


def _judge(
    recording: Recording, plan: Plan, bench: Bench, told: Any, present: Any, noticed: Any
) -> dict[str, float | None]:
    times_us, step_us = recording.times_us, round(recording.step_s * US)
    within = np.zeros(noticed.shape, np.bool_)
    found = failures = 0
    for place, begin_us, end_us in zip(plan.place.tolist(), plan.begin_us.tolist(), plan.end_us.tolist(), strict=True):
        rows = slice(*np.searchsorted(times_us, [begin_us, end_us]).tolist())
        after = slice(rows.start, rows.stop + 1)
        changed = (~present[rows, place] | (told[rows, place] != recording.values[rows, place])).any()
        if not changed:
            continue  # at night ten times nothing is nothing: no failure to be seen
        failures += 1
        within[after, place] = True
        limit_us = bench.rules[place].max_silence_s * US
        silent = plan.kind == Kind.DROP_OUT and (rows.stop - rows.start + 1) * step_us > limit_us > 0
        found += bool(silent or noticed[after, place].any())
    false = int((noticed & ~within).sum())
    true = int((noticed & within).sum())
    return {
        "failures": failures,
        "recall": found / failures if failures else None,
        "precision": true / (true + false) if true + false else None,
    }


TRIALS: tuple[tuple[str, Kind, float, tuple[float, float]], ...] = (
    ("drop-out, 1 to 12 h", Kind.DROP_OUT, 0.0, (H_S, 12 * H_S)),
    ("drop-out, 3 to 6 days", Kind.DROP_OUT, 0.0, (3 * DAY_S, 6 * DAY_S)),
    ("stuck, 6 h to 2 days", Kind.STUCK, 0.0, (6 * H_S, 2 * DAY_S)),
    ("drift, 5 % of the mean an hour", Kind.DRIFT, 0.05, (DAY_S, 3 * DAY_S)),
    ("wrong scale, ×1000", Kind.SPOOF, 1000.0, (6 * H_S, 2 * DAY_S)),
    ("wrong scale, ×10", Kind.SPOOF, 10.0, (6 * H_S, 2 * DAY_S)),
    ("wrong scale, ×0.1", Kind.SPOOF, 0.1, (6 * H_S, 2 * DAY_S)),
    ("reversed sign of every value", Kind.SPOOF, -1.0, (6 * H_S, 2 * DAY_S)),
)
"""What fails, how, how much (drift: of the point's mean magnitude or hourly growth), for how long [s]."""


def report(seed: int = 1) -> list[dict[str, Any]]:
    """Return a row for each recording and failure."""
    rows: list[dict[str, Any]] = []
    for title, recording, each in (("home, hourly", hourly(), 12), ("meter, by the minute", by_the_minute(), 6)):
        rows.append(_clean(title, recording))
        for name, kind, size, lasting_s in TRIALS:
            plan = _plan(recording, kind, size, lasting_s, each, seed)
            rows.append({"points": title, "failure": name, **trial(recording, plan)})
        if recording.model == "meter":
            rows.append({"points": title, "failure": "reversed current transformer", **_reversed_ct(recording, seed)})
    states = chargers()
    rows.append(_clean("charger's state, by the second", states))
    flapping = trial(states, _plan(states, Kind.FLAP, 1.0, (60.0, 300.0), 2, seed))
    rows.append({"points": "charger's state, by the second", "failure": "flap, 1 to 5 minutes", **flapping})
    return rows


def _reversed_ct(recording: Recording, seed: int) -> dict[str, float | None]:
    """Judge meters with a current transformer the wrong way round: power negated, registers exchanged."""
    times_us = recording.times_us
    power = np.arange(0, recording.values.shape[1], 3, dtype=np.int32)
    within = (int(times_us[1]), int(times_us[-2]))
    drawn = Plan.draw(Kind.SPOOF, np.random.default_rng(seed), power, within, (6 * H_S, 2 * DAY_S), -1.0, 6)
    told, steps = recording.values.copy(), np.diff(recording.values, axis=0)
    for place, begin_us, end_us in zip(
        drawn.place.tolist(), drawn.begin_us.tolist(), drawn.end_us.tolist(), strict=True
    ):
        rows = slice(*np.searchsorted(times_us, [begin_us, end_us]).tolist())
        told[rows, place] *= -1.0
        before = slice(rows.start - 1, rows.stop - 1)
        steps[before, place + 1 : place + 3] = steps[before, place + 1 : place + 3][:, ::-1]
    registers = np.setdiff1d(np.arange(told.shape[1]), power)
    told[1:, registers] = told[0, registers] + np.cumsum(steps[:, registers], axis=0)
    every = np.concatenate([drawn.place, drawn.place + 1, drawn.place + 2])
    plan = Plan(drawn.kind, every, *(np.tile(one, 3) for one in (drawn.begin_us, drawn.end_us, drawn.size)))
    bench, present = Bench(recording), np.ones(told.shape, np.bool_)
    return _judge(recording, plan, bench, told, present, bench.notice(told, present, times_us))


def _clean(title: str, recording: Recording) -> dict[str, Any]:
    return {"points": title, "failure": "none", "point_years": recording.point_years, **trial(recording, None)}


def _plan(recording: Recording, kind: Kind, size: float, lasting_s: tuple[float, float], each: int, seed: int) -> Plan:
    count = recording.values.shape[1]
    sizes: Any = np.full(count, size)
    if kind == Kind.DRIFT:
        grows = np.abs(np.diff(recording.values, axis=0)).mean(0) * (H_S / recording.step_s)
        register = np.array(["Energy" in name and recording.model == "meter" for name in recording.names])
        sizes = size * np.where(register, grows, np.abs(recording.values).mean(0))
    times_us = recording.times_us
    random = np.random.default_rng(seed)
    within = (int(times_us[1]), int(times_us[-2]))
    return Plan.draw(kind, random, np.arange(count, dtype=np.int32), within, lasting_s, sizes, each)
