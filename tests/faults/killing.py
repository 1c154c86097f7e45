"""Processes that are killed at random, and how the nursery is asked for them."""

import contextlib
import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
_PATIENCE_S = 60.0


class Forked:
    """A process of the nursery. It is no child of ours: its end is watched by its handle."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._handle: int | None = None
        with contextlib.suppress(ProcessLookupError):
            self._handle = os.pidfd_open(pid)

    @property
    def alive(self) -> bool:
        return self._handle is not None and not select.select([self._handle], [], [], 0)[0]

    def send(self, number: signal.Signals) -> None:
        if self._handle is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        """``kill -9``; returns when the process is gone."""
        self.send(signal.SIGKILL)
        self.wait()

    def wait(self) -> None:
        if self._handle is not None:
            assert select.select([self._handle], [], [], _PATIENCE_S)[0], f"process {self.pid} does not end"
            os.close(self._handle)
            self._handle = None


class Nursery:
    """Forks processes quickly; a context manager: leaving it, they are all gone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._asked = 0

    def __enter__(self) -> "Nursery":
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "nursery.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._line() == "warm"
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(_PATIENCE_S)
        self._process.stdout.close()

    def fork(self, work: str, **arguments: Any) -> Forked:
        """Start ``work`` (a function of ``nursery.py``) with ``arguments``."""
        assert self._process.stdin is not None
        self._asked += 1
        asked = {"work": work, "log": str(self.folder / f"{work}.log"), **arguments}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return Forked(int(self._line()))

    def said(self, work: str) -> str:
        """Return the end of what processes of ``work`` wrote to their log."""
        path = self.folder / f"{work}.log"
        return path.read_text()[-5000:] if path.exists() else ""

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


class Moments:
    """Random moments by a seed, which a failure shows."""

    def __init__(self, seed: int | None = None) -> None:
        self.seed = random.SystemRandom().getrandbits(32) if seed is None else seed
        self._random = random.Random(self.seed)
        print(f"moments of seed {self.seed}")

    def within(self, seconds: float) -> float:
        return self._random.uniform(0.0, seconds)

    def chance(self, share: float) -> bool:
        return self._random.random() < share


def left_over(folder: Path) -> list[str]:
    """Return the files that a step which was not finished left behind."""
    ends = (".tmp", ".new", ".part", ".fresh")
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.name.endswith(ends)]


def read_said(path: Path, process: Forked) -> dict[str, Any] | None:
    """Wait for what a process says once it is ready; None when it ended before."""
    deadline = time.monotonic() + _PATIENCE_S
    while not path.exists():
        if not process.alive:
            return None
        assert time.monotonic() < deadline, "the process does not get ready"
        time.sleep(0.002)
    found: dict[str, Any] = json.loads(path.read_text())
    path.unlink()
    return found
