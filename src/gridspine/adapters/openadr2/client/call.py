"""Messages to somebody else's VTN: over mutual TLS, bounded, no redirects, no cookies."""

import ssl

import httpx

from gridspine.adapters.openadr2 import message as m
from gridspine.adapters.openadr2 import message_report as r
from gridspine.adapters.openadr2.document import MAX_BYTES
from gridspine.adapters.openadr2.settings import Access
from gridspine.adapters.openadr2.wire import MEDIA, read, write
from gridspine.kernel.errors import Invalid, Unavailable
from gridspine.things.adapter import WireTrace

TIMEOUT_S = 30.0
"""How long an answer may take [s]."""
KEPT_S = 60.0
"""How long a connection is kept that nothing is said on [s]."""
_SERVICES: dict[type, str] = {
    m.Poll: "OadrPoll",
    **dict.fromkeys((m.RequestEvent, m.CreatedEvent), "EiEvent"),
    **dict.fromkeys((m.CreateOpt, m.CancelOpt), "EiOpt"),
    **dict.fromkeys(
        (r.RegisterReport, r.RegisteredReport, r.CreatedReport, r.UpdateReport, r.UpdatedReport, r.CanceledReport),
        "EiReport",
    ),
}


def tls_of(access: Access) -> ssl.SSLContext:
    """Return what is shown to a VTN and trusted of it; raise `Invalid` for files that cannot be used. Blocks."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(access.certificate, access.key or None)
        if access.ca:
            context.load_verify_locations(access.ca)
        else:
            context.load_default_certs()
    except OSError as error:  # ssl.SSLError is one, too
        raise Invalid(f"certificate, key, ca: {access.certificate} cannot be used: {error}") from error
    return context


class Remote:
    """One VTN. Close it by `close`."""

    def __init__(self, vtn: str, tls: ssl.SSLContext, trace: WireTrace) -> None:
        self._vtn, self._trace = vtn.rstrip("/"), trace
        limits = httpx.Limits(max_connections=2, max_keepalive_connections=2, keepalive_expiry=KEPT_S)
        self._http = httpx.AsyncClient(
            verify=tls, timeout=TIMEOUT_S, follow_redirects=False, trust_env=False, limits=limits
        )

    async def close(self) -> None:
        """Close what is open."""
        await self._http.aclose()

    async def say(self, message: m.Message) -> m.Message:
        """Return what is answered; raise `Unavailable` where nobody does, or what comes is no message."""
        body = write(message)
        url = f"{self._vtn}/{_SERVICES.get(type(message), 'EiRegisterParty')}"
        self._trace("out", body, peer=self._vtn)
        try:
            async with self._http.stream("POST", url, content=body, headers={"content-type": MEDIA}) as answer:
                said = await _body(answer)
        except (httpx.HTTPError, ssl.SSLError, OSError) as error:
            raise Unavailable(f"the VTN does not answer: {type(error).__name__}: {str(error)[:200]}") from error
        self._trace("in", said, peer=self._vtn)
        if answer.status_code == 200 and not said:  # what needs no answer may have none
            return m.Answer(response=m.Response())
        if answer.status_code != 200:
            raise Unavailable(f"the VTN answers {answer.status_code}")
        try:
            return read(said)
        except Invalid as error:
            raise Unavailable(f"what the VTN answers is no message: {error.detail}") from error


async def _body(answer: httpx.Response) -> bytes:
    parts, size = [], 0
    async for part in answer.aiter_bytes():
        parts.append(part)
        size += len(part)
        if size > MAX_BYTES:
            raise Unavailable(f"an answer of the VTN has more than {MAX_BYTES} bytes")
    return b"".join(parts)
