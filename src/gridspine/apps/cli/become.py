"""Become an edge: the process starts anew, with the allocator's arenas bounded, which only a start can do."""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn


def become_edge(arguments: Sequence[str]) -> NoReturn:
    """Replace this process by an edge with ``arguments``."""
    # Small memory is the point of an edge, and the arenas are a good part of it.
    environment = {"MALLOC_ARENA_MAX": "2", "OPENBLAS_NUM_THREADS": "1"} | os.environ
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, "-m", "gridspine.apps.edge", *arguments], environment)  # noqa: S606
