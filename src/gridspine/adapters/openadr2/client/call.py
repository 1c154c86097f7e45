"""Messages to somebody else's VTN: over mutual TLS, bounded, no redirects, no cookies; signed where that is asked for.

::

    message ─ signed by the certificate's key ─► VTN
    message ◄─ by the key of the certificate that it showed, or of one of its signers ─ answer
"""

import ssl
from typing import NamedTuple

import httpx

from gridspine.adapters.openadr2 import message as m
from gridspine.adapters.openadr2 import message_report as r
from gridspine.adapters.openadr2.document import MAX_BYTES
from gridspine.adapters.openadr2.problem import BadSignature
from gridspine.adapters.openadr2.settings import Access
from gridspine.adapters.openadr2.signing import Signing, certificates_of, make_signing
from gridspine.adapters.openadr2.wire import MEDIA, read, write
from gridspine.infra.runtime.clock import Clock
from gridspine.infra.runtime.guarded_http import operators_client, read_body
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


class Seal(NamedTuple):
    """How messages to a VTN are signed; ``required``: that its answers are; ``signers`` (DER) may sign them, too."""

    signing: Signing
    required: bool
    signers: frozenset[bytes]


def seal_of(access: Access, clock: Clock, window_s: float) -> Seal | None:
    """Return how messages are signed, None for not at all; raise `Invalid` for files that cannot be used. Blocks."""
    if access.signature == "none":
        return None
    signing = make_signing(clock, access.certificate, access.key, window_s)
    return Seal(signing, access.signature == "required", certificates_of(access.signers))


class Remote:
    """One VTN. Close it by `close`."""

    def __init__(self, vtn: str, tls: ssl.SSLContext, trace: WireTrace, seal: Seal | None = None) -> None:
        self._vtn, self._trace, self._seal = vtn.rstrip("/"), trace, seal
        limits = httpx.Limits(max_connections=2, max_keepalive_connections=2, keepalive_expiry=KEPT_S)
        self._http = operators_client(TIMEOUT_S, tls, limits)

    async def close(self) -> None:
        """Close what is open."""
        await self._http.aclose()

    @property
    def signs(self) -> bool:
        """Whether messages are signed."""
        return self._seal is not None

    async def say(self, message: m.Message) -> m.Message:
        """Return what is answered; raise `Unavailable` where nobody does, or what comes is no message."""
        body = write(message) if self._seal is None else self._seal.signing.sign(message)
        url = f"{self._vtn}/{_SERVICES.get(type(message), 'EiRegisterParty')}"
        self._trace("out", body, peer=self._vtn)
        try:
            async with self._http.stream("POST", url, content=body, headers={"content-type": MEDIA}) as answer:
                said = await read_body(answer, MAX_BYTES, "the VTN", Unavailable)
                shown = _shown(answer)
        except (httpx.HTTPError, ssl.SSLError, OSError) as error:
            raise Unavailable(f"the VTN does not answer: {type(error).__name__}: {str(error)[:200]}") from error
        self._trace("in", said, peer=self._vtn)
        if answer.status_code == 200 and not said and type(message) is not m.RequestEvent:
            # What needs no answer may have none; that there are no events has to be said.
            return m.Answer(response=m.Response())
        if answer.status_code != 200:
            raise Unavailable(f"the VTN answers {answer.status_code}")
        try:
            return read(said) if self._seal is None else await self._open(self._seal, said, shown)
        except Invalid as error:
            raise Unavailable(f"what the VTN answers is no message: {error.detail}") from error

    async def _open(self, seal: Seal, said: bytes, shown: bytes) -> m.Message:
        async def known(der: bytes) -> bool:
            return der in seal.signers

        try:
            opened = await seal.signing.open(said, shown, self._vtn, known)
        except BadSignature as error:
            raise Unavailable(f"what the VTN answers is not signed as it should be: {error}") from error
        if seal.required and not opened.signed:
            words = getattr(getattr(opened.message, "response", None), "description", "")
            raise Unavailable(f"what the VTN answers is not signed: {words[:200]}")
        return opened.message


def _shown(answer: httpx.Response) -> bytes:
    """Return the certificate (DER) that was shown by who answered."""
    tls = answer.extensions["network_stream"].get_extra_info("ssl_object")
    return (tls.getpeercert(binary_form=True) if tls is not None else None) or b""
