"""What `deploy/` holds is sound as far as this machine can say: the unit, the container file, the environment."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gridspine.infra.runtime.settings import load_settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "systemd" / "gridspine.service"
UNITS = {
    UNIT: "gridspine up",
    UNIT.with_name("gridspine-edge.service"): "gridspine-edge --settings /etc/gridspine/edge.toml",
}
CONTAINER = (DEPLOY / "container" / "Containerfile").read_text()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_takes_the_unit_and_finds_it_hardened(tmp_path):
    for file, command in UNITS.items():
        unit = tmp_path / file.name
        text = file.read_text()
        assert f"ExecStart=/opt/gridspine/bin/{command}\n" in text
        unit.write_text(
            text.replace(f"/opt/gridspine/bin/{command}", "/bin/true")
        )  # which must be there to be verified
        verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60)
        assert (verified.returncode, verified.stderr) == (0, "")
        judged = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", unit], capture_output=True, text=True, timeout=60
        )
        found = re.search(r"exposure level for \S+: ([\d.]+)", judged.stdout)
        assert found is not None, judged.stdout + judged.stderr
        assert float(found[1]) < 2.0


def allowed_calls(text):
    """Return the system calls that a unit allows, by the sets this machine's systemd knows."""
    sets, name = {}, ""
    told = subprocess.run(["systemd-analyze", "syscall-filter"], capture_output=True, text=True, timeout=60).stdout
    for line in told.splitlines():
        if line.startswith("@"):
            name = line.strip()
            sets[name] = set()
        elif line.startswith(" ") and not line.strip().startswith("#") and name:
            sets[name].add(line.strip())

    def calls(word):
        return set().union(*map(calls, sets[word])) if word in sets else {word}

    allowed = set()
    for value in re.findall(r"^SystemCallFilter=(.+)$", text, re.MULTILINE):
        named = set().union(*map(calls, value.removeprefix("~").split()))
        allowed = allowed - named if value.startswith("~") else allowed | named
    return allowed


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_the_unit_lets_the_query_process_fence_itself_in():
    for file in UNITS:
        allowed = allowed_calls(file.read_text())
        assert {"seccomp", "prctl", "prlimit64", "execve", "socket", "fsync"} <= allowed
        assert not {"mount", "reboot", "ptrace", "bpf", "init_module"} & allowed
    assert "seccomp" not in allowed_calls(UNIT.read_text().replace("=seccomp", "=@timer\nSystemCallFilter=~seccomp"))


def test_the_unit_says_what_the_node_keeps_to():
    words = dict(line.split("=", 1) for line in UNIT.read_text().splitlines() if "=" in line and line[0] not in "#[")
    assert (words["Type"], words["NoNewPrivileges"], words["ProtectSystem"]) == ("notify", "yes", "strict")
    assert words["User"] not in {"", "root"}
    assert {"MemoryMax", "WatchdogSec", "TimeoutStopSec", "LimitNOFILE"} <= set(words)


def test_the_container_is_built_in_stages_from_a_pinned_base_and_runs_as_nobody_special():
    stages = re.findall(r"^FROM (\S+)", CONTAINER, re.MULTILINE)
    base = re.search(r"^ARG BASE=(\S+)$", CONTAINER, re.MULTILINE)
    assert len(stages) == 2
    assert base is not None
    assert re.fullmatch(r"\S+:\d+\.\d+\.\d+\S*", base[1])
    user = re.findall(r"^USER (\d+):\d+$", CONTAINER, re.MULTILINE)
    assert user and all(int(one) > 0 for one in user)
    assert CONTAINER.index("\nUSER ") > CONTAINER.index("\nRUN useradd")
    assert "\nHEALTHCHECK " in CONTAINER
    assert "--require-hashes" in CONTAINER


def test_what_the_container_copies_is_there_and_not_ignored():
    wanted = {
        name for line in re.findall(r"^COPY (?!--from)(.+)$", CONTAINER, re.MULTILINE) for name in line.split()[:-1]
    }
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert wanted == kept
    assert all((ROOT / name).exists() for name in wanted)


def test_the_example_environment_names_settings_that_exist():
    lines = (DEPLOY / "gridspine.env").read_text().splitlines()
    found = dict(re.findall(r"^#?(GRIDSPINE_\w+)=(.*)$", "\n".join(lines), re.MULTILINE))
    assert "GRIDSPINE_SECRET_MQTT_PASSWORD" in found
    settings = load_settings(None, found)
    assert settings.tls.enabled and settings.tracing.enabled
    assert settings.log_json, "the environment did not reach the settings"
