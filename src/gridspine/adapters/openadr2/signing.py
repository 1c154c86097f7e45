"""Messages signed and taken as signed, for both sides: whose key it was, and that nothing is shown twice.

Apart from `gridspine.adapters.openadr2.signature`, whose XML engine is loaded only where settings ask for signatures.
"""

import asyncio
from collections.abc import Awaitable, Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from gridspine.adapters.openadr2.document import decode
from gridspine.adapters.openadr2.message import Message
from gridspine.adapters.openadr2.problem import BadSignature
from gridspine.adapters.openadr2.replay import Replays
from gridspine.adapters.openadr2.wire import read_root
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import Invalid

_LARGE = 32 << 10
"""Messages of more bytes are signed, and taken apart, beside the event loop."""
_EXTRA = "signature: messages are signed by the extra 'openadr': pip install 'gridspine[openadr]'"


class Opened(NamedTuple):
    """A message, and whether it was signed."""

    message: Message
    signed: bool


class Signing:
    """Signs by one key, and verifies. Lives on the event loop."""

    def __init__(self, clock: Clock, engine: Any, signer: Any, window_s: float) -> None:
        self._clock, self._engine, self._signer = clock, engine, signer
        self._replays = Replays(clock, window_s)

    async def open(self, body: bytes, shown_der: bytes, who: str, known: Callable[[bytes], Awaitable[bool]]) -> Opened:
        """Return the message in a payload of ``who``, who showed a certificate; raise `BadSignature`, `Invalid`.

        It is signed by the key of that certificate, or (where the signature names another) of one that is ``known`` to
        be of the same. What a signature names is asked for before anything is verified by it.
        """
        root = decode(body)
        if root.find("ds:Signature") is None:
            return Opened(read_root(root), signed=False)
        named = await self._beside(body, self._engine.certificate_in, body)
        if named is not None and named != shown_der and not await known(named):
            raise BadSignature("the certificate in the signature is not known as this party's")
        signed = await self._beside(body, self._engine.verify, body, named or shown_der, self._clock.now_us())
        self._replays.take(who, signed.at_us, signed.nonce)
        return Opened(signed.message, signed=True)

    def sign(self, message: Message) -> bytes:
        """Return a payload with a signature."""
        signed: bytes = self._signer.sign(message, self._clock.now_us(), self._clock.randbytes(16).hex())
        return signed

    async def _beside(self, body: bytes, work: Callable[..., Any], *given: Any) -> Any:
        return work(*given) if len(body) <= _LARGE else await asyncio.to_thread(work, *given)


def make_signing(clock: Clock, certificate: str, key: str, window_s: float) -> Signing:
    """Return what signs by the certificate and key in two files; raise `Invalid`. Blocks."""
    try:
        engine = import_module("gridspine.adapters.openadr2.signature")
    except ImportError as error:
        raise Invalid(_EXTRA) from error
    signer = engine.Signer(_read(certificate), _read(key or certificate))
    return Signing(clock, engine, signer, window_s)


def certificates_of(files: tuple[str, ...]) -> frozenset[bytes]:
    """Return the certificates (DER) in files; raise `Invalid`. Blocks."""
    engine = import_module("gridspine.adapters.openadr2.signature")
    return frozenset(engine.pems([_read(one) for one in files]))


def _read(name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise Invalid(f"signature: {name} cannot be read: {error}") from error
