"""Errors as problem details.

Source: RFC 9457. Whatever goes wrong inside is logged whole and answered without particulars.
"""

from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.types import ExceptionHandlersMap

from gridspine.apps.api.answer import PROBLEM, Answer, failure
from gridspine.apps.api.answer import problem as problem_answer
from gridspine.kernel.errors import PROBLEM_BASE, GridspineError, Invalid

_CODES = {404: "not-found", 405: "method-not-allowed", 413: "too-large", 415: "unsupported-media-type"}


def response(answer: Answer) -> Response[bytes]:
    """Return an answer in the framework's form."""
    return Response(answer.body, status_code=answer.status, media_type=answer.media_type, headers=dict(answer.headers))


def problem(error: GridspineError) -> Response[bytes]:
    """Return the answer for an operating error."""
    return response(problem_answer(error))


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
    return Response(msgspec.json.encode(body), status_code=error.status_code, media_type=PROBLEM, headers=headers)


def _failure(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    return response(failure(error, request.scope["path"]))


HANDLERS: ExceptionHandlersMap = {
    GridspineError: _failure,
    ValidationException: _validation,
    HTTPException: _http,
    RecursionError: _failure,
    UnicodeDecodeError: _failure,
    Exception: _failure,
}
