"""Every benchmark after the other: a line of JSON a figure, ``{name, goal, figure, unit, conditions}``.

``uv run python benchmarks/run.py [--short] [--only intake] [--write]``; ``--write`` puts what was measured into the
tables of ``docs/benchmarks.md``, each benchmark's own. Figures want a machine with nothing else to do.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
import timeit
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
Lines = list[dict[str, Any]]


def own(output: str) -> Lines:
    """Return the figures of a script that prints them as lines."""
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def of_archive(output: str) -> Lines:
    """Return the figures of ``archive.py``."""
    said = json.loads(output)
    words = f"{said['readings']:,} readings of {said['points']} points over {said['days']} days"
    day, means = said["one_day_of_one_point_s"], said["daily_means_of_everything_s"]
    figures = [
        ("archive, readings written", said["archived_readings_per_s"], "readings/s", "", words),
        ("archive, size of a reading", said["archive_bytes_per_reading"], "bytes", "", words),
        ("log, size of a reading", said["log_bytes_per_reading"], "bytes", "", words),
        ("SQL, one day of one point", round(1000 * day["warm"]), "ms", "", f"{words}; in a cold process "
         f"{1000 * day['cold']:.0f} ms"),
        ("SQL, daily means of everything", round(1000 * means), "ms", "", words),
    ]  # fmt: skip
    return [
        {"name": name, "goal": goal, "figure": figure, "unit": unit, "conditions": conditions}
        for name, figure, unit, goal, conditions in figures
    ]


SCRIPTS: dict[str, tuple[Callable[[str], Lines], list[str], list[str]]] = {
    # name: how its output reads, arguments of a full run, arguments of a short one
    "startup": (own, [], ["--short"]),
    "intake": (own, [], ["--short"]),
    "flat": (own, [], ["--short"]),
    "latency": (own, [], ["--short"]),
    "cut": (own, [], ["--short"]),
    "flood": (own, [], ["--short"]),
    "properties": (own, [], ["--short"]),
    "memory": (own, [], ["--short"]),
    "mqtt": (own, [], ["--short"]),
    "modbus": (own, [], ["--short"]),
    "ocpp": (own, [], ["--short"]),
    "openadr3": (own, [], ["--short"]),
    "openadr2": (own, [], ["--short"]),
    "ieee2030_5": (own, [], ["--short"]),
    "commands": (own, [], ["--short"]),
    "archive": (of_archive, [], ["--days", "3"]),
    "agents": (own, [], ["--short"]),
    "edge": (own, [], ["--short"]),
    "emulators": (own, [], ["--short"]),
    "directory": (own, [], ["--short"]),
    "search": (own, [], ["--short"]),
    "billion": (own, [], ["--short"]),
    "peers": (own, [], ["--short"]),
}


def measure(name: str, *, short: bool) -> Lines:
    """Run one benchmark and return its figures."""
    read, full, quick = SCRIPTS[name]
    command = [sys.executable, str(HERE / f"{name}.py"), *(quick if short else full)]
    return read(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def machine() -> str:
    """Return what the figures were measured on."""
    processor = next((line for line in _processor() if line), platform.machine())
    return f"{os.cpu_count()} cores of {processor}, Python {platform.python_version()}, {platform.system()}"


def _processor() -> Iterator[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return
    yield from (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))


def speed() -> str:
    """Return how fast one core is just now: on a rented machine that is another figure each hour."""
    took = min(timeit.repeat("x += 1", "x = 0", number=5_000_000, repeat=5))
    return f"a bare loop of Python counts {5 / took:.0f} million a second"


def table(lines: Lines, when: str, before: str) -> str:
    """Return the figures as a table; ``before`` is how the machine was just before."""
    rows = [f"*{when}, {machine()}; just before: {before}*", ""]
    rows += ["| what | goal | figure | unit | conditions |", "|---|---|---|---|---|"]
    for line in lines:
        figure = f"{line['figure']:,}".removesuffix(".0")
        rows.append(f"| {line['name']} | {line['goal']} | **{figure}** | {line['unit']} | {line['conditions']} |")
    return "\n".join(rows)


def written(page: str, name: str, text: str) -> str:
    """Return the page with the table of one benchmark replaced."""
    begin, end = f"<!-- {name}: written by benchmarks/run.py -->", f"<!-- {name}: end -->"
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{PAGE} has no place for {name}")
    return f"{before}{begin}\n{text}\n{end}{after}"


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true", help="a look, not a measurement")
    parser.add_argument("--only", choices=SCRIPTS)
    parser.add_argument("--within-s", type=float, default=float("inf"), help="begin none after so many seconds")
    parser.add_argument("--write", action="store_true", help="rewrite the tables of docs/benchmarks.md")
    options = parser.parse_args()
    began = time.monotonic()
    for name in [options.only] if options.only else SCRIPTS:
        if time.monotonic() - began > options.within_s:
            print(f"left out, not measured: {name}", flush=True)
            continue
        before = f"load average {os.getloadavg()[0]:.1f}, {speed()}"
        lines = measure(name, short=options.short)
        for line in lines:
            print(json.dumps(line, ensure_ascii=False), flush=True)
        if options.write:
            when = datetime.datetime.now(datetime.UTC).date().isoformat() + (", short run" if options.short else "")
            PAGE.write_text(written(PAGE.read_text(), name, table(lines, when, before)))


if __name__ == "__main__":
    main()
