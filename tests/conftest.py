"""What a whole run of the tests must leave as it was, and which tests may be skipped.

A run fails when a test was skipped that ``skips.toml`` does not name, and when processes, listening sockets, threads'
children or temporary files are left behind. Allowed skips are counted and printed: they did not pass.

A socket that nobody closed is found when it is collected, tests later: so each remembers where it was made.
"""

import os
import shutil
import socket
import sys
import tempfile
import tomllib
import uuid
from fnmatch import fnmatch
from pathlib import Path
from types import FrameType

import hypothesis
import psutil
import pytest
import structlog

MARK = "TESTS_OF_THIS_RUN"
"""Environment variable by which a run knows its processes, whoever adopted them."""
SKIPS = Path(__file__).with_name("skips.toml")
_PATIENCE_S = 60.0
_FRAMES = 12
_MADE = {}
"""By file descriptor: the test in which its latest socket was made, and the lines that led there."""


# How long an example takes says how busy the machine is, and nothing else.
hypothesis.settings.register_profile("house", deadline=None)
if hypothesis.settings.get_current_profile_name() == "default":
    hypothesis.settings.load_profile("house")


@pytest.fixture(autouse=True)
def logs_as_before():
    """A command that is tried in this process sets where its logs go: none of the later tests' business."""
    before = structlog.get_config()
    yield
    if structlog.get_config() != before:
        structlog.configure(**before)


def pytest_configure(config):
    remember_where_sockets_are_made()
    if not hasattr(config, "workerinput") and MARK not in os.environ:  # not a run inside a run
        config.pluginmanager.register(House(), "house")
        if os.environ.get("GRIDSPINE_TALLY"):
            from tests import judged

            if counting := judged.tally():
                config.pluginmanager.register(counting, "judges")


class House:
    """Looks after one run."""

    def __init__(self):
        self.skipped = {}
        self.complaints = []
        self.mark = os.environ[MARK] = str(uuid.uuid4())
        # What tests and their processes put among the temporary files goes into a folder of this run's own.
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
        self.temporary = Path(tempfile.mkdtemp(prefix="run-"))
        self.before = (os.environ.get("TMPDIR"), tempfile.tempdir)
        os.environ["TMPDIR"] = tempfile.tempdir = str(self.temporary)

    def pytest_runtest_logreport(self, report):
        if report.skipped and not hasattr(report, "wasxfail"):
            self.skipped[report.nodeid] = _why(report)

    def pytest_collectreport(self, report):
        if report.skipped:
            self.skipped[report.nodeid] = _why(report)

    def pytest_sessionfinish(self, session):
        allowed = tomllib.loads(SKIPS.read_text())
        self.complaints += [
            f"skipped, and not named in tests/skips.toml: {test} ({why})"
            for test, why in self.skipped.items()
            if not any(fnmatch(test, pattern) for pattern in allowed)
        ]
        self.complaints += left_processes(self.mark)
        self.complaints += [f"a socket still listens: port {port}" for port in listening()]
        left = sorted(path.name for path in self.temporary.iterdir())
        self.complaints += [f"a temporary file was left: {name}" for name in left]
        self._tidy()
        if self.complaints and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _tidy(self):
        shutil.rmtree(self.temporary, ignore_errors=True)
        before, tempfile.tempdir = self.before
        if before is None:
            os.environ.pop("TMPDIR", None)
        else:
            os.environ["TMPDIR"] = before
        os.environ.pop(MARK, None)

    def pytest_terminal_summary(self, terminalreporter):
        if self.skipped:
            terminalreporter.write_line(f"skipped: {len(self.skipped)} (they did not pass)")
        for complaint in self.complaints:
            terminalreporter.write_line(f"FAILED {complaint}", red=True)


def remember_where_sockets_are_made():
    """Have every socket say where it was made, in its ``repr``: that is what a warning of an unclosed one prints."""
    make, show = socket.socket.__init__, socket.socket.__repr__
    if make.__name__ == "make_and_remember":
        return

    def make_and_remember(self, *args, **more):
        make(self, *args, **more)
        lines, frame = [], sys._getframe(1)
        while isinstance(frame, FrameType) and len(lines) < _FRAMES:
            lines.append((frame.f_code, frame.f_lineno))
            frame = frame.f_back
        _MADE[self.fileno()] = os.environ.get("PYTEST_CURRENT_TEST", "no test"), lines

    def show_with_where(self):
        test, lines = _MADE.get(self.fileno(), ("", []))
        where = " < ".join(f"{code.co_filename}:{line} {code.co_name}" for code, line in lines)
        return f"{show(self)[:-1]}, made in {test}: {where}>" if where else show(self)

    socket.socket.__init__, socket.socket.__repr__ = make_and_remember, show_with_where


def left_processes(mark):
    """Return what still runs of the run ``mark``, after some patience with those that are just ending."""
    psutil.wait_procs(_of_run(mark), timeout=_PATIENCE_S)
    complaints = []
    for process in _of_run(mark):  # looked for anew: one that ended may have started another meanwhile
        try:
            complaints.append(f"a process was left: {process.pid} {' '.join(process.cmdline())[:200]}")
            process.kill()
        except psutil.Error:
            continue
    return complaints


def listening():
    """Return the TCP ports this process still listens on."""
    connections = psutil.Process().net_connections("tcp")
    return sorted({found.laddr.port for found in connections if found.status == psutil.CONN_LISTEN})


def _of_run(mark):
    return [process for process in psutil.process_iter() if process.pid != os.getpid() and _is_of(process, mark)]


def _is_of(process, mark):
    try:
        return process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == mark
    except (psutil.Error, OSError):
        return False


def _why(report):
    return str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
