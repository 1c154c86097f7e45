"""``gridspine openadr``: let the node follow somebody else's VTN, as a VEN of it."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from gridspine.apps.cli.client import Client, Data
from gridspine.apps.cli.site import ask
from gridspine.kernel.errors import Invalid

app = typer.Typer(help="Somebody else's OpenADR 3 programs, followed.", no_args_is_help=True)
ADAPTER, MODEL = "openadr3", "https://gridspine.org/models/ven"


@app.callback()
def openadr() -> None:
    """Follow the programs of a VTN: its events become the node's own, and what they limit leases."""


@app.command()
def follow(
    vtn: Annotated[str, typer.Argument(metavar="VTN", help="Its base address: https://…/openadr3/3.1.0.")],
    client_id: Annotated[str, typer.Option(help="What it knows the node by.")],
    secret: Annotated[str, typer.Option(help="Name of the secret: of GRIDSPINE_SECRET_OPENADR3_{NAME}.")],
    edition: Annotated[str, typer.Option(help="3.1.0 or 3.0.1.")] = "3.1.0",
    token_url: Annotated[str, typer.Option(help="Where tokens are had, if the VTN does not say.")] = "",
    ven: Annotated[str, typer.Option(help="The VEN's name there; the client id by default.")] = "",
    site: Annotated[str, typer.Option(help="The site that takes part.")] = "",
    thing: Annotated[str, typer.Option(help="The Thing that takes part, where it is no site.")] = "",
    mode: Annotated[list[str] | None, typer.Option(help="What it may command: importLimitW, targetW …")] = None,
    telemetry: Annotated[str, typer.Option(help="The Thing whose readings reports tell of.")] = "",
    program: Annotated[list[str] | None, typer.Option(help="Name of a program to follow; all by default.")] = None,
    callback: Annotated[str, typer.Option(help="Where the VTN reaches the adapter's listener.")] = "",
    poll_s: Annotated[float, typer.Option(help="How often all is read [s].")] = 60.0,
    title: Annotated[str, typer.Option(help="What people call it.")] = "Utility",
    data: Data = None,
    client: Client = "operator",
) -> None:  # fmt: skip
    """Follow a VTN for a site or Thing, which consents to what --mode names; print the ids that were made.

    An application with the roles owner and operator acts in its name: deactivate it, and all it may do ends.
    """
    if site and thing:
        raise Invalid("name a --site or a --thing")
    given: dict[str, Any] = {
        "vtn": vtn, "clientId": client_id, "secret": secret, "edition": edition, "tokenUrl": token_url, "venName": ven,
        "site": site, "thing": thing, "modes": mode or [], "telemetry": telemetry, "programs": program or [],
        "callback": callback, "pollS": poll_s,
    }  # fmt: skip
    connection = {name: value for name, value in given.items() if value not in ("", [])}
    speaker = {"kind": "application", "name": f"VEN of {title}"[:100], "roles": ["owner", "operator"]}
    principal = ask(data, client, "POST", "/principals", speaker)["id"]
    body = {"title": title, "model": MODEL, "adapter": ADAPTER, "devices": [principal], "connection": connection}
    made = ask(data, client, "POST", "/things", body)["id"]
    typer.echo(f"principal {principal}\nthing     {made}")


@app.command()
def status(
    thing: Annotated[str, typer.Argument(metavar="THING", help="The Thing that follows a VTN.")],
    data: Data = None,
    client: Client = "operator",
) -> None:
    """Say whether the VTN answers."""
    points = ask(data, client, "GET", f"/things/{quote(thing, safe=':')}/properties")
    value = next((one["value"] for one in points if one["name"] == "connected"), None)
    typer.echo({None: "not asked yet", 0: "not reached", 1: "answers"}[value])
