"""``gridspine doctor``: what is wrong with a node, running or stopped, and what to do."""

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from gridspine.apps.cli.client import Data
from gridspine.apps.node.paths import data_directory, settings_file
from gridspine.infra.runtime.settings import Settings, load_settings
from gridspine.kernel.errors import GridspineError

_MARKS = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}
_COLOURS = {"ok": typer.colors.GREEN, "warn": typer.colors.YELLOW, "fail": typer.colors.RED}


def doctor(
    data: Data = None,
    full: Annotated[bool, typer.Option(help="Look at every segment and every hash, not just the newest.")] = False,
    json: Annotated[bool, typer.Option(help="Print the findings as JSON.")] = False,
    mosquitto: Annotated[
        list[Path] | None, typer.Option(help="Configuration of a Mosquitto on this machine; may be repeated.")
    ] = None,
) -> None:
    """Look at a node's data, settings and machine, and say what to do; changes nothing.

    Works on a running node and on a stopped one. Exit code 1 when something fails.
    """
    from gridspine.apps.doctor import directory, machine, reach, storage
    from gridspine.apps.doctor.report import Patient, fail, is_locked, ok

    folder = data_directory(data)
    if not folder.is_dir():
        lines = [fail("data directory", f"{folder} is not there", "'gridspine init' makes one")]
    else:
        settings, said = Settings(), ok("settings", "can be read")
        try:
            settings = load_settings(settings_file(folder))
        except GridspineError as error:
            said = fail("settings", error.detail, "mend settings.toml; what follows supposes the defaults")
        more = {"mosquitto": tuple(mosquitto)} if mosquitto else {}
        patient = Patient(folder, settings, is_locked(folder), full, **more)
        lines = [said, *(line for part in (directory, storage, machine, reach) for line in part.look(patient))]
    if json:
        print(msgspec.json.encode(lines).decode())
    else:
        for line in lines:
            mark = typer.style(_MARKS[line.state], fg=_COLOURS[line.state], bold=line.state != "ok")
            typer.echo(f"{mark}  {line.what}: {line.says}" + (f"\n      -> {line.to_do}" if line.to_do else ""))
    failed = sum(line.state == "fail" for line in lines)
    if failed:
        if not json:
            typer.echo(f"{failed} of {len(lines)} fail")
        sys.exit(1)
