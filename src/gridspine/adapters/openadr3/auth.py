"""Who asks: client credentials for a token of the node, and the token with each request.

::

    POST /auth/token   client_id: a principal's id · client_secret: its device password ─► token, 300 s at most
    Authorization: Bearer <token>

Scopes follow from the policies, and are told with the token; asking for fewer narrows it:

    read_all, write_programs, write_events      who may manage programmes (business logic)
    read_targets, read_ven_objects              who may read them; in 3.0.1 that is read_all, too
    write_reports, write_subscriptions, write_vens   who may take part

Sources: OpenADR 3.1.0, its OpenAPI document (securitySchemes); RFC 6749 §4.4, §5.1, §5.2.
"""

from urllib.parse import parse_qs

import msgspec

from gridspine.adapters.openadr3.call import Answer, said
from gridspine.energy.control_port import ControlPort, Controls
from gridspine.kernel.errors import NotFound, Unauthenticated
from gridspine.things.adapter import AdapterContext, Scope, Source

_BL = frozenset({"write_programs", "write_events"})
_MAX_SECRET = 4096
_NOT_BL = ("administrator", "owner", "consumer", "device", "auditor")
"""All roles but that of who manages programmes: to them a token is narrowed that asks for no scope of theirs."""


class Auth:
    """Makes tokens, and finds who shows one. ``token_s`` [s] is how long one lives."""

    def __init__(self, context: AdapterContext, controls: Controls, token_s: int) -> None:
        self._context, self._controls, self._token_s = context, controls, token_s

    def source(self, scope: Scope) -> Source:
        """Return who asks; raise `Unauthenticated`, `Overloaded`."""
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        scheme, _, token = given[0].decode("latin-1").partition(" ") if len(given) == 1 else ("", "", "")
        if scheme.lower() != "bearer" or not token.strip() or len(token) > 8192:
            raise Unauthenticated("an access token is needed: get one at auth/token, and send Authorization: Bearer")
        return self._context.by_token(token.strip())

    async def answer(self, edition: str, path: tuple[str, ...], method: str, scope: Scope, body: bytes) -> Answer:
        """Answer a request for ``/auth/…``; raise `NotFound`."""
        if path == ("auth", "server") and edition == "3.1.0":
            if method != "GET":
                return _not_allowed("GET")
            return said({"tokenURL": f"{_origin(scope)}/openadr3/{edition}/auth/token"})
        if path != ("auth", "token"):
            raise NotFound("there is nothing at this path")
        if method != "POST":
            return _not_allowed("POST")
        return await self._token(edition, body)

    async def _token(self, edition: str, body: bytes) -> Answer:
        try:
            form = parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=20, errors="strict")
        except ValueError:
            return _refused("invalid_request", "a form is needed: grant_type, client_id, client_secret")
        one = {name: values[0] for name, values in form.items() if len(values) == 1 and len(values[0]) <= _MAX_SECRET}
        if one.get("grant_type") != "client_credentials":
            error = "unsupported_grant_type" if one.get("grant_type") else "invalid_request"
            return _refused(error, "grant_type: client_credentials is needed")
        if not one.get("client_id") or not one.get("client_secret") or len(one) < len(form):
            return _refused("invalid_request", "client_id, client_secret: each is needed, once")
        source = await self._context.authorise(one["client_id"], one["client_secret"])
        if source is None:
            return _refused("invalid_client", "client_id or client_secret is wrong", 401 if edition == "3.1.0" else 400)
        asked = frozenset(one.get("scope", "").split())
        if asked and not asked & (_BL if edition == "3.0.1" else _BL | {"read_all"}):
            source = msgspec.structs.replace(source, roles=_NOT_BL)
        token, life_s = self._context.issue_token(source, life_s=self._token_s)
        scopes = _scopes(self._controls.of(source), edition)
        answer = {"access_token": token, "token_type": "Bearer", "expires_in": life_s, "scope": " ".join(scopes)}
        return said(answer)._replace(headers=[("pragma", "no-cache")])


def _scopes(port: ControlPort, edition: str) -> list[str]:
    bl, reads = port.may("programme.manage"), port.may("programme.read")
    found = ["read_all"] if bl or (reads and edition == "3.0.1") else []
    if reads and edition == "3.1.0":
        found += ["read_targets", "read_ven_objects"]
    if bl:
        found += ["write_programs", "write_events"]
    if port.may("programme.report"):
        found += ["write_reports", "write_subscriptions", "write_vens"]
    return found


def _refused(error: str, detail: str, status: int = 400) -> Answer:
    return said(
        {"error": error, "error_description": detail, "title": error, "status": status, "detail": detail}, status
    )


def _not_allowed(method: str) -> Answer:
    document = {"title": "Method not allowed", "status": 405, "detail": f"here: {method}"}
    return said(document, 405)._replace(headers=[("allow", method)])


def _origin(scope: Scope) -> str:
    hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    return f"{scope['scheme']}://{hosts[0] if len(hosts) == 1 else 'localhost'}"
