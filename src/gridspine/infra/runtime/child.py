"""Child processes of ours: Python modules that are talked to over pipes, and get nothing of ours but those."""

import asyncio
import contextlib
import os
import sys

_KEPT = ("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "HOME", "TMPDIR")


def plain_environment(**more: str) -> dict[str, str]:
    """Return an environment that holds no secrets: what finding and running Python needs, and ``more``."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, "LANG": "C.UTF-8", "TZ": "UTC", **more}


async def start_child(module: str, *arguments: str, **environment: str) -> asyncio.subprocess.Process:
    """Start ``python -m module arguments``, with pipes to its standard input and output."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=plain_environment(**environment),
    )


async def end_child(child: asyncio.subprocess.Process | None) -> None:
    """End a child, whatever it does, and give back its pipes; whoever is cancelled meanwhile still sees it through."""
    if child is None:
        return
    ending = asyncio.ensure_future(_end(child))
    try:
        await asyncio.shield(ending)
    except asyncio.CancelledError:
        await ending  # it was killed: this is soon
        raise


async def _end(child: asyncio.subprocess.Process) -> None:
    if child.stdin is not None:
        child.stdin.close()
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
    reading = child._transport.get_pipe_transport(1)  # type: ignore[attr-defined]
    if reading is not None:
        reading.close()  # `wait` returns once pipes are closed too: a full one, or one held elsewhere, never would be
    await child.wait()
    child._transport.close()  # type: ignore[attr-defined]  # its pipes, now and not when collected
