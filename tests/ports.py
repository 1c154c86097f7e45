"""Ports that a test picks and another program opens a moment later.

The kernel gives no connection a port below its ephemeral range, and each worker of a run has a block of its own: so
nobody takes such a port in between.
"""

import itertools
import os
import socket
from collections.abc import Iterator

FIRST, BLOCK, BLOCKS = 20_000, 500, 24
"""The blocks end below 32768, where Linux begins with its ephemeral ports."""


def block(worker: str) -> range:
    """Return the ports of a worker, by its name as pytest-xdist gives it; "" is a run without workers."""
    number = int(worker.removeprefix("gw") or 0) % BLOCKS
    return range(FIRST + number * BLOCK, FIRST + (number + 1) * BLOCK)


def _turns() -> Iterator[int]:
    """Go round the own block for ever; two runs on one machine begin at different places."""
    own = block(os.environ.get("PYTEST_XDIST_WORKER", ""))
    return itertools.islice(itertools.cycle(own), os.getpid() % BLOCK, None)


_TURNS = _turns()


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """Return a port of 127.0.0.1 that nobody has, another one each time; ``kind`` is TCP's, or UDP's."""
    for port in itertools.islice(_TURNS, BLOCK):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise OSError(f"none of {BLOCK} ports is free")
