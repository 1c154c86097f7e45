"""The command line ``gridspine``."""

from pathlib import Path
from typing import Annotated

import httpx
import typer

from gridspine import __version__
from gridspine.apps.cli import (
    account,
    adapter,
    behaviour,
    bid,
    client,
    csip,
    demo,
    doctor,
    edge,
    emulate,
    keyring,
    ledger,
    life,
    node,
    ocpi,
    ocpp,
    openadr,
    programme,
    replay,
    site,
    template,
    thing,
)
from gridspine.apps.cli.client import Data
from gridspine.apps.cli.give_up import give_up, plain_errors
from gridspine.apps.cli.up import CONFIG_HELP, run_node

app = typer.Typer(
    help="An energy services node: readings in, screened, kept, shared, commanded, settled.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # Rich's own markup would take units in brackets for styles
)
app.command("init")(node.init)
app.command("demo")(demo.demo)
app.command("edge")(edge.edge)
app.command("curl", context_settings={"ignore_unknown_options": True})(client.curl)
app.command("query")(client.query)
app.command("replay")(replay.replay)
app.command("emulate")(emulate.emulate)
app.command("client")(node.add_client)
app.command("certificate")(node.certificate)
app.command("doctor")(doctor.doctor)
app.command("backup")(node.backup)
app.command("restore")(node.restore)
app.add_typer(account.app, name="account")
app.add_typer(adapter.app, name="adapter")
app.add_typer(behaviour.app, name="behaviour")
app.add_typer(csip.app, name="csip")
app.add_typer(ledger.app, name="ledger")
app.add_typer(life.app, name="life")
app.add_typer(keyring.app, name="keys")
app.add_typer(ocpi.app, name="ocpi")
app.add_typer(ocpp.app, name="ocpp")
app.add_typer(openadr.app, name="openadr")
app.add_typer(programme.app, name="programme")
app.add_typer(bid.app, name="bid")
app.add_typer(site.app, name="site")
app.add_typer(template.app, name="template")
app.add_typer(thing.app, name="thing")


@app.command("up")
def up(data: Data = None, config: Annotated[Path | None, typer.Option(help=CONFIG_HELP)] = None) -> None:
    """Run a node until it is stopped (Ctrl-C)."""
    run_node(data, config)


@app.command("version")
def version() -> None:
    """Print the version."""
    print(__version__)


def run() -> None:
    """Run the command line; an operating error is one line and exit code 1, never a trace."""
    try:
        with plain_errors():
            app()
    except httpx.HTTPError as error:
        give_up(f"the node did not answer: {error or type(error).__name__}")
