"""Errors as people meet them: a page, a line beside the form that was sent, or the way to the sign-in page."""

import re
from typing import Any
from urllib.parse import quote

import structlog
from litestar import Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.types import ExceptionHandlersMap

from gridspine.apps.portal.headers import NO_STORE, SECURITY_HEADERS
from gridspine.apps.portal.page import PortalRequest, is_part, redirect, render
from gridspine.kernel.errors import GridspineError, Overloaded, Unauthenticated

log = structlog.get_logger(__name__)
LIVE = "/portal/live"
"""The path of live streams: a script opens them, so they are never led to a page."""

_ID = re.compile(r"[a-z][a-z0-9-]{0,200}", re.ASCII)
_TITLES = {404: "There is no such page", 405: "This cannot be done here", 413: "Too much at once"}


def _sign_in(request: PortalRequest, _: Unauthenticated) -> Response[Any]:
    path = request.scope["path"]
    is_page = request.method == "GET" and path != LIVE
    where = f"/sign-in?next={quote(path)}" if is_page and path != "/" else "/sign-in"
    if is_page and not is_part(request):
        return redirect(where)
    return Response(None, status_code=401, headers={**SECURITY_HEADERS, **NO_STORE, "HX-Redirect": where})


def _answer(request: PortalRequest, status: int, title: str, detail: str, extra: dict[str, str]) -> Response[Any]:
    if not is_part(request):
        return render("error.html", status, extra, title=title, detail=detail)
    trigger = request.headers.get("hx-trigger", "")
    where = f"#{trigger}-error" if _ID.fullmatch(trigger) else "#notices"
    headers = {**extra, "HX-Retarget": where, "HX-Reswap": "innerHTML"}
    return render("parts/error.html", status, headers, title=title, detail=detail)


def _operating(request: PortalRequest, error: GridspineError) -> Response[Any]:
    detail = error.detail
    if isinstance(error, Overloaded):
        detail = f"{detail} ({error.retry_after_s} s)"
    return _answer(request, error.status, error.title, detail, error.headers)


def _http(request: PortalRequest, error: HTTPException) -> Response[Any]:
    title = _TITLES.get(error.status_code, "The request was not understood")
    detail = error.detail if error.status_code not in _TITLES else ""
    return _answer(request, error.status_code, title, detail, dict(error.headers or {}))


def _validation(request: PortalRequest, error: ValidationException) -> Response[Any]:
    extra = error.extra if isinstance(error.extra, list) else []
    detail = "; ".join(f"{e.get('key', '')}: {e.get('message', '')}" for e in extra if isinstance(e, dict))
    return _answer(request, 400, "The request is not valid", detail or error.detail, {})


def _unexpected(request: PortalRequest, error: Exception) -> Response[Any]:
    log.error("a page failed unexpectedly", path=request.scope["path"], exc_info=error)
    detail = "This was logged; an operator of this node can find out more."
    return _answer(request, 500, GridspineError.title, detail, {})


HANDLERS: ExceptionHandlersMap = {
    Unauthenticated: _sign_in,
    GridspineError: _operating,
    ValidationException: _validation,
    HTTPException: _http,
    Exception: _unexpected,
}
