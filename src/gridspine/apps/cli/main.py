"""The command line ``gridspine``."""

import sys

import httpx
import typer

from gridspine import __version__
from gridspine.apps.cli import (
    adapter,
    behaviour,
    client,
    demo,
    doctor,
    edge,
    emulate,
    keyring,
    ledger,
    life,
    node,
    programme,
    replay,
    site,
    template,
    thing,
)
from gridspine.kernel.errors import GridspineError

app = typer.Typer(
    help="An energy services node: readings in, screened, kept, shared, commanded, settled.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("up")(node.up)
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
app.add_typer(adapter.app, name="adapter")
app.add_typer(behaviour.app, name="behaviour")
app.add_typer(ledger.app, name="ledger")
app.add_typer(life.app, name="life")
app.add_typer(keyring.app, name="keys")
app.add_typer(programme.app, name="programme")
app.add_typer(site.app, name="site")
app.add_typer(template.app, name="template")
app.add_typer(thing.app, name="thing")


@app.command("version")
def version() -> None:
    """Print the version."""
    print(__version__)


def run() -> None:
    """Run the command line; an operating error is one line and exit code 1, never a trace."""
    try:
        app()
    except GridspineError as error:
        _give_up(error.detail)
    except OSError as error:
        _give_up(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except httpx.HTTPError as error:
        _give_up(f"the node did not answer: {error or type(error).__name__}")


def _give_up(why: str) -> None:
    print(f"gridspine: {' '.join(why.split())}", file=sys.stderr)
    sys.exit(1)
