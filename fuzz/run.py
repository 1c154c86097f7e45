"""Throw inputs at every decoder and record what came of it.

::

    run.py ── child ── decoder, seeded mutations       the input under way lies in a file: if the process dies of it,
       └───── child ── …                               or never ends, it is still known

``--write`` puts the results into ``docs/data/security-fuzz.json``.
"""

import argparse
import base64
import collections
import contextlib
import fcntl
import json
import mmap
import os
import platform
import re
import resource
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from mutate import MAX_BYTES, Mutator  # noqa: E402
from mutate_xml import XmlMutator  # noqa: E402
from target import Target, make, names  # noqa: E402

RESULTS = HERE.parent / "docs" / "data" / "security-fuzz.json"
FOUND = HERE / "found"
MEMORY_BYTES = 4 << 30
"""Address space of a child: beyond it, an input asks for more than any of ours may."""
HANG_S = 120
MAX_FOUND = 20
_PARTICULARS = re.compile(r"'.*'|\".*\"|[0-9]+|[^ -~]")
_HEAD = 16


def fuzz(target: Target, inputs: int, seed: int, note: Any = None) -> dict[str, Any]:
    """Run ``inputs`` inputs through ``target``; return what came of them. ``note(done, data)`` hears of each first."""
    mutator = (XmlMutator if target.xml else Mutator)(target.seeds, target.words, seed)
    outcomes: collections.Counter[str] = collections.Counter()
    shapes: set[Any] = set()
    faults: list[dict[str, str]] = []
    places: set[str] = set()
    slowest_ns, slowest_bytes, before = 0, 0, _resident_bytes()
    started = time.perf_counter()
    for done in range(inputs):
        data = target.seeds[done] if done < len(target.seeds) else mutator.next()
        if note is not None:
            note(done, data)
        at = time.thread_time_ns()
        try:
            result = target.run(data)
            kind, shape = "accepted", _shape(target, result)
        except target.errors as error:
            kind, shape = type(error).__name__, _template(str(error))
        except Exception as error:
            kind, shape = "fault", ""
            _fault(faults, places, error, data)
        took = time.thread_time_ns() - at
        if took > slowest_ns:
            slowest_ns, slowest_bytes = took, len(data)
        outcomes[kind] += 1
        if shape and (kind, shape) not in shapes and len(shapes) < 5000:
            shapes.add((kind, shape))
            mutator.keep(data)
    return {
        "inputs": inputs,
        "seconds": round(time.perf_counter() - started, 1),
        "outcomes": dict(sorted(outcomes.items())),
        "distinct": len(shapes),
        "faults": faults,
        "slowest_ms": round(slowest_ns / 1e6, 2),
        "slowest_bytes": slowest_bytes,
        "grown_mib": round((_resident_bytes() - before) / (1 << 20), 1),
    }


def _shape(target: Target, result: Any) -> Any:
    found = target.shape(result)
    return found if isinstance(found, tuple) else str(found)


def _template(text: str) -> str:
    return _PARTICULARS.sub("", text)[:80]  # what is quoted from the input is new every time and means nothing


def _fault(faults: list[dict[str, str]], places: set[str], error: Exception, data: bytes) -> None:
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{type(error).__name__} at {Path(frames[-1].filename).name}:{frames[-1].lineno}"
    if place in places or len(faults) >= MAX_FOUND:
        return
    places.add(place)
    faults.append({"what": f"{place}: {str(error)[:200]}", "input": base64.b64encode(data).decode()})


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def child(name: str, inputs: int, seed: int, state: Path) -> None:
    """Fuzz one target in this process, with the input under way in ``state``."""
    target = make(name)
    target.run(target.seeds[0]) if not target.errors else _warm(target)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with state.open("r+b") as file, mmap.mmap(file.fileno(), _HEAD + MAX_BYTES + 1024) as place:

        def note(done: int, data: bytes) -> None:
            place[_HEAD : _HEAD + len(data)] = data
            place[:_HEAD] = done.to_bytes(8, "little") + len(data).to_bytes(8, "little")

        print(json.dumps(fuzz(target, inputs, seed, note)))


def _warm(target: Target) -> None:
    with contextlib.suppress(*target.errors):
        target.run(target.seeds[0])


def supervise(name: str, inputs: int, seed: int) -> dict[str, Any]:
    """Fuzz ``name`` in children until ``inputs`` are done, however many of them die."""
    total: dict[str, Any] = {"decoder": name, "decodes": make(name).decodes, "kind": make(name).kind, "seed": seed, "inputs": 0, "seconds": 0.0,
                             "outcomes": {}, "distinct": 0, "crashes": 0, "hangs": 0, "faults": [], "slowest_ms": 0.0, "slowest_bytes": 0, "grown_mib": 0.0}  # fmt: skip
    FOUND.mkdir(exist_ok=True)
    state = FOUND / f".{name}.{os.getpid()}.state"  # two runs at a time do not meet
    while total["inputs"] < inputs and total["crashes"] + total["hangs"] < MAX_FOUND:
        state.write_bytes(b"\0" * (_HEAD + MAX_BYTES + 1024))
        more, how = _one_child(name, inputs - total["inputs"], seed + total["crashes"] + total["hangs"], state)
        if more is not None:
            _add(total, more)
            continue
        raw = state.read_bytes()
        done, size = int.from_bytes(raw[:8], "little"), int.from_bytes(raw[8:16], "little")
        data = raw[_HEAD : _HEAD + size]
        total["inputs"] += done + 1
        total["hangs" if how == "hang" else "crashes"] += 1
        total["faults"].append({"what": how, "input": base64.b64encode(data).decode()})
    state.unlink(missing_ok=True)
    for at, fault in enumerate(total["faults"]):
        (FOUND / f"{name}-{at}").write_bytes(base64.b64decode(fault["input"]))
    return total


def _one_child(name: str, inputs: int, seed: int, state: Path) -> tuple[dict[str, Any] | None, str]:
    command = [
        sys.executable,
        __file__,
        "--child",
        name,
        "--inputs",
        str(inputs),
        "--seed",
        str(seed),
        "--state",
        str(state),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        last, since = -1, time.monotonic()
        while True:
            try:
                out, _ = process.communicate(timeout=5)
                break
            except subprocess.TimeoutExpired:
                done = int.from_bytes(state.read_bytes()[:8], "little")
                if done != last:
                    last, since = done, time.monotonic()
                elif time.monotonic() - since > HANG_S:
                    process.kill()
                    process.communicate()
                    return None, "hang"
        if process.returncode == 0:
            return json.loads(out.splitlines()[-1]), ""
        return None, f"the process ended with {process.returncode}"


def _add(total: dict[str, Any], more: dict[str, Any]) -> None:
    for key in ("inputs", "seconds", "distinct"):
        total[key] = round(total[key] + more[key], 1)
    for key, count in more["outcomes"].items():
        total["outcomes"][key] = total["outcomes"].get(key, 0) + count
    if more["slowest_ms"] > total["slowest_ms"]:
        total["slowest_ms"], total["slowest_bytes"] = more["slowest_ms"], more["slowest_bytes"]
    total["grown_mib"] = max(total["grown_mib"], more["grown_mib"])
    total["faults"] += more["faults"]


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help=f"add the results to {RESULTS.name}")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--child")
    parser.add_argument("--state", type=Path)
    given = parser.parse_args()
    if given.child:
        child(given.child, given.inputs, given.seed, given.state)
        return 0
    if given.list:
        print("\n".join(names()))
        return 0
    bad = 0
    for name in given.targets or names():
        result = supervise(name, given.inputs, given.seed)
        bad += len(result["faults"])
        print(json.dumps({key: value for key, value in result.items() if key != "decodes"}), flush=True)
        if given.write:
            write(result)
    return bool(bad)


def write(result: dict[str, Any]) -> None:
    """Put one decoder's result in place of its last one."""
    FOUND.mkdir(exist_ok=True)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    with (FOUND / ".lock").open("w") as lock:  # several runs may share the work
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept = json.loads(RESULTS.read_text())["decoders"] if RESULTS.exists() else {}
        kept[result["decoder"]] = {key: value for key, value in result.items() if key != "decoder"}
        python = f"{platform.python_implementation()} {platform.python_version()}"
        RESULTS.write_text(json.dumps({"python": python, "decoders": dict(sorted(kept.items()))}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
