"""Enrolment: how a device from the box comes to a certificate, with a voucher that works for one key only.

::

    voucher (id, code) ─► made for an organisation ─► bound to one Thing ─► used: one key, one device principal
                             announces the device      by a person             the same key may ask again

Sources: RFC 7030 (EST) §3.2.3 (HTTP authentication of a client), §4.2.3 (202 while a person decides), §4.1.3 and
§4.2.3 (certs-only answers); RFC 8951 (base64 without line rules, no transfer encoding named); RFC 2986 (PKCS #10).
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, pkcs7

from gridspine.infra.identity.refusal import refuse
from gridspine.infra.registry.port import Event, Registry, Transaction
from gridspine.infra.runtime.clock import Clock, new_id
from gridspine.kernel.errors import Conflict, Forbidden, Invalid, NotFound, Overloaded
from gridspine.kernel.time import US

MAX_LIFE_S = 366 * 86_400
MAX_OPEN = 10_000
"""Vouchers of one organisation that are kept at most, used ones among them; those that ran out make room."""
_MAX_NOTE = 200
_SWEPT = 1_000


class Voucher(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A bootstrap credential: ``digest`` is the hash (hex) of its code, ``thing`` what it is bound to ("" none yet).

    ``key`` is the hash (hex) of the public key it was used for and ``principal`` the device that has it.
    """

    id: str
    organisation: str
    digest: str
    made_by: str
    made_us: int
    expires_us: int
    thing: str = ""
    announcement: str = ""
    note: str = ""
    key: str = ""
    principal: str = ""
    used_us: int | None = None
    revoked_us: int | None = None

    def open(self, now_us: int) -> bool:
        """Whether it still proves whoever shows its code at ``now_us`` [µs since 1970]."""
        return self.revoked_us is None and now_us < self.expires_us


class Vouchers:
    """Makes, checks, binds and ends vouchers; 128 random bits each, so a plain hash keeps them. Calls block."""

    def __init__(self, registry: Registry, clock: Clock, *, topic: str = "") -> None:
        self._registry, self._clock, self._topic = registry, clock, topic

    def make(
        self, organisation: str, *, made_by: str, life_s: int, thing: str = "", note: str = ""
    ) -> tuple[Voucher, str]:
        """Return a new voucher, good for ``life_s`` [s], and its code, which cannot be read again."""
        if not 60 <= life_s <= MAX_LIFE_S:
            raise Invalid(f"lifeS: 60 to {MAX_LIFE_S} seconds")
        if len(note) > _MAX_NOTE:
            raise Invalid(f"note: at most {_MAX_NOTE} characters")
        code = base64.b32encode(self._clock.randbytes(16)).rstrip(b"=").decode().lower()
        now_us = self._clock.now_us()
        voucher = Voucher(
            id=new_id(self._clock), organisation=organisation, digest=_digest(code), made_by=made_by, made_us=now_us,
            expires_us=now_us + life_s * US, thing=thing, note=note,
        )  # fmt: skip

        def work(tx: Transaction) -> None:
            known = tx.list(Voucher, owner=organisation, limit=MAX_OPEN + 1)
            if len(known) >= MAX_OPEN:
                over = [one for one in known if not one.open(now_us)][:_SWEPT]
                if not over:
                    raise Overloaded(f"the organisation has {MAX_OPEN} vouchers: revoke some", retry_after_s=3600)
                for one in over:
                    tx.delete(Voucher, one.id)
            self._put(tx, voucher, "voucher.made", made_by)

        self._registry.transact(work)
        return voucher, code

    def check(self, id: str, code: str) -> Voucher:
        """Return the voucher whose code this is; raise a 401 that does not tell what was wrong."""
        voucher = self._registry.read(lambda tx: tx.get(Voucher, id))
        fits = hmac.compare_digest(voucher.digest if voucher else "", _digest(code))
        if voucher is None or not fits or not voucher.open(self._clock.now_us()):
            raise refuse("wrong-voucher", "the voucher is wrong, was revoked or has run out", scheme="Basic", error="")
        return voucher

    def get(self, id: str) -> Voucher:
        """Return a voucher; raise `NotFound`."""
        return self._registry.read(lambda tx: _get(tx, id))

    def list(self, organisation: str) -> list[Voucher]:
        """Return an organisation's vouchers that are still open, the oldest first."""
        known = self._registry.read(lambda tx: tx.list(Voucher, owner=organisation, limit=MAX_OPEN))
        now_us = self._clock.now_us()
        return [one for one in known if one.open(now_us)]

    def announced(self, id: str, announcement: str, *, instead_of: str = "") -> None:
        """Note that the device announced itself with the voucher; raise `Conflict` when it did so for another.

        ``instead_of`` is an announcement of the same device that was turned away.
        """

        def change(voucher: Voucher) -> Voucher:
            if voucher.announcement not in {"", announcement, instead_of} or (
                voucher.thing and not voucher.announcement
            ):
                raise Conflict("the voucher is for another device: one voucher announces one device")
            return msgspec.structs.replace(voucher, announcement=announcement)

        self._change(id, change, "voucher.announced", id)

    def bind(self, id: str, thing: str, *, actor: str) -> Voucher:
        """Let a voucher enrol ``thing`` and nothing else; raise `Conflict` when it is bound to another."""

        def change(voucher: Voucher) -> Voucher:
            if voucher.thing not in {"", thing}:
                raise Conflict("the voucher is bound to another Thing")
            return msgspec.structs.replace(voucher, thing=thing)

        return self._change(id, change, "voucher.bound", actor)

    def use(self, id: str, key: str, principal: str) -> Voucher:
        """Use a voucher for ``key`` and ``principal``, or return it as it was used for the same key.

        Raises `Forbidden` when it was used for another key: somebody else has it.
        """

        def change(voucher: Voucher) -> Voucher:
            if voucher.key and voucher.key != key:
                raise Forbidden("the voucher was used for another key: ask for a new one", reason="voucher-used")
            if voucher.key:
                return voucher
            return msgspec.structs.replace(voucher, key=key, principal=principal, used_us=self._clock.now_us())

        return self._change(id, change, "voucher.used", principal)

    def revoke(self, id: str, *, actor: str) -> Voucher:
        """End a voucher; certificates it brought stay good."""
        now_us = self._clock.now_us()
        return self._change(id, lambda one: msgspec.structs.replace(one, revoked_us=now_us), "voucher.revoked", actor)

    def revoke_for(self, thing: str, organisation: str, *, actor: str) -> None:
        """End all vouchers that are bound to a Thing."""
        for voucher in self.list(organisation):
            if voucher.thing == thing:
                self.revoke(voucher.id, actor=actor)

    def _change(self, id: str, change: Callable[[Voucher], Voucher], type_: str, actor: str) -> Voucher:
        def work(tx: Transaction) -> Voucher:
            known = _get(tx, id)
            changed = change(known)
            if changed != known:
                self._put(tx, changed, type_, actor)
            return changed

        return self._registry.transact(work)

    def _put(self, tx: Transaction, voucher: Voucher, type_: str, actor: str) -> None:
        tx.put(voucher, id=voucher.id, owner=voucher.organisation)
        if self._topic:
            told = {name: value for name, value in msgspec.to_builtins(voucher).items() if name != "digest"}
            event = Event(new_id(self._clock), f"identity.{type_}", self._clock.now_us(), voucher.id, actor, told)
            tx.emit(self._topic, voucher.id, event)


def read_request(body: bytes) -> tuple[bytes, str]:
    """Return a certificate request in PEM and the hash (hex) of the public key that signed it; raise `Invalid`.

    ``body`` is base64 of PKCS #10 in DER (RFC 7030 §4.2.1), in one line or many; PEM, which many tools make, is taken
    as well.
    """
    try:
        if body.lstrip().startswith(b"-----BEGIN"):
            request = x509.load_pem_x509_csr(body)
        else:
            request = x509.load_der_x509_csr(base64.b64decode(b"".join(body.split()), validate=True))
        if not request.is_signature_valid:
            raise Invalid("the certificate request is not signed by the key in it")
        spki = request.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, binascii.Error, x509.InvalidVersion, UnsupportedAlgorithm) as error:
        raise Invalid("this is not a certificate request: send PKCS #10, base64 of its DER") from error
    return request.public_bytes(Encoding.PEM), hashlib.sha256(spki).hexdigest()


def certs_only(pem: bytes) -> bytes:
    """Return the certificates of ``pem`` as PKCS #7 without signers, in base64 (RFC 7030 §4.1.3, §4.2.3)."""
    certificates = x509.load_pem_x509_certificates(pem)
    return base64.encodebytes(pkcs7.serialize_certificates(certificates, Encoding.DER))


def _get(tx: Transaction, id: str) -> Voucher:
    voucher = tx.get(Voucher, id)
    if voucher is None:
        raise NotFound("there is no such voucher")
    return voucher


def _digest(code: str) -> str:
    return hashlib.sha256(code.strip().lower().encode("utf-8", "surrogatepass")).hexdigest()
