"""A new adapter: written, sound, installed as a stranger's is, judged by its name, run in a node, held to its pin."""

import asyncio
import base64
import hashlib
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from running_node import World, settings_for
from typer.testing import CliRunner

from gridspine.apps.cli.main import app
from gridspine.infra.runtime.settings import Adapters
from gridspine.kernel.errors import Invalid
from gridspine.testing.candidate import find
from gridspine.testing.judge import judge
from gridspine.testing.rig import Sample
from gridspine.testing.scaffold import begin
from gridspine.things.adapter_host import installed as installed_adapters
from gridspine.things.adapter_package import fingerprint, packages, refusal

NAME, PACKAGE = "morse_code", "gridspine_morse_code"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("new") / "morse"
    begin(NAME, folder)
    return folder


@pytest.fixture
def installed(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package in a folder of its own on the path, with what an installer records of it."""
    target = tmp_path / "site"
    about = target / f"{PACKAGE}-0.1.0.dist-info"
    about.mkdir(parents=True)
    files = {f"{PACKAGE}/{path.name}": path.read_bytes() for path in (written / "src" / PACKAGE).iterdir()}
    files[f"{about.name}/METADATA"] = b"Metadata-Version: 2.1\nName: gridspine-morse_code\nVersion: 0.1.0\n"
    files[f"{about.name}/entry_points.txt"] = f"[gridspine.adapters]\n{NAME} = {PACKAGE}:adapter\n".encode()
    rows = [f"{about.name}/RECORD,,\n"]
    for name, content in files.items():
        (target / name).parent.mkdir(exist_ok=True)
        (target / name).write_bytes(content)
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
        rows.append(f"{name},sha256={digest},{len(content)}\n")
    (about / "RECORD").write_text("".join(rows))
    monkeypatch.syspath_prepend(str(target))
    yield target
    forget()


def forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]
    importlib.invalidate_caches()


def test_it_is_written_in_the_style_of_the_house(written: Path) -> None:
    ruff = Path(sys.executable).parent / "ruff"
    for words in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [ruff, *words, "--no-cache", written], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert not [path for path in written.rglob("*") if path.is_file() and "{{" in path.read_text()]


@pytest.mark.parametrize("name", ["Morse", "1st", "a-b", "a__b", "", "class", "../x", "x" * 41])
def test_a_name_that_is_none_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(Invalid, match="is not lower-case"):
        begin(name, tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    with pytest.raises(Invalid, match="is there already"):
        begin(NAME, tmp_path)


def test_it_is_judged_from_its_folder(written: Path) -> None:
    done = CliRunner().invoke(app, ["adapter", "check", str(written)])
    forget()
    sys.path.remove(str(written / "src"))
    assert done.exit_code == 0, done.output
    assert "bronze; 0 failed" in done.output


async def test_what_it_does_not_keep_is_found(installed: Path) -> None:
    """The driver is spoilt: it repeats what was refused, and says nothing of the wire."""
    wire = installed / PACKAGE / "session.py"
    wire.write_text(wire.read_text().replace("self._context.trace(", "(lambda *_, **__: None)("))
    driver = installed / PACKAGE / "driver.py"
    driver.write_text(driver.read_text().replace("if self._order is order:", "if answer == b'ok\\n':"))
    quality = installed / PACKAGE / "quality.toml"
    quality.write_text(quality.read_text().replace('level = "bronze"', 'level = "silver"'))
    (candidate,) = find(NAME)
    verdict = await judge(candidate, patience_s=0.5, only=("traced", "refused-write-never-sent", "units-declared"))
    assert {one.rule: one.state for one in verdict.findings} == {
        "units-declared": "passed", "traced": "failed", "refused-write-never-sent": "failed",
    }  # fmt: skip
    assert verdict.level == "none"


def test_it_is_listed_and_its_fingerprint_tells_of_every_change(installed: Path) -> None:
    one = packages()[NAME]
    assert (one.version, one.distribution, one.editable) == ("0.1.0", "gridspine-morse_code", False)
    assert one.asks == {"connect": "the addresses of its Things"}
    assert PACKAGE not in sys.modules, "it was looked at, and not run"
    found, changed = fingerprint(NAME)
    assert found.startswith("sha256:") and not changed
    assert refusal(NAME, found) == ""
    assert "look at what changed" in refusal(NAME, "sha256:0")
    listed = CliRunner().invoke(app, ["adapter", "list"]).output
    assert "morse_code 0.1.0 (gridspine-morse_code): not allowed\n    asks for      connect the addresses" in listed
    assert found in listed
    (installed / PACKAGE / "wire.py").write_text("print('else')\n")
    assert fingerprint(NAME) == (found, [f"{PACKAGE}/wire.py"])
    assert "wire.py" in refusal(NAME, found)
    assert "not installed" in refusal("nobody", found)


def test_a_module_from_elsewhere_is_found(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = fingerprint(NAME)
    points = installed / f"{PACKAGE}-0.1.0.dist-info" / "entry_points.txt"
    before = points.read_text()
    points.write_text(before.replace(f"{PACKAGE}:", "gridspine.adapters.mqtt:"))
    assert "which is not in the package" in refusal(NAME, found)
    points.write_text(before)
    assert refusal(NAME, found) == ""
    other = tmp_path / "before" / PACKAGE
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(other.parent))
    assert "in whose place another lies" in refusal(NAME, found)


def test_a_second_of_the_same_name_takes_nobodys_place(installed: Path) -> None:
    about = installed / "impostor-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: impostor\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[gridspine.adapters]\nmorse_code = impostor:adapter\nmqtt = impostor:a\n")
    importlib.invalidate_caches()
    for name, packages_ in ((NAME, "gridspine-morse_code and impostor"), ("mqtt", "gridspine and impostor")):
        with pytest.raises(Invalid, match=packages_):
            installed_adapters()[name]()
        assert "in more than one package" in refusal(name, "sha256:0")


async def test_a_node_runs_it_and_refuses_it_when_it_changed(installed: Path, tmp_path: Path) -> None:
    pin = {NAME: fingerprint(NAME)[0]}
    allowed = settings_for(adapters=Adapters(allow=[NAME], pin=pin))
    device = importlib.import_module(f"{PACKAGE}.rig").rig()
    await device.start(None)
    world = await World.start(tmp_path / "data", allowed)
    try:
        connection = {"host": "127.0.0.1", "port": device._device.port, "intervalS": 1}
        asked = await world.op.post(f"/adapters/{NAME}/trace", json={"forS": 60})
        assert asked.status_code == 200, asked.text
        thing = await world.thing("urn:example:m", adapter=NAME, connection=connection)
        await device.measure(Sample(thing, "voltage", 231.5, "V"))
        async with asyncio.timeout(60):
            while (await world.op.get(f"/things/{thing}/properties/voltage")).json().get("value") != 231.5:
                await asyncio.sleep(0.05)
        lines = (await world.op.get(f"/adapters/{NAME}/trace")).json()["lines"]
        assert {("out", "read\n"), ("in", "activePower=0.0 W;voltage=231.5 V\n")} <= {
            (line["direction"], line["text"]) for line in lines
        }
    finally:
        await world.stop()
        await device.stop()
    (installed / PACKAGE / "wire.py").write_text("print('else')\n")
    with pytest.raises(Invalid, match=r"adapters.pin: morse_code is pinned, and files .*wire.py"):
        await World.start(tmp_path / "data", allowed)
