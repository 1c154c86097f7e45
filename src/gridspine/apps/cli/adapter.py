"""``gridspine adapter``: what is installed and allowed, what is said on a wire, a new one begun, any one judged."""

import asyncio
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import httpx
import msgspec
import typer

from gridspine.apps.cli.client import Client, Data
from gridspine.apps.cli.connect import check, connected
from gridspine.apps.node.paths import data_directory, settings_file
from gridspine.infra.runtime.settings import load_settings
from gridspine.kernel.errors import Invalid

if TYPE_CHECKING:
    from gridspine.testing.verdict import Verdict

app = typer.Typer(help="Adapters: list, trace, write and judge them.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="NAME", help="The adapter's name, as in adapters.allow.")]
_ARROWS = {"in": "<", "out": ">", "note": "-"}
_LOOK_S = 1.0


@app.command("list")
def list_(
    data: Data = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with whole fingerprints.")] = False,
) -> None:
    """List the installed adapters: version, package, whether the settings allow it, what it asks for, its fingerprint.

    The fingerprint covers the files of the package as they were installed: it tells that a package is the one that
    somebody looked at, not who made it. `adapters.pin` in the settings holds the node to it.
    """
    from gridspine.things.adapter_package import fingerprint, packages

    settings = load_settings(settings_file(data_directory(data))).adapters
    rows = []
    for name, one in sorted(packages().items()):
        found, changed = fingerprint(name)
        pinned = settings.pin.get(name, "")
        rows.append({
            "name": name, "version": one.version, "package": one.distribution, "allowed": name in settings.allow,
            "asks": one.asks, "fingerprint": found or "none: a source tree", "changed": changed,
            "pinned": "" if not pinned else ("yes" if pinned == found and not changed else "to another"),
        })  # fmt: skip
    print(json.dumps(rows, indent=1) if as_json else "\n".join(_listed(row) for row in rows) or "none is installed")


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Lower-case letters, digits, underscores: my_meter.")],
    into: Annotated[Path | None, typer.Option(help="Folder to write it into (default: gridspine-NAME here).")] = None,
) -> None:
    """Begin an adapter: a package of its own that installs, runs and is judged as it stands."""
    from gridspine.testing.scaffold import begin

    folder = into or Path(f"gridspine-{name}")
    for path in begin(name, folder):
        print(path)
    print(f"judge it with: gridspine adapter check {folder}")


@app.command("check")
def check_(
    named: Annotated[str, typer.Argument(metavar="NAME|PATH", help="An installed adapter, or a folder of a package.")],
    only: Annotated[list[str] | None, typer.Option(help="Look at this rule alone; may be repeated.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Judge an adapter by the rules for adapters; ends with 1 when it does not keep what it says it keeps.

    It is run: judge only what you would run. Its device is the one that its rig.py brings, on this machine.
    """
    from gridspine.testing.candidate import find
    from gridspine.testing.judge import judge
    from gridspine.testing.rules import rules

    if unknown := set(only or ()) - rules().keys():
        raise Invalid(f"--only: there is no rule {', '.join(sorted(unknown))}; there are: {', '.join(rules())}")
    logging.getLogger().addHandler(logging.NullHandler())  # what it logs of a device that is cut off is expected
    verdicts = [asyncio.run(judge(one, only=only or ())) for one in find(named)]
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(verdicts), indent=1).decode())
    else:
        print("\n".join(_judged(one, whole=not only) for one in verdicts))
    if any(one.problems or (not only and one.level != one.claims) for one in verdicts):
        raise typer.Exit(1)


@app.command()
def trace(
    name: Name,
    for_s: Annotated[float, typer.Option("--for", help="How long to look [s].")] = 30.0,
    peer: Annotated[str, typer.Option(help="Only what is said with peers in whose name this occurs.")] = "",
    follow: Annotated[bool, typer.Option("--follow", help="Look until interrupted, an hour at most.")] = False,
    data: Data = None,
    client: Client = "operator",
) -> None:
    """Show what a running node's adapter and its devices say to each other, as it is said; secrets are hidden.

    `<` is said by a device, `>` to it, `-` is the adapter's own word. Bytes that are no text are shown as hexadecimal
    digits. Nothing is kept when nobody looks.
    """
    asyncio.run(_trace(data_directory(data), client, name, 3600.0 if follow else for_s, peer))


def _listed(row: dict[str, Any]) -> str:
    words = [_asked(key, value) for key, value in row["asks"].items() if value]
    pinned = {"": "", "yes": ", pinned", "to another": ", PINNED TO ANOTHER: it is refused"}[row["pinned"]]
    lines = [
        f"{row['name']} {row['version']} ({row['package']}): {'allowed' if row['allowed'] else 'not allowed'}{pinned}",
        f"    asks for      {'; '.join(words) or 'nothing that it says'}",
        f"    fingerprint   {row['fingerprint']}",
    ]
    lines += [f"    CHANGED       {path}" for path in row["changed"][:5]]
    return "\n".join(_plain(line) for line in lines)


def _asked(key: str, value: Any) -> str:
    if value is True:
        return f"a {key} of its own"
    return f"{key} {', '.join(value) if isinstance(value, list) else value}"


def _judged(verdict: "Verdict", *, whole: bool) -> str:
    lines = [f"{verdict.adapter} {verdict.version} ({verdict.package})"]
    for one in verdict.findings:
        lines.append(f"  {one.state:<8}{one.level:<8}{one.rule:<30}{one.words}".rstrip())
    failed = len(verdict.problems)
    if whole:
        claims = "" if verdict.claims == verdict.level else f", and claims to be {verdict.claims}"
        lines.append(f"  {verdict.level}{claims}; {failed} failed")
    return "\n".join(_plain(line) for line in lines)


async def _trace(data: Path, client: str, name: str, for_s: float, peer: str) -> None:
    async with connected(data, client, start=False) as http:
        await _look_for(http, f"/adapters/{name}/trace", for_s, peer)


async def _look_for(http: httpx.AsyncClient, path: str, for_s: float, peer: str) -> None:
    view = check(await http.post(path, json={"forS": for_s, "peer": peer})).json()
    number, dropped = max((line["number"] for line in view["lines"]), default=0), view["dropped"]
    try:
        while view["on"]:
            await asyncio.sleep(min(_LOOK_S, view["leftS"]))
            view = await _look(http, path, number)
            number = max([number, *(line["number"] for line in view["lines"])])
            if view["dropped"] > dropped:
                print(f"  … {view['dropped'] - dropped} lines too many in a second are not shown")
                dropped = view["dropped"]
    finally:
        await http.delete(path)


async def _look(http: httpx.AsyncClient, path: str, after: int) -> dict[str, Any]:
    view: dict[str, Any] = check(await http.get(path, params={"after": after})).json()
    for line in view["lines"]:
        print(shown(line), flush=True)
    return view


def shown(line: dict[str, Any]) -> str:
    """Return a line of a trace as it is printed; what would steer a terminal is escaped."""
    text = line["text"] + (" …" if line["cut"] else "")
    parts = [_plain(part) for part in text.splitlines()] or [""]
    first = f"{line['time']} {_plain(line['peer'])} {_ARROWS[line['direction']]} {parts[0]}"
    return "\n".join([first, *(f"    {part}" for part in parts[1:])])


def _plain(text: str) -> str:
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)
