"""The token endpoint and what clients must know to use it.

Sources: RFC 6749 §4.4, §5.1 and §5.2 (client credentials, answers, errors), RFC 7009 (revocation), RFC 8414
(metadata), RFC 9449 §5 (DPoP at the token endpoint), RFC 8705 (mutual TLS).
"""

import asyncio
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar
from urllib.parse import parse_qsl

import msgspec
from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler

from gridspine.apps.api.authenticate import PUBLIC, place_of, request_url
from gridspine.apps.api.tls import client_certificate
from gridspine.infra.identity.refusal import ALGORITHMS
from gridspine.infra.identity.service import Identity, TokenRequest
from gridspine.kernel.errors import Invalid, Unauthenticated

P = ParamSpec("P")
R = TypeVar("R")
MAX_FORM_BYTES = 16_384
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_FORM = "application/x-www-form-urlencoded"


class RevocationRequest(msgspec.Struct, frozen=True):
    """A request to end a token (RFC 7009 §2.1)."""

    token: str = ""
    client_id: str = ""
    client_assertion_type: str = ""
    client_assertion: str = ""


def token_routes(identity: Identity, *, scopes: tuple[str, ...] = ()) -> list[HTTPRouteHandler]:
    """Return the routes of the token endpoint; ``scopes`` are the role names to tell of in the metadata."""

    @post("/token", opt=PUBLIC, request_max_body_size=MAX_FORM_BYTES, summary="Get an access token")
    async def issue_token(request: Request[Any, Any, Any]) -> Response[dict[str, Any]]:
        """Answer a client_credentials request with a token of 5 minutes, bound to a DPoP key or certificate."""
        try:
            issued = _counted(
                identity,
                request,
                identity.issue_token,
                msgspec.convert(await _form(request), TokenRequest),
                method="POST",
                url=request_url(request.scope),
                proof=_one_proof(request),
                certificate_der=client_certificate(request.scope),
            )
        except (Invalid, Unauthenticated) as error:
            return _refused(error)
        return Response(msgspec.to_builtins(issued), status_code=200, headers=_NO_STORE)

    @post("/revoke", opt=PUBLIC, request_max_body_size=MAX_FORM_BYTES, summary="End an access token")
    async def revoke_token(request: Request[Any, Any, Any]) -> Response[dict[str, Any]]:
        """End a token of the client that asks; a token that is not valid any more is answered likewise."""
        try:
            asked = msgspec.convert(await _form(request), RevocationRequest)
            if not asked.token:
                raise Invalid("send the token to end", error="invalid_request")
            client = TokenRequest("", asked.client_id, asked.client_assertion_type, asked.client_assertion)
            certificate = client_certificate(request.scope)
            principal, _ = _counted(identity, request, identity.authenticate_client, client, certificate)
            await asyncio.to_thread(identity.revoke_token, asked.token, principal)
        except (Invalid, Unauthenticated) as error:
            return _refused(error)
        return Response({}, status_code=200, headers=_NO_STORE)

    @get("/.well-known/oauth-authorization-server", opt=PUBLIC, summary="Metadata of the token endpoint")
    async def metadata() -> Response[dict[str, Any]]:
        """Return RFC 8414 metadata."""
        return Response(_metadata(identity, scopes), headers={"Cache-Control": "max-age=3600"})

    @get("/jwks", opt=PUBLIC, summary="Public keys of access tokens")
    async def jwks() -> Response[dict[str, Any]]:
        """Return the JWK Set that access tokens verify with."""
        # Shorter than a retired key goes on verifying, so that nobody misses a rotation.
        return Response(dict(identity.tokens.jwks()), headers={"Cache-Control": "max-age=300"})

    return [issue_token, revoke_token, metadata, jwks]


def _counted(
    identity: Identity, request: Request[Any, Any, Any], prove: Callable[P, R], *given: P.args, **more: P.kwargs
) -> R:
    """Let a client prove itself; one whose address keeps failing waits ever longer (`Overloaded`)."""
    place = place_of(request.scope)
    if place:
        identity.failures.check(place)
    try:
        return prove(*given, **more)
    except Unauthenticated:
        if place:
            identity.failures.failed(place)
        raise


async def _form(request: Request[Any, Any, Any]) -> dict[str, str]:
    """Return the form's fields; raise `Invalid` when it is none or repeats one (RFC 6749 §3.2)."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise Invalid(f"the body must be {_FORM}", error="invalid_request")
    try:
        pairs = parse_qsl(
            (await request.body()).decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=50,
        )
    except ValueError as error:
        raise Invalid("the body is not a well-formed form", error="invalid_request") from error
    if len(dict(pairs)) != len(pairs):
        raise Invalid("a parameter was sent more than once", error="invalid_request")
    return dict(pairs)


def _one_proof(request: Request[Any, Any, Any]) -> str:
    proofs = request.headers.getall("dpop", [])
    if len(proofs) > 1:
        raise Invalid("there must be one DPoP header", error="invalid_dpop_proof")
    return proofs[0] if proofs else ""


def _refused(error: Invalid | Unauthenticated) -> Response[dict[str, Any]]:
    # A proof that does not hold is a 401 anywhere else, but at the token endpoint a 400 (RFC 9449 §5).
    code = error.extra.get("error", "invalid_dpop_proof" if "reason" in error.extra else "invalid_request")
    status = 401 if code == "invalid_client" else 400
    headers = {**_NO_STORE, **(error.headers if status == 401 else {})}
    return Response({"error": code, "error_description": _printable(error.detail)}, status_code=status, headers=headers)


def _printable(text: str) -> str:
    """Return ``text`` in the characters RFC 6749 §5.2 allows in an error_description."""
    return "".join(c if " " <= c <= "~" and c not in '"\\' else "'" for c in text)


def _metadata(identity: Identity, scopes: tuple[str, ...]) -> dict[str, Any]:
    methods = ["private_key_jwt", "tls_client_auth"]
    base = identity.token_endpoint.removesuffix("/token")
    return {
        "issuer": identity.issuer,
        "token_endpoint": identity.token_endpoint,
        "revocation_endpoint": f"{base}/revoke",
        "jwks_uri": f"{base}/jwks",
        "scopes_supported": list(scopes),
        "response_types_supported": [],
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "revocation_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "dpop_signing_alg_values_supported": list(ALGORITHMS),
        "tls_client_certificate_bound_access_tokens": True,
    }
