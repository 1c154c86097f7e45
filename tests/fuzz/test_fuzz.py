"""A short look at what `make fuzz` does at length: every decoder, some thousand inputs, documented errors only."""

import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parents[2] / "fuzz"
NAMES = subprocess.run(
    [sys.executable, str(FUZZ / "run.py"), "--list"], check=True, capture_output=True, text=True
).stdout.split()


def test_there_is_a_target_for_each_decoder() -> None:
    assert len(NAMES) > 20


@pytest.mark.parametrize("name", NAMES)
def test_nothing_but_documented_errors_comes_out(name: str) -> None:
    """In a child: a crash of the process, or an input that never ends, is a fault as well."""
    command = [sys.executable, str(FUZZ / "run.py"), name, "--inputs", "1500", "--seed", "4711"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert '"inputs": 1500' in done.stdout


def test_what_is_planted_is_found(tmp_path: Path) -> None:
    """A decoder that raises what it does not document, and one that takes the process with it."""
    planted = tmp_path / "planted.py"
    planted.write_text(
        f"""
import sys; sys.path.insert(0, {str(FUZZ)!r})
import run, target
def fall(data):
    if b"x" in data: raise KeyError("planted")
    raise ValueError("documented")
made = target.Target("p", "planted", fall, (ValueError,), [b"abc"], [b"x"])
found = run.fuzz(made, 2000, 1)
assert found["outcomes"]["fault"] > 0 and found["outcomes"]["ValueError"] > 0, found
assert found["faults"][0]["what"].startswith("KeyError"), found
"""
    )
    subprocess.run([sys.executable, str(planted)], check=True, timeout=120)
