"""HTTP: the routes of both versions, who asks, and what an error is answered.

::

    /ocpi/versions · /ocpi/{version} · /ocpi/{version}/credentials       also with the token of an invitation
    /ocpi/{version}/{sender|receiver}/{module}/…                         registered partners, to a party that is here

Source: OCPI 2.2.1-d2 and 2.3.0, chapters "Transport and format", "Versions", "Credentials", "Status codes".
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import msgspec

from gridspine.adapters.ocpi.book import Book, Partner
from gridspine.adapters.ocpi.call import Call, Handlers, Reply
from gridspine.adapters.ocpi.credentials import Credentials
from gridspine.adapters.ocpi.registration import Registration
from gridspine.adapters.ocpi.settings import Settings
from gridspine.adapters.ocpi.wire import (
    OcpiError,
    Party,
    Version,
    nothing_here,
    read_query,
    read_tokens,
    write_envelope,
)
from gridspine.kernel.errors import GridspineError, Invalid, NotFound, Overloaded, TooLarge, Unauthenticated
from gridspine.things.adapter import AdapterContext, Receive, Scope, Send
from gridspine.things.adapter_body import read_body

MAX_BODY_BYTES = 2 << 20
_ECHOED = (b"x-request-id", b"x-correlation-id")
_LOG = logging.getLogger(__name__)
_COUNT = frozenset({"shown", "former"})
"""As what a token lets a partner in that is registered."""
_NEEDED = {
    ("sender", "tokens"): "CPO", ("receiver", "locations"): "CPO", ("receiver", "tariffs"): "CPO",
    ("receiver", "sessions"): "CPO", ("receiver", "cdrs"): "CPO", ("receiver", "tokens"): "EMSP",
    ("receiver", "commands"): "EMSP",
}  # fmt: skip
"""Which role a partner needs for a module, or a hub's: drivers' tokens, say, are for who may have to let them in."""
Modules = Mapping[tuple[str, str], Handlers]
"""What answers, by side (*sender*, *receiver*) and module."""


class _Answer(NamedTuple):
    http: int
    body: bytes
    headers: list[tuple[str, str]]


class App:
    """The ASGI application. ``here`` tells whether a partner's Thing is there now."""

    def __init__(
        self, context: AdapterContext, settings: Settings, book: Book, registration: Registration, modules: Modules,
        here: Callable[[str], bool],
    ) -> None:  # fmt: skip
        self._context, self._settings, self._book = context, settings, book
        self._registration, self._modules = registration, modules
        self._here = here

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        peer = str((scope.get("client") or ("unknown",))[0])
        turned: list[tuple[str, str]] = []
        try:
            answer = await self._answer(scope, receive, peer, turned)
        except OcpiError as error:
            answer = self._problem(error.http, error.status_code, error.detail)
        except GridspineError as error:
            answer = self._refused(error)
        except asyncio.CancelledError:
            raise
        except Exception:
            _LOG.exception("a request failed unexpectedly: %s", str(scope["path"])[:100])
            answer = self._problem(500, 3000, "this was logged; an operator of this node can find out more")
        if self._context.trace.on:
            self._context.trace("out", b"%d " % answer.http + answer.body, peer=peer)
        headers = [
            (b"content-length", b"%d" % len(answer.body)), (b"cache-control", b"no-store"),
            (b"content-type", b"application/json"), *_echoed(scope),
        ]  # fmt: skip
        headers += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in (*answer.headers, *turned)]
        await send({"type": "http.response.start", "status": answer.http, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, scope: Scope, receive: Receive, peer: str, turned: list[tuple[str, str]]) -> _Answer:
        """Answer one request; ``turned`` gets from whom to whom the answer is, also where it is an error."""
        path = _path(scope)
        if len(path) < 2 or path[0] != "ocpi":
            raise nothing_here(f"OCPI is here: {self._registration.url}")
        partner, standing, token = self._who(scope)
        body = await read_body(receive, MAX_BODY_BYTES)
        method = str(scope["method"])
        if self._context.trace.on:
            self._context.trace("in", f"{method} {scope['path']}\n".encode() + body, peer=peer)
        query = bytes(scope["query_string"]).decode("latin-1")
        if path == ("ocpi", "versions"):
            _only(method, "GET")
            return self._said(Reply(self._registration.versions()))
        version: Version | None = next((one for one in self._settings.versions if one == path[1]), None)
        if version is None:
            raise nothing_here(f"versions here: {', '.join(self._settings.versions)}")
        if len(path) == 2:
            _only(method, "GET")
            return self._said(Reply(self._registration.details(version)))
        await self._registration.settle(partner, token)
        if path[2:] == ("credentials",):
            return self._said(await self._credentials(method, version, partner, (standing, token), body))
        if standing not in _COUNT:
            raise OcpiError(2000, "register first: with that token nothing else is to be had", 401)
        sender = self._routed(scope, partner, turned)
        call = Call(
            method, version, partner, path[4:], read_query(query), body,
            f"{self._registration.base}/{'/'.join(path)}", self._context.clock.now_us(), sender,
        )  # fmt: skip
        handlers = self._modules.get((path[2], path[3])) if len(path) > 3 else None
        if handlers is None:
            raise nothing_here()
        _only(method, *handlers)
        needed = _NEEDED.get((path[2], path[3]))
        if needed is not None and not any(one.role in {needed, "HUB"} for one in partner.roles):
            raise OcpiError(2000, f"that is for partners with the role {needed}")
        return self._said(await handlers[method](call))

    def _who(self, scope: Scope) -> tuple[Partner, str, str]:
        """Return who asks, as what its token counts, and the token; raise `OcpiError` 401."""
        given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"]
        found = self._book.by_token(read_tokens(given))
        counts = found is not None and self._here(found[0].thing) and self._registration.counts(found[0], found[1])
        if found is None or not counts:
            raise OcpiError(2000, "a credentials token is needed: Authorization: Token …", 401)
        return found

    async def _credentials(
        self, method: str, version: Version, partner: Partner, shown: tuple[str, str], body: bytes
    ) -> Reply:
        _only(method, "GET", "POST", "PUT", "DELETE")
        if method == "GET":
            return Reply(self._registration.credentials(shown[1]))
        if method == "DELETE":
            await self._registration.leave(partner)
            return Reply()
        if shown[0] == "pending":
            raise OcpiError(2000, "registration is under way the other way round", 405)
        call = Call(method, version, partner, (), {}, body, "", 0)
        given: Credentials = call.read(Credentials)
        return Reply(await self._registration.take(partner, version, given, again=method == "PUT"))

    def _routed(self, scope: Scope, partner: Partner, turned: list[tuple[str, str]]) -> Party | None:
        """Return from whom a request is, None where it does not say; raise `OcpiError` where it is not for us.

        What is answered is from us to that party: also where the request left open for whom it is.
        """
        sender, asked = _party(scope, "from"), _party(scope, "to")
        if sender is not None and not partner.is_(sender):
            raise OcpiError(2001, "OCPI-from: that party is none of yours")
        us = self._settings.party
        if sender is not None:
            turned += [("ocpi-to-country-code", sender.country_code), ("ocpi-to-party-id", sender.party_id)]
        if sender is not None or asked is not None:
            turned += [("ocpi-from-country-code", us.country_code), ("ocpi-from-party-id", us.party_id)]
        if asked is not None and asked.key != us.key:
            raise OcpiError(2001, f"OCPI-to: {asked} is not here, {us} is")
        return sender

    def _said(self, reply: Reply) -> _Answer:
        return _Answer(reply.http, write_envelope(reply.data, self._context.clock.now_us()), reply.headers)

    def _problem(self, http: int, status_code: int, detail: str) -> _Answer:
        return _Answer(http, write_envelope(msgspec.UNSET, self._context.clock.now_us(), status_code, detail), [])

    def _refused(self, error: GridspineError) -> _Answer:
        if isinstance(error, TooLarge | Overloaded | Unauthenticated | NotFound):
            status_code = 3000 if isinstance(error, Overloaded) else 2000
            return self._problem(error.status, status_code, error.detail)._replace(headers=list(error.headers.items()))
        if error.status < 500:
            return self._problem(200, 2001 if isinstance(error, Invalid) else 2000, error.detail)
        return self._problem(error.status, 3000, error.detail)


def _only(method: str, *allowed: str) -> None:
    if method not in allowed:
        raise OcpiError(2000, f"here: {', '.join(allowed)}", 405)


def _party(scope: Scope, side: str) -> Party | None:
    names = f"ocpi-{side}-country-code".encode(), f"ocpi-{side}-party-id".encode()
    given: dict[bytes, Any] = {name: value.decode("latin-1") for name, value in scope["headers"] if name in names}
    if not given:
        return None
    if len(given) < 2 or not all(given.values()):
        raise OcpiError(2001, f"OCPI-{side}: country code and party id go together")
    return Party(given[names[0]], given[names[1]])


def _path(scope: Scope) -> tuple[str, ...]:
    """Return the parts of the path as they were meant: one may have a slash in it, as ``%2F``."""
    raw: bytes = scope.get("raw_path") or quote(str(scope["path"])).encode()
    return tuple(unquote(part) for part in raw.decode("latin-1").partition("?")[0].strip("/").split("/"))


def _echoed(scope: Scope) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in scope["headers"] if name in _ECHOED and len(value) <= 100]
