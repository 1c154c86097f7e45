"""The demonstration's processes: the node and the devices, each on its own, all ended with the demonstration."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from gridspine.kernel.errors import Unavailable

START_TIMEOUT_S = 30.0


@dataclass(slots=True)
class Process:
    """A running process and the first line it said."""

    name: str
    process: asyncio.subprocess.Process
    said: str = ""

    @property
    def port(self) -> int:
        """The port a device said it listens at."""
        return int(msgspec.json.decode(self.said)["port"])

    async def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Send ``how``, and kill what does not end by itself."""
        if self.process.returncode is None:
            self.process.send_signal(how)
            try:
                await asyncio.wait_for(self.process.wait(), 15)
            except TimeoutError:
                self.process.kill()
                await self.process.wait()


@dataclass(slots=True)
class Processes:
    """All processes of a demonstration; their words go to ``logs``, a file each."""

    logs: Path
    running: list[Process] = field(default_factory=list)

    async def start(
        self, name: str, arguments: Sequence[str], *, waits: bool = True, secrets: dict[str, str] | None = None
    ) -> Process:
        """Start ``python -m …`` and wait for its first line (when it says one)."""
        self.logs.mkdir(parents=True, exist_ok=True)
        with (self.logs / f"{name}.log").open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *arguments,
                stdout=asyncio.subprocess.PIPE if waits else errors,
                stderr=errors,
                env={**os.environ, **(secrets or {})},
                start_new_session=True,  # Ctrl-C reaches the demonstration only, which then ends them in order
            )
        started = Process(name, process)
        self.running.append(started)
        if waits:
            assert process.stdout is not None
            with contextlib.suppress(TimeoutError):
                started.said = (await asyncio.wait_for(process.stdout.readline(), START_TIMEOUT_S)).decode().strip()
            if not started.said:
                raise Unavailable(f"{name} did not start: see {self.logs / (name + '.log')}")
        return started

    async def close(self) -> None:
        """End all, the newest first."""
        for process in reversed(self.running):
            await process.end()
