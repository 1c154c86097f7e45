"""Answers to HTTP requests, free of any framework: what the API says is the same by whatever way a request came."""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
import structlog

from gridspine.apps.api.safe import ALWAYS
from gridspine.kernel.errors import GridspineError, Invalid

JSON = "application/json"
PROBLEM = "application/problem+json"
log = structlog.get_logger(__name__)


class Answer(NamedTuple):
    """Status, body and its media type, and further headers in the order they are sent."""

    status: int
    body: bytes
    media_type: str = JSON
    headers: Mapping[str, str] = {}

    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """Return all headers as ASGI wants them."""
        further = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in self.headers.items()]
        size = str(len(self.body)).encode()
        return [*further, *ALWAYS, (b"content-type", self.media_type.encode("latin-1")), (b"content-length", size)]


def json_answer(value: object, status: int = 200) -> Answer:
    """Return ``value`` as JSON."""
    return Answer(status, msgspec.json.encode(value))


def problem(error: GridspineError) -> Answer:
    """Return the answer for an operating error (RFC 9457)."""
    return Answer(error.status, msgspec.json.encode(error.problem()), PROBLEM, error.headers)


def failure(error: Exception, path: str) -> Answer:
    """Return the answer for whatever went wrong with a request to ``path``; what nobody foresaw is logged whole."""
    if isinstance(error, GridspineError):
        return problem(error)
    if isinstance(error, RecursionError | UnicodeDecodeError):
        # A body that nests too deeply, or is not UTF-8: the decoder says so in its own words.
        log.warning("a request could not be decoded", path=path[:200], error=type(error).__name__)
        return problem(Invalid("the body nests too deeply" if isinstance(error, RecursionError) else "it is not UTF-8"))
    log.error("a request failed unexpectedly", path=path[:200], exc_info=error)
    return problem(GridspineError("this was logged; an operator of this node can find out more"))
