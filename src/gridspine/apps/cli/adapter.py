"""``gridspine adapter``: what is installed and allowed, what is said on a wire, a new one begun, any one judged."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from gridspine.apps.cli.client import Client, Data
from gridspine.apps.cli.connect import check, connected, data_directory

app = typer.Typer(help="Adapters: list, trace, write and judge them.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="NAME", help="The adapter's name, as in adapters.allow.")]
_ARROWS = {"in": "<", "out": ">", "note": "-"}
_LOOK_S = 1.0


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
