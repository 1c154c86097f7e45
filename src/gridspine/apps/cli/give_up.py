"""How a command ends that cannot be done: one line and exit code 1, never a trace."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from gridspine.kernel.errors import GridspineError


@contextmanager
def plain_errors() -> Iterator[None]:
    """End the process with a line for an operating error inside."""
    try:
        yield
    except GridspineError as error:
        give_up(error.detail)
    except OSError as error:
        give_up(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def give_up(why: str) -> NoReturn:
    """End the process, saying ``why`` in one line."""
    print(f"gridspine: {' '.join(why.split())}", file=sys.stderr)
    sys.exit(1)
