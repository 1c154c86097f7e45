"""``gridspine ocpi``: a roaming partner by one command: invited, or registered at; shown, and given up."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import httpx
import typer

from gridspine.apps.cli.client import Client, Data
from gridspine.apps.cli.connect import check, connected
from gridspine.apps.node.paths import data_directory
from gridspine.kernel.errors import Conflict, GridspineError, Invalid, Unavailable

app = typer.Typer(help="Roaming partners, by OCPI.", no_args_is_help=True)
MODEL = "https://gridspine.org/models/roaming_partner"
VARIABLE = "GRIDSPINE_OCPI_TOKEN"
LOOK_S, LONGEST_S = 0.2, 180.0
Name = Annotated[str, typer.Argument(metavar="NAME", help="What the partner is called here; its Thing is made of it.")]


@app.command()
def invite(
    name: Name,
    party: Annotated[str, typer.Option(metavar="PARTY", help="Who it may be, such as DE BRF; several by commas.")],
    data: Data = None,
    client: Client = "operator",
) -> None:
    """Let a partner register here: prints the address and the token to give it, which counts once, for seven days."""
    made = asyncio.run(_act(data_directory(data), client, name, "invite", {"party": party}, new=True))
    typer.echo(f"url    {made['url']}\ntoken  {made['token']}")


@app.command()
def register(
    name: Name,
    url: Annotated[str, typer.Argument(help="Where the partner's versions are.")],
    party: Annotated[
        str, typer.Option(metavar="PARTY", help="Who it may be, such as NL NSN; left out, who it says that it is.")
    ] = "",
    data: Data = None,
    client: Client = "operator",
) -> None:
    """Register at a partner by the token that it gave: from GRIDSPINE_OCPI_TOKEN, or else from standard input."""
    token = (os.environ.get(VARIABLE) or sys.stdin.readline()).strip()
    if not token:
        raise Invalid(f"a token is needed: in {VARIABLE}, or on standard input")
    given = {"url": url, "token": token} | ({"party": party} if party else {})
    _show(asyncio.run(_act(data_directory(data), client, name, "register", given, new=True)))


@app.command()
def show(name: Name, data: Data = None, client: Client = "operator") -> None:
    """Show who a partner is, and what is kept of it."""
    _show(asyncio.run(_act(data_directory(data), client, name, "partner", None)))


@app.command()
def renew(name: Name, data: Data = None, client: Client = "operator") -> None:
    """Exchange new tokens with a partner."""
    _show(asyncio.run(_act(data_directory(data), client, name, "renew", None)))


@app.command()
def unregister(name: Name, data: Data = None, client: Client = "operator") -> None:
    """Give a partner up: neither side's token counts any more."""
    told = asyncio.run(_act(data_directory(data), client, name, "unregister", None))["told"]
    typer.echo("given up" if told else "given up; the partner could not be told")


def _show(said: dict[str, Any]) -> None:
    typer.echo(f"registered  {'yes, since ' + said['since'] if said.get('registered') else 'no'}")
    for name in ("version", "url"):
        if said.get(name):
            typer.echo(f"{name:<10}  {said[name]}")
    if said.get("problem"):
        typer.echo(f"problem     {said['problem']}")
    for role in said.get("roles", []):
        typer.echo(f"{role['role']:<10}  {role['party']}  {role['name']}")
    for name, count in said.get("kept", {}).items():
        typer.echo(f"{name:<10}  {count}")


def _thing(name: str) -> str:
    if not name.isascii() or not name.replace("-", "").isalnum() or not name.islower() or len(name) > 40:
        raise Invalid("NAME: 1 to 40 small letters, digits and hyphens")
    return f"urn:gridspine:partner:{name}"


async def _act(data: Path, client: str, name: str, action: str, given: Any, *, new: bool = False) -> Any:
    """Have an action of a partner's Thing carried out, which is made if it is ``new``; return its output."""
    thing = _thing(name)
    async with connected(data, client, start=False) as http:
        if new:
            await _make(http, thing, name)
        status = check(await http.post(f"/things/{quote(thing, safe='')}/actions/{action}", json=given)).json()
        waited_s = 0.0
        while status["status"] in {"pending", "running"}:
            if waited_s > LONGEST_S:
                raise Unavailable("the partner did not answer in time")
            await asyncio.sleep(LOOK_S)
            waited_s += LOOK_S
            status = check(await http.get(status["href"])).json()
    if status["status"] == "failed":
        raise _error(status.get("error", {}))
    return status.get("output")


async def _make(http: httpx.AsyncClient, thing: str, name: str) -> None:
    """Make the partner's Thing unless it is there."""
    body = {"id": thing, "title": name, "model": MODEL, "adapter": "ocpi", "connection": {"partner": name}}
    if not (await http.get(f"/things/{quote(thing, safe='')}")).is_success:
        check(await http.post("/things", json=body))


def _error(problem: dict[str, Any]) -> GridspineError:
    detail = str(problem.get("detail", "it failed"))
    return Conflict(detail) if problem.get("status") == Conflict.status else Unavailable(detail)
