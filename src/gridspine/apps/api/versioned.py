"""Documents with a version: its tag in the answer, and what a change must be made for (RFC 9110 §13.1.1); pages."""

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from litestar import Request, Response
from litestar.params import Parameter

from gridspine.apps.api.answer import json_answer
from gridspine.apps.api.problems import response
from gridspine.kernel.errors import PreconditionFailed
from gridspine.kernel.time import format_rfc3339, parse_rfc3339

MAX_PAGE, PAGE = 1_000, 100
Limit = Annotated[int, Parameter(ge=1, le=MAX_PAGE)]
Offset = Annotated[int, Parameter(ge=0, le=1_000_000)]


def tagged(view: msgspec.Struct, version: int, status: int = 200, location: str = "") -> Response[bytes]:
    """Return a document with its ``ETag``, and where it is found if it is new."""
    headers = {"ETag": f'"{version}"', **({"Location": location} if location else {})}
    return response(json_answer(view, status)._replace(headers=headers))


def check_match(request: Request[Any, Any, Any], version: int, noun: str) -> None:
    """Raise `PreconditionFailed` where ``If-Match`` wants another version."""
    given = request.headers.get("if-match", "").strip()
    wanted = [one.strip().removeprefix("W/").strip('"') for one in given.split(",")]
    if given not in {"", "*"} and str(version) not in wanted:
        raise PreconditionFailed(f'the {noun} is at version "{version}": read it again')


def matching(request: Request[Any, Any, Any], noun: str) -> Callable[[int], None]:
    """Return what raises `PreconditionFailed` for a version that ``If-Match`` does not want."""
    return lambda version: check_match(request, version, noun)


def time_us(text: str, otherwise_us: int) -> int:
    """Return an RFC 3339 time [µs since 1970], ``otherwise_us`` where none is given; raise `Invalid`."""
    return parse_rfc3339(text) if text else otherwise_us


def rfc3339(at_us: int) -> str | None:
    """Return a time, None for 0: never."""
    return format_rfc3339(at_us) if at_us else None
