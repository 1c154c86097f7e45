"""The library that notes what a process writes: built once, loaded by ``LD_PRELOAD``, steered from within."""

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")
OUT, ROOT, SENDS, PRELOAD = "SPINE_SHIM_OUT", "SPINE_SHIM_ROOT", "SPINE_SHIM_SENDS", "LD_PRELOAD"


def build() -> Path:
    """Return the library, compiled unless it is there already; raise `RuntimeError` where there is no compiler."""
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gridspine-sim"
    library = kept / f"spine-shim-{digest}.so"
    if library.exists():
        return library
    kept.mkdir(mode=0o700, parents=True, exist_ok=True)
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise RuntimeError("no C compiler: install gcc, for what a process writes is noted by a small C library")
    fresh = library.with_name(f"{library.name}.{os.getpid()}")
    command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(fresh), str(SOURCE), "-ldl", "-lpthread"]
    subprocess.run(command, check=True)
    fresh.replace(library)
    return library


def environment(root: Path, out: Path, *, sends: bool = False) -> dict[str, str]:
    """Return the variables under which a process notes in ``out`` what it writes below ``root`` (and sends)."""
    return {PRELOAD: str(build()), ROOT: str(root), OUT: str(out)} | ({SENDS: "1"} if sends else {})


def loaded(variables: Mapping[str, str] = os.environ) -> bool:
    """Whether this process notes."""
    return OUT in variables and "spine-shim" in variables.get(PRELOAD, "")


@functools.cache
def _controls() -> ctypes.CDLL:
    if not loaded():
        raise RuntimeError("this process does not note what it writes: start it by `python -m sim`")
    library = ctypes.CDLL(os.environ[PRELOAD])
    library.spine_shim_room.argtypes = [ctypes.c_int64]
    library.spine_shim_room_left.restype = ctypes.c_int64
    library.spine_shim_syncs.restype = ctypes.c_int64
    return library


@contextmanager
def paused() -> Iterator[None]:
    """Note nothing meanwhile: what is written is the simulation's own, or a dead node's."""
    controls = _controls()
    controls.spine_shim_pause(1)
    try:
        yield
    finally:
        controls.spine_shim_pause(0)


def forget() -> None:
    """Note nothing more of the files that are open now: they are a dead node's."""
    _controls().spine_shim_forget()


def set_room(bytes_: int) -> None:
    """Let files grow by ``bytes_`` in all from now on, then by nothing (``ENOSPC``); -1: without limit."""
    _controls().spine_shim_room(bytes_)


def room_left() -> int:
    """Return by how many bytes files may still grow, -1 without a limit."""
    return int(_controls().spine_shim_room_left())


def syncs() -> int:
    """Return how many syncs this process has begun."""
    return int(_controls().spine_shim_syncs())
