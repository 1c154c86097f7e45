"""A run of the tests that skips what it may not, or leaves something behind, fails and says why."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
LEFT_PROCESS = """
import subprocess
def test_it():
    subprocess.Popen(["setsid", "sleep", "600"], start_new_session=True)
"""
LEFT_SOCKET = """
import socket
kept = []
def test_it():
    kept.append(socket.create_server(("127.0.0.1", 0)))
"""
LEFT_FILE = """
import tempfile
def test_it():
    tempfile.mkdtemp(prefix="forgotten")
"""
UNCLOSED_SOCKET = """
import gc, socket
def make_it():
    socket.socket()
def test_that_makes_it():
    make_it()
def test_it():
    gc.collect()
"""
SKIPPED = """
import pytest
def test_it():
    pytest.skip("no such program")
"""
TIDY = """
import socket, subprocess, tempfile
def test_it(tmp_path):
    subprocess.run(["true"])
    with socket.create_server(("127.0.0.1", 0)), tempfile.TemporaryDirectory():
        pass
"""


def run(folder, text, skips="", more=()):
    house, patience = (TESTS / "conftest.py").read_text(), "_PATIENCE_S = 60.0"
    assert patience in house
    (folder / "conftest.py").write_text(house.replace(patience, "_PATIENCE_S = 3.0"))  # what is planted never ends
    (folder / "skips.toml").write_text(skips)
    (folder / "test_planted.py").write_text(text)
    environment = {name: value for name, value in os.environ.items() if name != "TESTS_OF_THIS_RUN"}
    words = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
        "--rootdir",
        folder,
        *more,
    ]
    return subprocess.run([*words, folder], cwd=folder, env=environment, capture_output=True, text=True, timeout=240)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (LEFT_PROCESS, "a process was left: "),
        (LEFT_SOCKET, "a socket still listens: port "),
        (LEFT_FILE, "a temporary file was left: forgotten"),
        (SKIPPED, "skipped, and not named in tests/skips.toml: test_planted.py::test_it (Skipped: no such program)"),
    ],
)
def test_what_is_planted_is_found(tmp_path, text, complaint):
    ended = run(tmp_path, text)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert f"FAILED {complaint}" in ended.stdout


def test_a_socket_that_nobody_closed_says_where_it_was_made(tmp_path):
    ended = run(
        tmp_path,
        UNCLOSED_SOCKET,
        more=("-W", "error::ResourceWarning", "-W", "error::pytest.PytestUnraisableExceptionWarning"),
    )
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "made in test_planted.py::test_that_makes_it (call): " in ended.stdout
    assert "test_planted.py:4 make_it < " in ended.stdout


def test_what_is_tidy_passes(tmp_path):
    ended = run(tmp_path, TIDY)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_an_allowed_skip_is_counted(tmp_path):
    ended = run(tmp_path, SKIPPED, '"test_planted.py::*" = "because"')
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "skipped: 1 (they did not pass)" in ended.stdout


def test_the_skips_that_are_allowed_exist_and_have_reasons():
    import tomllib

    for pattern, reason in tomllib.loads((TESTS / "skips.toml").read_text()).items():
        path, _, name = pattern.partition("::")
        text = (TESTS.parent / path).read_text()
        assert name == "*" or f"def {name}(" in text, pattern
        assert len(reason) > 10, pattern
