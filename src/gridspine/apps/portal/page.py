"""Pages and parts of pages: Jinja templates, always escaped, with what every page needs around them.

Source: htmx 2 reference (request headers ``HX-Request``, ``HX-Boosted``; response headers ``HX-Redirect``).
"""

import hashlib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import msgspec
from litestar import Request, Response

from gridspine.apps.node.node import Node
from gridspine.apps.portal.display import (
    number_text,
    organisation_name,
    person_name,
    slug,
    time_text,
    unit_text,
    value_text,
)
from gridspine.apps.portal.headers import NO_STORE, SECURITY_HEADERS
from gridspine.apps.portal.may import May
from gridspine.apps.portal.menu import menu
from gridspine.infra.identity.caller import Caller
from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import format_rfc3339, parse_rfc3339

STATIC = Path(str(files("gridspine.apps.portal").joinpath("static")))
HTML = "text/html; charset=utf-8"
PortalRequest = Request[Any, Any, Any]


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gridspine.apps.portal", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        slug=slug,
        number=number_text,
        unit=unit_text,
        value=value_text,
        time=time_text,
        rfc3339=format_rfc3339,
        us=parse_rfc3339,
        path=_path_part,
    )
    environment.globals["assets"] = _fingerprint()
    return environment


def _path_part(text: str) -> str:
    return quote(text, safe=":")


def _fingerprint() -> str:
    """Return a short sum of all assets: their URLs change when they do, so that browsers may keep them."""
    total = hashlib.sha256()
    for path in sorted(STATIC.rglob("*.*")):
        total.update(path.read_bytes())
    return total.hexdigest()[:12]


ENVIRONMENT = _environment()


def render(template: str, status: int = 200, headers: Mapping[str, str] | None = None, **context: Any) -> Response[str]:
    """Return ``template`` as an answer with the portal's headers."""
    body = ENVIRONMENT.get_template(template).render(**context)
    return Response(
        body, status_code=status, media_type=HTML, headers={**SECURITY_HEADERS, **NO_STORE, **(headers or {})}
    )


def page(request: PortalRequest, node: Node, template: str, *, status: int = 200, **context: Any) -> Response[str]:
    """Return a page, or a part of one, for the one who is signed in."""
    return render(template, status, **around(request.user, node), **context)


def around(caller: Caller, node: Node) -> dict[str, Any]:
    """Return what every page of a signed-in caller shows."""
    may = May(caller, node.organisation)
    session = node.identity.sessions.get(caller.session.removeprefix("portal:"))
    stopped = node.commands.commander.stopped
    return {
        "caller": caller,
        "organisation": organisation_name(node, caller.organisation),
        "csrf": node.identity.sessions.csrf_token(session) if session is not None else "",
        "menu": menu(node, may),
        "may": may,
        "now_us": node.clock.now_us(),
        "stopped": stopped,
        "stopped_by": person_name(node, stopped.principal) if stopped else "",
    }


def redirect(path: str, *, cookies: Any = None) -> Response[None]:
    """Send the browser to ``path`` by GET."""
    headers = {**SECURITY_HEADERS, **NO_STORE, "Location": path}
    return Response(None, status_code=303, headers=headers, cookies=cookies)


def is_part(request: PortalRequest) -> bool:
    """Whether htmx asks for a part of a page."""
    return request.headers.get("hx-request") == "true" and request.headers.get("hx-boosted") != "true"


async def form(request: PortalRequest) -> dict[str, str]:
    """Return the fields of a form; raise `Invalid` when one is repeated or is a file."""
    fields = await request.form()
    values: dict[str, str] = {}
    for name, value in fields.multi_items():
        if name in values or not isinstance(value, str):
            raise Invalid(f"{name[:40]}: one text is needed")
        values[name] = value.strip() if name not in {"password", "again"} else value
    return values


def json_answer(body: Any) -> Response[bytes]:
    """Return ``body`` as JSON for the portal's own scripts."""
    headers = {**SECURITY_HEADERS, **NO_STORE}
    return Response(msgspec.json.encode(body), media_type="application/json", headers=headers)
