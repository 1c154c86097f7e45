"""How the API describes itself where the routes do not say: what goes wrong, in which form, and how to prove oneself.

Sources: OpenAPI 3.1, RFC 9457 (problem details). Every operation names the statuses a caller may meet, so that a
client made from the description knows them, and a test that compares answers with it can fail.
"""

from typing import Any

from litestar import Request
from litestar.openapi.plugins import JsonRenderPlugin

PROBLEM_TYPE = "application/problem+json"
_ALWAYS = {
    "400": "The request is not valid",
    "421": "This node does not answer for that host name",
    "429": "Too much at once: come back after Retry-After seconds",
    "503": "A part this needs is not running",
}
_NAMED = {
    "401": "Nobody is proven to be asking",
    "403": "Not permitted; `decision` names the recorded decision",
    "404": "Nothing of that name, for this caller",
    "406": "Not to be had in the form asked for",
    "409": "The state does not allow this",
    "410": "No longer here",
}
_SENDING = {
    "413": "More than is taken at once",
    "415": "A content type or encoding that is not taken",
    "507": "No room left for new data",
}
_BESIDE = {"405": "A resource of that fixed name stands here, and takes other methods"}
"""What a path that ends in a name may answer, where another of the same kind has a fixed one: ``/things/batch``."""
_BY_OTHER_PROOF = ("/enrolment", "/.well-known/est/simple")
"""What is open to those without a token, and asks for a voucher or a certificate instead."""
_OAUTH = {"400": "invalid_request and its kin", "401": "invalid_client"}
_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "A problem document (RFC 9457).",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string"},
        "decision": {"type": "string", "description": "Id of the recorded decision, with 403."},
        "reason": {"type": "string", "description": "A stable word for programs, with 401 and some 403."},
        "errors": {"type": "array", "items": {"type": "object"}, "description": "Field and description, with 400."},
    },
}
_OAUTH_ERROR: dict[str, Any] = {
    "type": "object",
    "description": "An error of the token endpoint (RFC 6749 §5.2).",
    "required": ["error"],
    "properties": {"error": {"type": "string"}, "error_description": {"type": "string"}},
}
_SCHEMES: dict[str, Any] = {
    "dpop": {
        "type": "http",
        "scheme": "DPoP",
        "description": "An access token and a proof for each request (RFC 9449).",
    },
    "mutualTls": {
        "type": "mutualTLS",
        "description": "A client certificate, and a token that is bound to it (RFC 8705).",
    },
}


class DescribedPlugin(JsonRenderPlugin):
    """Renders the description with problems and security added."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Return the description as JSON."""
        return self.render_json(request, described(openapi_schema, _public(request)))


def described(schema: dict[str, Any], public: frozenset[tuple[str, str]]) -> dict[str, Any]:
    """Return ``schema`` with what every operation may answer besides; ``public`` ones ask for nobody's name."""
    components = schema.get("components", {})
    schemas = {**components.get("schemas", {}), "Problem": _PROBLEM, "OAuthError": _OAUTH_ERROR}
    fixed = {path.rpartition("/")[0] for path in schema["paths"] if not path.endswith("}")}
    paths = {
        path: {
            method: _described(
                method,
                path,
                operation,
                public=(method.upper(), path) in public,
                beside=path.endswith("}") and path.rpartition("/")[0] in fixed,
            )
            for method, operation in operations.items()
        }
        for path, operations in schema["paths"].items()
        if not path.startswith("/schema")  # the description itself: nothing a client would be made for
    }
    return {**schema, "paths": paths, "components": {**components, "schemas": schemas, "securitySchemes": _SCHEMES}}


def _described(method: str, path: str, operation: dict[str, Any], *, public: bool, beside: bool) -> dict[str, Any]:
    oauth = path in {"/token", "/revoke"}
    named = {} if public and not path.startswith(_BY_OTHER_PROOF) else _NAMED
    said = {**_ALWAYS, **named, **(_SENDING if method == "post" else {}), **(_BESIDE if beside else {})}
    added = {status: _response(words, "Problem", PROBLEM_TYPE) for status, words in said.items()}
    if oauth:
        added |= {status: _response(words, "OAuthError", "application/json") for status, words in _OAUTH.items()}
    good = {status: answer for status, answer in operation["responses"].items() if status < "400"}
    security: dict[str, Any] = {} if public else {"security": [{"dpop": []}, {"mutualTls": []}]}
    return {**operation, **security, "responses": {**good, **dict(sorted(added.items()))}}


def _response(words: str, schema: str, media_type: str) -> dict[str, Any]:
    return {"description": words, "content": {media_type: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}}


def _public(request: Request[Any, Any, Any]) -> frozenset[tuple[str, str]]:
    found = set()
    for route in request.app.routes:
        for handler in getattr(route, "route_handlers", ()):
            if handler.opt.get("exclude_from_auth"):
                found |= {(method, route.path_format) for method in getattr(handler, "http_methods", ())}
    return frozenset(found)
