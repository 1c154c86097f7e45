"""The application that the node serves: requests of VENs by simple HTTP, over mutual TLS.

::

    POST {path}/EiRegisterParty · EiEvent · EiReport · EiOpt · OadrPoll
         certificate ─► asker ─► message ─► its service's handler ─► reply, 200, whatever became of it

What is no XML is 400, 413 or 415, with an oadrResponse that says why. Others' VENs are as if there were none.
Source: simple HTTP of OpenADR 2.0b as openleadr 0.5.36 speaks it; the specification's text was not read.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from gridspine.adapters.openadr2 import answer, metering, party
from gridspine.adapters.openadr2 import message as m
from gridspine.adapters.openadr2 import message_report as r
from gridspine.adapters.openadr2.desk import Asker, Desk
from gridspine.adapters.openadr2.document import MAX_BYTES
from gridspine.adapters.openadr2.problem import COMPLIANCE, INVALID_DATA, OTHER, Refused, of_error, reply
from gridspine.adapters.openadr2.wire import MEDIA, write
from gridspine.kernel.errors import GridspineError, Invalid, NotFound, Overloaded, UnsupportedMedia
from gridspine.things.adapter import Receive, Scope, Send, certificate_of
from gridspine.things.adapter_body import read_body

Handler = Callable[[Desk, Asker, Any], Awaitable[m.Message]]
SERVICES: dict[str, dict[type, Handler]] = {
    "EiRegisterParty": {
        m.QueryRegistration: party.query, m.CreatePartyRegistration: party.create,
        m.CancelPartyRegistration: party.cancel, m.CanceledPartyRegistration: metering.noted, m.Answer: metering.noted,
    },
    "EiEvent": {m.RequestEvent: answer.request, m.CreatedEvent: answer.created},
    "EiReport": {
        r.RegisterReport: metering.register, r.UpdateReport: metering.update, r.CreateReport: metering.create,
        r.CancelReport: metering.cancel, r.CreatedReport: metering.noted, r.CanceledReport: metering.noted,
        r.RegisteredReport: metering.noted, r.UpdatedReport: metering.noted,
    },
    "EiOpt": {m.CreateOpt: answer.create_opt, m.CancelOpt: answer.cancel_opt},
    "OadrPoll": {m.Poll: answer.poll},
}  # fmt: skip
"""What each service takes, and who answers it."""
_TYPE = (b"content-type", f"{MEDIA}; charset=utf-8".encode())
_TAKEN = frozenset({MEDIA, "text/xml"})
_LOG = logging.getLogger(__name__)


class App:
    """The ASGI application of one VTN."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._nothing: dict[str, bytes] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        more: tuple[tuple[str, str], ...] = ()
        try:
            status, body = 200, await self._answer(scope, receive)
        except GridspineError as error:
            status, more = error.status, tuple(error.headers.items())
            body = self._refusal(COMPLIANCE if status < 500 else OTHER, error.detail)
        except asyncio.CancelledError:
            raise
        except Exception:
            _LOG.exception("a request failed unexpectedly: %s", str(scope["path"])[:100])
            status, body = 500, self._refusal(OTHER, "this was logged; an operator of this node can help")
        headers = [_TYPE, (b"content-length", b"%d" % len(body))]
        headers += [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in more]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> bytes:
        desk = self._desk
        path, _, name = str(scope["path"]).rpartition("/")
        service = SERVICES.get(name) if path == desk.settings.path else None
        if service is None or scope["method"] != "POST":
            raise NotFound(f"a VTN of OpenADR 2.0b is here: POST {desk.settings.path}/{{{', '.join(SERVICES)}}}")
        body = await _body(scope, receive)
        if desk.context.trace.on:
            desk.context.trace("in", f"POST {name}\n".encode() + body)
        try:
            certificate = certificate_of(scope)
            asker = await desk.asker(certificate)  # before a message is read, which takes its time
            message, signed = await desk.open(asker, certificate or b"", body)
        except Refused as refused:
            return self._told(self._refusal(refused.code, refused.words))
        except Invalid as error:
            if not body.strip().startswith(b"<"):
                raise
            return self._told(self._refusal(INVALID_DATA, error.detail))
        made = await self._done(service.get(type(message)), name, asker, message)
        if signed or (desk.signing is not None and desk.signs(asker, getattr(message, "ven_id", ""))):
            assert desk.signing is not None
            return self._told(desk.signing.sign(made))
        return self._told(self._written(made))

    async def _done(self, handler: Handler | None, name: str, asker: Asker, message: Any) -> m.Message:
        """Return a handler's reply, or why there is none."""
        desk = self._desk
        try:
            if handler is None:
                raise Refused(COMPLIANCE, f"{name} does not take this message")
            return await handler(desk, asker, message)
        except Refused as refused:
            told = refused
        except Overloaded:
            raise
        except GridspineError as error:
            told = of_error(error)
        return reply(message, told.code, told.words, desk.settings.vtn_id, getattr(message, "ven_id", ""))

    def _written(self, made: m.Message) -> bytes:
        """Return a reply's bytes; that there is nothing is the same for a VEN each time."""
        if type(made) is not m.Answer or made.response != m.Response():
            return write(made)
        known = self._nothing.get(made.ven_id)
        if known is None:
            if len(self._nothing) >= 50_000:
                self._nothing.clear()
            known = self._nothing[made.ven_id] = write(made)
        return known

    def _refusal(self, code: int, words: str) -> bytes:
        return write(m.Answer(response=m.Response(code=code, description=words[:500])))

    def _told(self, body: bytes) -> bytes:
        if self._desk.context.trace.on:
            self._desk.context.trace("out", body)
        return body


async def _body(scope: Scope, receive: Receive) -> bytes:
    media = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
    if media.partition(b";")[0].strip().lower().decode("latin-1") not in _TAKEN:
        raise UnsupportedMedia(f"Content-Type: {MEDIA} is taken")
    return await read_body(receive, MAX_BYTES)
