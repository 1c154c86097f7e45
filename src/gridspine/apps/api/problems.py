"""Errors as problem details.

Source: RFC 9457. Whatever goes wrong inside is logged whole and answered without particulars.
"""

from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.types import ExceptionHandlersMap

from gridspine.kernel.errors import PROBLEM_BASE, GridspineError, Invalid

MEDIA_TYPE = "application/problem+json"
log = structlog.get_logger(__name__)
_CODES = {404: "not-found", 405: "method-not-allowed", 413: "too-large", 415: "unsupported-media-type"}


def problem(error: GridspineError) -> Response[bytes]:
    """Return the answer for an operating error."""
    return Response(
        msgspec.json.encode(error.problem()),
        status_code=error.status,
        media_type=MEDIA_TYPE,
        headers=error.headers,
    )


def _operating(_: Request[Any, Any, Any], error: GridspineError) -> Response[bytes]:
    return problem(error)


def _validation(_: Request[Any, Any, Any], error: ValidationException) -> Response[bytes]:
    extra = error.extra if isinstance(error.extra, list) else []
    errors = [{"field": str(e.get("key", "")), "description": str(e.get("message", ""))} for e in extra]
    detail = "; ".join(f"{e['field']}: {e['description']}" for e in errors) or error.detail
    return problem(Invalid(detail, errors=errors))


def _http(_: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    body = {
        "type": PROBLEM_BASE + _CODES.get(error.status_code, "http"),
        "title": error.__class__.__name__.removesuffix("Exception"),
        "status": error.status_code,
        "detail": error.detail,
    }
    headers = dict(error.headers or {})
    return Response(msgspec.json.encode(body), status_code=error.status_code, media_type=MEDIA_TYPE, headers=headers)


def _undecodable(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer for a body that nests too deeply, or is not UTF-8: the decoder says so in its own words."""
    log.warning("a request could not be decoded", path=request.scope["path"][:200], error=type(error).__name__)
    return problem(Invalid("the body nests too deeply" if isinstance(error, RecursionError) else "it is not UTF-8"))


def _unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    log.error("a request failed unexpectedly", path=request.scope["path"], exc_info=error)
    return problem(GridspineError("this was logged; an operator of this node can find out more"))


HANDLERS: ExceptionHandlersMap = {
    GridspineError: _operating,
    ValidationException: _validation,
    HTTPException: _http,
    RecursionError: _undecodable,
    UnicodeDecodeError: _undecodable,
    Exception: _unexpected,
}
