"""``gridspine site``: connection points, their limits and envelopes, and what holds there."""

import asyncio
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from gridspine.apps.cli.client import Client, Data
from gridspine.apps.cli.connect import check, connected
from gridspine.apps.cli.document import read_object
from gridspine.apps.node.paths import data_directory

app = typer.Typer(help="Sites: connection points, their limits and operating envelopes.", no_args_is_help=True)
SiteId = Annotated[str, typer.Argument(metavar="SITE", help="The site's id.")]
Watts = Annotated[float | None, typer.Option(help="At most so much at the connection point [W]; none by default.")]


@app.command()
def add(
    title: Annotated[str, typer.Argument(metavar="TITLE", help="What people call it.")],
    thing: Annotated[list[str] | None, typer.Option(help="A Thing behind it; may be repeated.")] = None,
    import_limit_w: Watts = None,
    export_limit_w: Watts = None,
    guard: Annotated[str, typer.Option(help="The Thing that keeps the connection point's limits by itself.")] = "",
    point: Annotated[str, typer.Option(help="What the network calls the connection point.")] = "",
    data: Data = None,
    client: Client = "operator",
) -> None:
    """Register a connection point and the Things behind it; print its id."""
    body = {
        "title": title, "things": thing or [], "importLimitW": import_limit_w, "exportLimitW": export_limit_w,
        "guard": guard, "connectionPointId": point,
    }  # fmt: skip
    typer.echo(ask(data, client, "POST", "/sites", body)["id"])


@app.command("list")
def list_(data: Data = None, client: Client = "operator") -> None:
    """List the sites of the client's organisation."""
    for one in ask(data, client, "GET", "/sites"):
        limits = f"import {words(one['importLimitW'])}, export {words(one['exportLimitW'])}"
        typer.echo(f"{one['id']}  {one['title']}: {len(one['things'])} Things, {limits}")


@app.command()
def limits(
    site: SiteId,
    hours: Annotated[float, typer.Option(help="How far ahead.", min=0.1, max=168)] = 24.0,
    data: Data = None,
    client: Client = "operator",
) -> None:
    """Show what holds at a site now and in the hours to come: at the connection point, and by programmes."""
    for one in ask(data, client, "GET", f"{path_of(site)}/limits?hours={hours}"):
        programmes = "".join(f"; {id_}: {control(asked)}" for id_, asked in one["programmes"].items())
        typer.echo(f"{one['from']} … {one['until']}  {control(one['connectionPoint'])}{programmes}")


@app.command()
def envelope(
    site: SiteId,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The envelope, as JSON: title, default, intervals.")],
    data: Data = None,
    client: Client = "operator",
) -> None:
    """Set an operating envelope of a site; print its id. It reaches the Things behind it at once."""
    typer.echo(ask(data, client, "POST", f"{path_of(site)}/envelopes", read_object(file))["id"])


@app.command()
def lift(
    site: SiteId,
    envelope: Annotated[str, typer.Argument(metavar="ENVELOPE", help="The envelope's id.")],
    data: Data = None,
    client: Client = "operator",
) -> None:
    """Lift an envelope: what else limits the site holds."""
    ask(data, client, "DELETE", f"{path_of(site)}/envelopes/{quote(envelope, safe=':')}")


def path_of(site: str) -> str:
    """Return where a site is found."""
    return f"/sites/{quote(site, safe=':')}"


def words(limit_w: float | None) -> str:
    """Return a limit in words."""
    return "unlimited" if limit_w is None else f"≤ {limit_w:g} W"


def control(asked: dict[str, float]) -> str:
    """Return a control in words."""
    return ", ".join(f"{mode.removesuffix('W')} {value:g} W" for mode, value in asked.items()) or "no limit"


def ask(data: Path | None, client: str, method: str, path: str, body: Any = None) -> Any:
    """Ask the running node as ``client``; return the answer's document, None where there is none."""

    async def asking() -> Any:
        async with connected(data_directory(data), client, start=False) as http:
            answer = check(await http.request(method, path, **({} if body is None else {"json": body})))
            return answer.json() if answer.content else None

    return asyncio.run(asking())
