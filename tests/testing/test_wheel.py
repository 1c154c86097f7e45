"""A stranger's adapter as a wheel, installed by an installer into an environment of its own: listed, pinned, judged."""

import shutil
import site
import subprocess
import sys
from pathlib import Path

import pytest

from gridspine.testing.scaffold import begin

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("uv"), reason="uv is not installed"),
]


def run(*words: object, at: Path) -> str:
    done = subprocess.run(list(map(str, words)), cwd=at, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_it_is_built_installed_listed_and_judged(tmp_path: Path) -> None:
    begin("morse_code", tmp_path / "morse")
    run("uv", "build", "-q", "--wheel", "--out-dir", tmp_path / "dist", tmp_path / "morse", at=tmp_path)
    run("uv", "venv", "-q", "-p", sys.executable, tmp_path / "venv", at=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    (place,) = (tmp_path / "venv").glob("lib/python3*/site-packages")
    ours = [one for one in (*site.getsitepackages(), *sys.path) if one.endswith("site-packages")]
    (place / "ours.pth").write_text(f"import site; site.addsitedir({ours[0]!r})\n")  # gridspine, and what it needs
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    run("uv", "pip", "install", "-q", "--no-deps", "-p", python, wheel, at=tmp_path)
    gridspine = [python, "-c", "from gridspine.apps.cli.launch import run; run()"]
    listed = run(*gridspine, "adapter", "list", at=tmp_path)
    own = listed.partition("morse_code 0.1.0 (gridspine-morse_code): not allowed\n")[2].splitlines()[:2]
    assert own[0].split() == ["asks", "for", "connect", "the", "addresses", "of", "its", "Things"]
    assert own[1].split()[0] == "fingerprint" and own[1].split()[1].startswith("sha256:")
    assert "bronze; 0 failed" in run(*gridspine, "adapter", "check", "morse_code", at=tmp_path)
    (place / "gridspine_morse_code" / "wire.py").write_text("print('else')\n")
    assert "wire.py" in run(*gridspine, "adapter", "list", at=tmp_path)
