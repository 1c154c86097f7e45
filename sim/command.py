"""The simulation's command line: one seed told step by step, or many seeds on several processes.

::

    python -m sim --seed 1234                       the story of one run
    python -m sim --seeds 0..5000 --jobs 2          many; the first lines of what breaks, and how to replay it
    python -m sim --seeds 0..50 --plant gate-stays-open      with a violation planted: it must be found
"""

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import msgspec

from sim.disk import shim
from sim.result import Result, Sum, add_counts

STEPS = 80
_SHOWN = 25


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line says; return the exit code: 1 when an invariant is broken."""
    options = _options(arguments)
    if options.worker:
        _work(options)
        return 0
    if options.prove:
        return _prove(options)
    total = Sum()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _run(options, total)
    except KeyboardInterrupt:
        print("interrupted: the counts are of what ran")
    print(total.text())
    if options.json:
        total.write(options.json)
    return 1 if total.broken else 0


def _run(options: argparse.Namespace, total: Sum) -> None:
    """Run the seeds, and tell of each that breaks something as it comes."""
    for result in results(options.first, options.last, steps=options.steps, jobs=options.jobs, plant=options.plant):
        total.add(result)
        if options.seed is not None:
            print("\n".join(result.lines))
            print(f"seed {result.seed}: {result.broken or 'every invariant holds'}; trace {result.digest[:16]}")
        elif result.broken:
            print("\n".join(result.lines[-_SHOWN:]))
            print(f"seed {result.seed} breaks: {result.broken}\n  {result.seen[:1000]}")
        if result.broken:
            plant = f" --plant {options.plant}" if options.plant else ""
            steps = f" --steps {options.steps}" if options.steps != STEPS else ""
            print(f"  replay: python -m sim --seed {result.seed}{steps}{plant}   at commit {_commit()}", flush=True)
            if sum(total.broken.values()) >= options.most:
                return


def _prove(options: argparse.Namespace) -> int:
    """Plant each violation in turn, and say which seed found it; return 1 when one was not found."""
    from sim.plant import PLANTS

    found: dict[str, int] = {}
    for plant in PLANTS:
        runs = results(options.first, options.last, steps=options.steps, jobs=options.jobs, plant=plant)
        with contextlib.closing(runs):
            first = next((one for one in runs if one.broken), None)
        print(f"{plant}: " + (f"seed {first.seed} breaks: {first.broken}" if first else "NOT FOUND"), flush=True)
        if first is not None:
            found[plant] = first.seed - options.first + 1
    if options.json:
        counts = {"planted": len(PLANTS), "planted_and_found": len(found), "seeds_until_found": found}
        add_counts(options.json, counts)
    return 0 if len(found) == len(PLANTS) else 1


def results(
    first: int, last: int, *, steps: int = STEPS, jobs: int = 1, plant: str = ""
) -> Generator[Result, None, None]:
    """Yield the results of seeds ``first`` … ``last``-1 as they come; runs take place in processes of their own."""
    folder = Path(tempfile.mkdtemp(prefix="spine-sim-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    with contextlib.ExitStack() as ending:
        ending.callback(shutil.rmtree, folder, ignore_errors=True)
        workers = []
        for job in range(min(jobs, last - first)):
            worker = _worker(folder / str(job), f"{first + job}..{last}", steps, jobs, plant)
            ending.callback(_end, worker)
            workers.append(worker)
        while workers:
            for worker in list(workers):
                assert worker.stdout is not None
                line = worker.stdout.readline()
                if line:
                    yield msgspec.json.decode(line, type=Result)
                else:
                    workers.remove(worker)
                    if worker.wait():
                        raise RuntimeError(f"a process of the simulation ended with {worker.returncode}")


def _worker(folder: Path, seeds: str, steps: int, every: int, plant: str) -> "subprocess.Popen[bytes]":
    root = folder / "root"
    root.mkdir(parents=True)
    (folder / "notes").touch()
    # Hashes of texts, and with them the order of sets, are the same in every process.
    variables = os.environ | shim.environment(root, folder / "notes") | {"PYTHONHASHSEED": "0"}
    command = [sys.executable, "-m", "sim", "--worker", "--seeds", seeds, "--steps", str(steps), "--every", str(every)]
    where = Path(__file__).parents[1]
    return subprocess.Popen([*command, "--plant", plant], env=variables, stdout=subprocess.PIPE, cwd=where)


def _end(worker: "subprocess.Popen[bytes]") -> None:
    if worker.poll() is None:
        worker.kill()
    worker.wait()
    assert worker.stdout is not None
    worker.stdout.close()


def _work(options: argparse.Namespace) -> None:
    """Run seeds in this process, which notes what it writes, and print each result as a line of JSON."""
    from sim.plant import PLANTS
    from sim.run import Theatre

    theatre = Theatre(Path(os.environ[shim.ROOT]), Path(os.environ[shim.OUT]))
    planted = PLANTS[options.plant] if options.plant else contextlib.nullcontext
    for seed in range(options.first, options.last, options.every):
        with planted():
            result = theatre.run(seed, options.steps)
        if not result.broken and options.last - options.first > 1:
            result.lines = []
        sys.stdout.buffer.write(msgspec.json.encode(result) + b"\n")
        sys.stdout.buffer.flush()
    theatre.close()


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m sim", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, help="one seed, told step by step")
    parser.add_argument("--seeds", default="0..50", help="first..last, the last not included")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of a run")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--plant", default="", help="a violation to plant: see sim/plant.py")
    parser.add_argument("--most", type=int, default=5, help="stop after so many seeds that break something")
    parser.add_argument("--prove", action="store_true", help="plant every violation, one after another: all are found")
    parser.add_argument("--json", type=Path, help="add the counts to this file")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--every", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    first, _, last = options.seeds.partition("..")
    options.first, options.last = int(first), int(last)
    if options.seed is not None:
        options.first, options.last = options.seed, options.seed + 1
    return options


def _commit() -> str:
    where = Path(__file__).parents[1]
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=where, capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"
