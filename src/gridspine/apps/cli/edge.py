"""``gridspine edge``: become an edge. `gridspine.apps.cli.launch` does it sooner; this describes it."""

from pathlib import Path
from typing import Annotated

import typer

from gridspine.apps.cli.become import become_edge

Settings = Annotated[Path, typer.Option("--settings", help="Settings file of the edge.")]


def edge(settings: Settings = Path("edge.toml")) -> None:
    """Run an edge beside devices: it holds their leases, keeps their readings, and goes on without the node."""
    become_edge(["--settings", str(settings)])
