"""``gridspine behaviour``: sign and publish packages, let them out to twins, see how they do, take them back."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from gridspine.apps.cli.client import Client, Data
from gridspine.apps.cli.connect import check, client_path, connected
from gridspine.apps.cli.document import read_object, read_text
from gridspine.apps.cli.keys import read_client_file
from gridspine.apps.node.paths import data_directory
from gridspine.infra.identity import jws
from gridspine.things.behaviour import SIGNATURE_TYPE, decode_behaviour, digest_of

app = typer.Typer(
    help="Behaviours: what the twins of a make and model do by themselves, in signed packages.", no_args_is_help=True
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="The behaviour's name.")]
Reason = Annotated[str, typer.Option(help="Why; it is kept.")]


@app.command()
def publish(
    package: Annotated[Path, typer.Argument(metavar="PACKAGE", help="The package, as JSON.")],
    text: Annotated[Path | None, typer.Option(help="The program, as a file beside it: it becomes 'text'.")] = None,
    data: Data = None,
    client: Client = "operator",
) -> None:
    """Sign a package with the client's key and publish it. Nothing runs before it is deployed."""
    fields = read_object(package)
    if text is not None:
        fields["text"] = read_text(text)
    whole = msgspec.json.encode(fields).decode()
    decode_behaviour(whole)  # what is wrong with it is better said before it is signed
    file = read_client_file(client_path(data_directory(data), client))
    header = {"typ": SIGNATURE_TYPE, "kid": jws.thumbprint(jws.public_jwk(file.public_jwk()))}
    body = {"package": whole, "signature": jws.sign(header, {"digest": digest_of(whole)}, file.key)}
    answer = _ask(data, client, "POST", "/behaviours", body)
    rights = answer["permissions"]
    typer.echo(f"published  {answer['name']} {answer['version']}, signed by key {answer['kid'][:8]}…")
    typer.echo(f"reads      {', '.join(rights['reads']) or 'nothing'}")
    typer.echo(f"derives    {', '.join(rights['derives']) or 'nothing'}")
    typer.echo(f"commands   {', '.join(rights['commands']) or 'nothing'}")
    typer.echo(f"alarms     {'yes' if rights['alarms'] else 'no'}")


@app.command()
def deploy(
    name: Name,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="The version to let out.")],
    share: Annotated[float, typer.Option(help="Share of the Things that have it first; 1 for all at once.")] = 0.05,
    observe: Annotated[float, typer.Option(help="How long canaries are watched at least [s].")] = 600.0,
    calls: Annotated[int, typer.Option(help="How many calls are watched at least.")] = 100,
    reason: Reason = "",
    data: Data = None,
    client: Client = "operator",
) -> None:
    """Let a version out to canaries; it goes to all when it proves healthy, and is taken back when it does not."""
    body = {"version": version, "share": share, "observeS": observe, "minCalls": calls, "reason": reason}
    _show(_ask(data, client, "POST", f"/behaviours/{name}/deployment", body))


@app.command()
def show(name: Name, data: Data = None, client: Client = "operator") -> None:
    """Show which versions the Things have, how they do, and what happened."""
    _show(_ask(data, client, "GET", f"/behaviours/{name}/deployment"))


@app.command(name="roll-back")
def roll_back(name: Name, reason: Reason = "", data: Data = None, client: Client = "operator") -> None:
    """Go back to the version before; the one that is left is not let out again."""
    _show(_ask(data, client, "POST", f"/behaviours/{name}/roll-back", {"reason": reason}))


@app.command()
def stop(name: Name, reason: Reason = "", data: Data = None, client: Client = "operator") -> None:
    """Let no version run."""
    _show(_ask(data, client, "POST", f"/behaviours/{name}/stop", {"reason": reason}))


@app.command(name="list")
def list_all(data: Data = None, client: Client = "operator") -> None:
    """List the published behaviours."""
    for one in _ask(data, client, "GET", "/behaviours"):
        typer.echo(f"{one['name']} {one['version']}  {one['model']}{'  rolled back' if one['bad'] else ''}")


def _show(now: dict[str, Any]) -> None:
    line = f"{now['name']}  {now['state']}  version {now['version'] or 'none'}"
    if now["canary"]:
        line += f", canary {now['canary']} on {now['share']:.0%} of the Things"
    typer.echo(line)
    for one in now["health"]:
        typer.echo(
            f"  {one['version']}: {one['calls']} calls, {one['faults']} faults, {one['stepsACall']:g} steps a call"
        )
        if one["lastFault"]:
            typer.echo(f"    last fault: {one['lastFault']}")
    for change in now["changes"][-5:]:
        typer.echo(f"  {change['at']}  {change['what']} {change['version']}  {change['reason']}".rstrip())


def _ask(data: Path | None, client: str, method: str, path: str, body: Any = None) -> Any:
    async def ask() -> Any:
        async with connected(data_directory(data), client, start=False) as http:
            return check(await http.request(method, path, json=body)).json()

    return asyncio.run(ask())
