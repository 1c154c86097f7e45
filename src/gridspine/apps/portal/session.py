"""Signing in and out, and the first administrator."""

import asyncio
from typing import Any

from litestar import Response, get, post

from gridspine.apps.api.authenticate import PUBLIC, cookie_name, session_cookie
from gridspine.apps.api.dependency import TheNode
from gridspine.apps.node.node import Node
from gridspine.apps.portal.display import organisation_name, safe_path
from gridspine.apps.portal.origin import check_same_origin
from gridspine.apps.portal.page import PortalRequest, form, redirect, render
from gridspine.infra.identity.principal import ADMINISTRATOR, Organisation
from gridspine.infra.identity.user import MIN_PASSWORD_CHARS
from gridspine.kernel.errors import Conflict, GridspineError, Invalid, Overloaded, Unauthenticated


@get("/sign-in", opt=PUBLIC)
async def sign_in_page(request: PortalRequest, node: TheNode) -> Response[Any]:
    """Show the sign-in form; who is signed in goes on at once."""
    following = safe_path(str(request.query_params.get("next", "/")))
    if _signed_in(request, node):
        return redirect(following)
    return _sign_in_form(node, following)


@post("/sign-in", opt=PUBLIC)
async def sign_in(request: PortalRequest, node: TheNode) -> Response[Any]:
    """Sign in; a wrong name and a wrong password are answered alike."""
    check_same_origin(request)
    fields = await form(request)
    following = safe_path(fields.get("next", "/"))
    username, password = fields.get("username", ""), fields.get("password", "")
    try:
        cookie = await asyncio.to_thread(node.identity.sign_in, username, password, _address(request))
    except Unauthenticated:
        return _sign_in_form(node, following, 401, "User name or password is wrong.", username)
    except Overloaded as error:
        text = f"Too many attempts. Wait {error.retry_after_s} s, then try again."
        return _sign_in_form(node, following, error.status, text, username, error)
    await _end_session(request, node)
    return redirect(following, cookies=[session_cookie(cookie, secure=_is_secure(request))])


@post("/sign-out", opt=PUBLIC)
async def sign_out(request: PortalRequest, node: TheNode) -> Response[Any]:
    """End the session of this browser."""
    check_same_origin(request)
    await _end_session(request, node)
    return redirect("/sign-in", cookies=[session_cookie("", secure=_is_secure(request))])


@get("/set-up", opt=PUBLIC)
async def set_up_page(node: TheNode) -> Response[Any]:
    """Show the form that makes the first administrator."""
    return _set_up_form(node)


@post("/set-up", opt=PUBLIC)
async def set_up(request: PortalRequest, node: TheNode) -> Response[Any]:
    """Redeem the one-time code for the first administrator, and sign in."""
    check_same_origin(request)
    fields = await form(request)
    username, password = fields.get("username", ""), fields.get("password", "")
    try:
        if password != fields.get("again", ""):
            raise Invalid("the two passwords differ")
        own = Organisation(node.organisation, organisation_name(node, node.organisation))
        user = await asyncio.to_thread(node.identity.first.redeem, fields.get("code", ""), own, username, password)
        epoch = node.identity.directory.epoch(user.id)
        cookie = await asyncio.to_thread(node.identity.sessions.open, user, epoch)
    except (Invalid, Unauthenticated, Conflict, Overloaded) as error:
        return _set_up_form(node, error.status, error.detail, username)
    return redirect("/", cookies=[session_cookie(cookie, secure=_is_secure(request))])


def needs_set_up(node: Node) -> bool:
    """Whether there is no administrator yet."""
    people = (known for known in node.identity.directory.principals() if known.kind == "user")
    return all(ADMINISTRATOR not in person.roles for person in people)


def _sign_in_form(
    node: Node, following: str, status: int = 200, error: str = "", username: str = "", cause: Overloaded | None = None
) -> Response[Any]:
    return render(
        "sign_in.html", status, cause.headers if cause else None,
        following=following, error=error, username=username, set_up=needs_set_up(node),
        organisation=organisation_name(node, node.organisation),
    )  # fmt: skip


def _set_up_form(node: Node, status: int = 200, error: str = "", username: str = "") -> Response[Any]:
    return render(
        "set_up.html", status,
        error=error, username=username, done=not needs_set_up(node), least=MIN_PASSWORD_CHARS,
        organisation=organisation_name(node, node.organisation),
    )  # fmt: skip


async def _end_session(request: PortalRequest, node: Node) -> None:
    cookie = _cookie(request)
    if cookie:
        await asyncio.to_thread(node.identity.sessions.close, cookie)


def _signed_in(request: PortalRequest, node: Node) -> bool:
    try:
        node.identity.by_cookie(_cookie(request))
    except GridspineError:
        return False
    return True


def _cookie(request: PortalRequest) -> str:
    return request.cookies.get(cookie_name(_is_secure(request)), "")


def _is_secure(request: PortalRequest) -> bool:
    return request.scope["scheme"] == "https"


def _address(request: PortalRequest) -> str:
    return request.client.host if request.client else ""
