"""The machine: its clock, Python, the libraries, how many files a process may open."""

import ctypes
import re
import resource
import sqlite3
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from time import time

from gridspine import __version__
from gridspine.apps.doctor.report import Line, Patient, fail, ok, warn

OLDEST, NEWEST = (3, 11), (3, 13)
"""The Pythons this release is tested on."""
BUILT_S = 1_760_000_000
"""A clock before this [s since 1970] is wrong: the release is younger."""
_UNSYNCHRONISED = 0x40
_FILES = 4096


def look(patient: Patient) -> Iterator[Line]:
    """Yield what there is to say of the machine."""
    yield clock(time(), newest_s(patient.data))
    yield _kept_time()
    yield python(sys.version_info[:3])
    yield _libraries()
    yield _files()


def clock(now_s: float, newest: float) -> Line:
    """Judge the clock by the release's age and by the ``newest`` file [s since 1970]."""
    if now_s < BUILT_S:
        return fail("clock", "it stands before this release was made", "set it, and keep it by NTP")
    if newest > now_s + 60:
        return fail("clock", f"files in the data directory are {newest - now_s:.0f} s in the future",
                    "the clock was put back: set it, and keep it by NTP")  # fmt: skip
    return ok("clock", "not before anything that was written")


def newest_s(data: Path) -> float:
    """Return when the newest file of the data directory was written [s since 1970]; 0 when there is none."""
    found = [path for pattern in ("*", "log/*/*") for path in data.glob(pattern)]
    return max((path.stat().st_mtime for path in found if path.is_file()), default=0.0)


class _Timex(ctypes.Structure):
    """The head of Linux' ``struct timex`` (adjtimex(2)); the kernel writes more behind it."""

    _fields_ = (
        ("modes", ctypes.c_uint), ("offset", ctypes.c_long), ("freq", ctypes.c_long), ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long), ("status", ctypes.c_int), ("rest", ctypes.c_byte * 256),
    )  # fmt: skip


def _kept_time() -> Line:
    state = _Timex(modes=0)
    try:
        answer = ctypes.CDLL(None).adjtimex(ctypes.byref(state))
    except (OSError, AttributeError):
        answer = -1
    if answer < 0:
        return warn("time service", "the kernel does not say whether its clock is kept", "see that NTP runs")
    if state.status & _UNSYNCHRONISED:
        return warn("time service", "nobody keeps the clock", "install chrony or switch on systemd-timesyncd")
    return ok("time service", f"the clock is kept, within {state.maxerror / 1e6:.3f} s")


def python(found: tuple[int, ...]) -> Line:
    """Judge the version of Python."""
    words = ".".join(map(str, found))
    if found[:2] < OLDEST:
        return fail("python", words, f"use {OLDEST[0]}.{OLDEST[1]} or later")
    if found[:2] > NEWEST:
        return warn("python", f"{words} is newer than what this release was tested on", "watch its log")
    return ok("python", words)


def _libraries() -> Line:
    missing, old = [], []
    for text in requires("gridspine") or []:
        if "extra ==" in text:
            continue
        name, least = re.match(r"([A-Za-z0-9_.-]+)(?:\[[^]]*\])?\s*(?:>=\s*([\d.]+))?", text).groups()  # type: ignore[union-attr]
        try:
            found = version(name)
        except PackageNotFoundError:
            missing.append(name)
            continue
        if least and _numbers(found) < _numbers(least):
            old.append(f"{name} {found} (needs {least})")
    if missing or old:
        return fail("libraries", f"missing or too old: {', '.join(missing + old)}", "install gridspine again")
    return ok("libraries", f"gridspine {__version__}, SQLite {sqlite3.sqlite_version}, all that is needed is there")


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text.partition("+")[0])[:3])


def _files() -> Line:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < _FILES:
        return warn("open files", f"a process may open {soft}", "raise the limit (ulimit -n, LimitNOFILE) for many "
                    "devices")  # fmt: skip
    return ok("open files", f"a process may open {soft}")
