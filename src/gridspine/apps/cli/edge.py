"""``gridspine edge``: become an edge. The process starts anew without what only a node needs."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

Settings = Annotated[Path, typer.Option("--settings", help="Settings file of the edge.")]


def edge(settings: Settings = Path("edge.toml")) -> None:
    """Run an edge beside devices: it holds their leases, keeps their readings, and goes on without the node."""
    # Small memory is the point of an edge, and the allocator's arenas are a good part of it.
    environment = {"MALLOC_ARENA_MAX": "2", "OPENBLAS_NUM_THREADS": "1"} | os.environ
    arguments = [sys.executable, "-m", "gridspine.apps.edge", "--settings", str(settings)]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, arguments, environment)  # noqa: S606 - this very program, without a shell
