"""Enrolment at work: from a voucher and a certificate request to a device with a certificate that speaks for a Thing.

::

    voucher ─► bound? ─no─► 202: a person decides          certificate ─► same principal, new key ─► certificate
       │yes
       └► key proven ─► voucher used ─► device principal ─► certificate ─► Thing.devices ─► provisioned

One after another: the voucher is used before anything is issued, so that whoever has its code besides gets nothing.
"""

import asyncio

import structlog

from gridspine.apps.node.lives import Lives
from gridspine.infra.identity.enrol import Voucher, certs_only, read_request
from gridspine.infra.identity.principal import Principal
from gridspine.infra.identity.service import Identity
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import Conflict, Forbidden, GridspineError
from gridspine.things.directory import Directory
from gridspine.things.thing import Thing

MAX_CERTIFICATES = 16
"""Certificates that are good of one device at most: who enrols again and again is stopped."""
DEVICE = "device"
"""The role a device that enrolled has."""
log = structlog.get_logger(__name__)


class Enrolment:
    """Issues certificates to devices that prove a key, for the Thing their voucher is bound to."""

    def __init__(self, identity: Identity, things: Directory, lives: Lives, clock: Clock) -> None:
        self._identity, self._things, self._lives, self._clock = identity, things, lives, clock
        self._one = asyncio.Lock()

    async def enrol(self, voucher: Voucher, body: bytes) -> bytes | None:
        """Return the certificate for the request in ``body`` as PKCS #7 in base64; None while a person must decide.

        Raises `Invalid` for a request that is none, `Forbidden` when the voucher was used for another key or its Thing
        is not there to be provisioned any more.
        """
        pem, key = read_request(body)
        if not voucher.thing:
            return None
        async with self._one:
            voucher = await asyncio.to_thread(self._lives.vouchers.get, voucher.id)  # it may be used by now, or revoked
            if not voucher.open(self._clock.now_us()):
                raise Forbidden("the voucher was revoked, or has run out: ask for a new one", reason="voucher-void")
            thing = self._thing(voucher)
            principal = await asyncio.to_thread(self._principal, voucher, thing, key)
            certificate = await asyncio.to_thread(self._issue, principal, pem)
            await self._speaks(thing, principal, voucher)
        return certs_only(certificate)

    async def again(self, certificate_der: bytes, body: bytes) -> bytes:
        """Return a new certificate for whoever shows a good one, for the key in ``body``; raise a 401."""
        caller = self._identity.by_certificate(certificate_der)
        self._identity.rate.take(caller.principal)
        if caller.kind != "device":
            raise Forbidden("devices renew their certificates here: an administrator issues those of others")
        pem, key = read_request(body)
        principal = self._identity.directory.principal(caller.principal)
        certificate = await asyncio.to_thread(self._issue, principal, pem)
        for thing in list(self._things.of_device(principal.id))[:100]:
            told = {"device": principal.id, "key": key}
            await self._lives.lifecycles.tell(thing, "thing.credential-renewed", by=principal.id, data=told)
        return certs_only(certificate)

    def _issue(self, principal: Principal, pem: bytes) -> bytes:
        now_us = self._clock.now_us()
        issued = self._identity.authority.issued_to(principal.id)
        if sum(one.revoked_us is None and one.not_after_us > now_us for one in issued) >= MAX_CERTIFICATES:
            raise Conflict(f"the device has {MAX_CERTIFICATES} certificates that are good: revoke some first")
        return self._identity.authority.issue(principal, pem)

    def _thing(self, voucher: Voucher) -> Thing:
        try:
            thing = self._things.get(voucher.thing)
        except GridspineError:
            thing = None
        if thing is None or thing.retired or thing.organisation != voucher.organisation:
            raise Forbidden("the voucher's Thing is not there any more: ask for a new voucher", reason="voucher-void")
        return thing

    def _principal(self, voucher: Voucher, thing: Thing, key: str) -> Principal:
        directory = self._identity.directory
        if not voucher.key:
            made = directory.add_principal(
                thing.organisation, "device", _name(thing), (DEVICE,), actor=f"voucher:{voucher.id}"
            )
            voucher = self._lives.vouchers.use(voucher.id, key, made.id)
            if voucher.principal != made.id:  # somebody was quicker, with the same key
                directory.deactivate(made.id, actor=f"voucher:{voucher.id}")
        else:
            voucher = self._lives.vouchers.use(voucher.id, key, voucher.principal)
        principal = directory.active(voucher.principal)
        if principal is None:
            raise Forbidden("the device was deactivated: ask for a new voucher", reason="voucher-void")
        return principal

    async def _speaks(self, thing: Thing, principal: Principal, voucher: Voucher) -> None:
        """Let the device speak for the Thing, and the Thing be provisioned."""
        actor = f"voucher:{voucher.id}"
        for _ in range(5):
            thing = self._things.get(thing.id)
            if principal.id in thing.devices:
                break
            try:
                devices = (*thing.devices, principal.id)
                thing = await self._things.change(thing.id, actor=actor, expected=thing.version, devices=devices)
            except Conflict:
                continue  # it was changed meanwhile: look again
        life = await self._lives.lifecycles.of(thing)
        if life.state == "described":
            await self._lives.lifecycles.move(
                thing, "provisioned", by=principal.id, why="the device proved its key and has a certificate",
                evidence=[f"voucher:{voucher.id}", f"made-by:{voucher.made_by}"],
            )  # fmt: skip
        else:
            told = {"device": principal.id, "voucher": voucher.id}
            await self._lives.lifecycles.tell(thing, "thing.credential-issued", by=principal.id, data=told)


def _name(thing: Thing) -> str:
    printable = "".join(c for c in thing.title if c.isprintable()).strip()
    return f"device of {printable}"[:200].strip()
