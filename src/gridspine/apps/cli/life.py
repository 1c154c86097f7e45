"""``gridspine life``: where a Thing stands, what happened to it, its next step, its examination, its files."""

import asyncio
import mimetypes
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from gridspine.apps.cli.client import Client, Data
from gridspine.apps.cli.connect import check, connected
from gridspine.apps.node.paths import data_directory
from gridspine.kernel.errors import Invalid

app = typer.Typer(help="The lives of Things: enrolment, commissioning, steps, history, files.", no_args_is_help=True)
ThingId = Annotated[str, typer.Argument(metavar="THING", help="The Thing's id.")]
Why = Annotated[str, typer.Option("--why", help="Why: it is in the ledger for good.")]
Evidence = Annotated[list[str] | None, typer.Option("--evidence", help="What shows it; may be repeated.")]


@app.command()
def show(thing: ThingId, data: Data = None, client: Client = "operator") -> None:
    """Show where a Thing stands, and the steps that led there."""
    _show(_ask(data, client, "GET", f"{_path(thing)}/lifecycle"))


@app.command()
def step(
    thing: ThingId,
    to: Annotated[
        str, typer.Argument(metavar="STATE", help="commissioned, suspended, quarantined, resumed or retired.")
    ],
    why: Why,
    evidence: Evidence = None,
    data: Data = None,
    client: Client = "operator",
) -> None:
    """Take a step in a Thing's life."""
    body = {"to": to, "why": why, "evidence": evidence or []}
    _show(_ask(data, client, "POST", f"{_path(thing)}/lifecycle", body))


@app.command()
def history(
    thing: ThingId,
    kinds: Annotated[str, typer.Option(help="Only some of life, command, alarm, incident, change; by commas.")] = "",
    limit: Annotated[int, typer.Option(help="How many, the newest first.", min=1, max=500)] = 50,
    data: Data = None,
    client: Client = "operator",
) -> None:
    """Print what happened to a Thing, the newest first."""
    answer = _ask(data, client, "GET", f"{_path(thing)}/history?limit={limit}&kinds={quote(kinds)}")
    for entry in answer["entries"]:
        who = entry["name"] or entry["by"]
        typer.echo(f"{entry['at']}  {entry['kind']:<8}  {entry['words']}" + (f"  ({who})" if who else ""))


@app.command()
def examine(
    thing: ThingId,
    since: Annotated[
        str, typer.Option(help="Look at what it reported since then (RFC 3339); an hour by default.")
    ] = "",
    nameplate_w: Annotated[float | None, typer.Option(help="The power on its nameplate [W].")] = None,
    reference: Annotated[str, typer.Option(help="Id of a point that measures the same power.")] = "",
    data: Data = None,
    client: Client = "operator",
) -> None:
    """Examine a Thing by its own readings and name what is wrong; exit 1 when it should not be commissioned."""
    body = {"since": since, "nameplateW": nameplate_w, "reference": reference}
    report = _ask(data, client, "POST", f"{_path(thing)}/commissioning", body)
    typer.echo(f"report     {report['id']}")
    typer.echo(f"checked    {', '.join(report['checks'])}")
    for name, why in report["unchecked"].items():
        typer.echo(f"unchecked  {name}: {why}")
    for one in report["findings"]:
        typer.echo(f"{one['severity']:<9}  {one['code']}: {one['words']}")
        typer.echo(f"           {one['cure']}")
    if not report["passed"]:
        raise typer.Exit(1)
    typer.echo("passed")


@app.command()
def voucher(
    thing: Annotated[str, typer.Argument(metavar="THING", help="The Thing it is for; none: it announces itself.")] = "",
    days: Annotated[float, typer.Option(help="How long it is good [days].")] = 7.0,
    note: Annotated[str, typer.Option(help="What it is for.")] = "",
    data: Data = None,
    client: Client = "operator",
) -> None:
    """Make a voucher with which one device announces itself and enrols; its code is shown this once."""
    made = _ask(data, client, "POST", "/vouchers", {"thing": thing, "lifeS": round(days * 86_400), "note": note})
    typer.echo(f"{made['id']}:{made['code']}")


@app.command()
def attach(
    thing: ThingId,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A photo, manual, certificate or log.")],
    media_type: Annotated[str, typer.Option("--type", help="What it is; by its name when not given.")] = "",
    note: Annotated[str, typer.Option(help="What it shows.")] = "",
    data: Data = None,
    client: Client = "operator",
) -> None:
    """Attach a file to a Thing."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise Invalid(f"{file} cannot be read: {error.strerror}") from error
    kind = media_type or ("application/pem-certificate-chain" if file.suffix in {".pem", ".crt"} else "")
    kind = kind or mimetypes.guess_type(file.name)[0] or "text/plain"
    path = f"{_path(thing)}/attachments?name={quote(file.name, safe='')}&note={quote(note, safe='')}"
    kept = _ask(data, client, "POST", path, content=content, headers={"content-type": kind})
    typer.echo(f"{kept['id']}  {kept['name']}  {kept['size']} bytes  sha256 {kept['digest']}")


def _show(life: dict[str, Any]) -> None:
    typer.echo(f"{life['thing']} is {life['state']}" + (f", before {life['resumes']}" if life["resumes"] else ""))
    for one in life["steps"]:
        typer.echo(f"  {one['at']}  {one['to']}: {one['why']}" + (f"  ({one['by']})" if one["by"] else ""))


def _path(thing: str) -> str:
    return f"/things/{quote(thing, safe='')}"


def _ask(data: Path | None, client: str, method: str, path: str, body: Any = None, **more: Any) -> Any:
    async def ask() -> Any:
        given = more if body is None else {**more, "json": body}
        async with connected(data_directory(data), client, start=False) as http:
            return check(await http.request(method, path, **given)).json()

    return asyncio.run(ask())
