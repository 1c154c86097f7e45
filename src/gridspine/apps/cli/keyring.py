"""``gridspine keys``: replace the node's own keys while it runs."""

import asyncio
from pathlib import Path
from typing import Annotated, Literal

import typer

from gridspine.apps.cli.client import Client, Data
from gridspine.apps.cli.connect import check, connected
from gridspine.apps.node.paths import Paths, data_directory
from gridspine.kernel.errors import NotFound

app = typer.Typer(help="The node's own keys.", no_args_is_help=True)

NodeKey = Literal["token", "ledger", "authority", "session", "device"]


@app.callback()
def keys() -> None:
    """The node's own keys: of clients' keys see `gridspine client`."""


@app.command()
def rotate(
    key: Annotated[NodeKey, typer.Argument(help="token, ledger, authority, session or device.")],
    data: Data = None,
    client: Client = "operator",
    at_once: Annotated[bool, typer.Option("--at-once", help="token only: end every access token now.")] = False,
) -> None:
    """Replace one of the node's keys, as an administrator of its organisation; say what goes on and what to do next.

    What the old key made stays good for as long as it says. ``authority`` is replaced in two steps: once to begin,
    once to end.
    """
    print(asyncio.run(_rotate(data_directory(data), client, key, at_once=at_once)))


async def _rotate(data: Path, client: str, key: NodeKey, *, at_once: bool) -> str:
    if not Paths(data).format.exists():
        raise NotFound(f"{data} is not a data directory of gridspine: name one with --data")
    async with connected(data, client) as http:
        answer = check(await http.post(f"/node-keys/{key}/rotate", params={"at_once": at_once})).json()
    return f"{answer['key']}: {answer['words']}"
