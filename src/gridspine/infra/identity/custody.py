"""The node's own private keys: files only their owner can read, made at first use.

::

    keys/  0700
      token-<created µs>.pem   Ed25519, signs access tokens; the newest signs, older ones verify until they retire
      ledger.pem               Ed25519, signs tree heads and receipts
      ca.pem, ca.crt           EC P-256, the node's certificate authority; ca-next.*, ca-old.crt while it is replaced
      *.key, *.old.key         32 random bytes (hex): cookies, device passwords; the one before

A file or folder that others may read is refused, with a sentence that says what to do.
"""

from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from joserfc.jwk import OKPKey

from gridspine.infra.identity.private_file import (
    check_private,
    create_private,
    read_private,
    replace_private,
    sweep,
)
from gridspine.infra.identity.token import TokenKey
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import Corrupt
from gridspine.kernel.time import US

RETIREMENT_S = 600
"""Seconds [s] a replaced token key goes on verifying: twice the longest life of a token."""

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class Custody:
    """A folder of private keys."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        """Open ``folder``, making it when it is missing; raise `Invalid` when others may look into it."""
        self._folder, self._clock = folder, clock
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_private(folder, folder.stat(), "700")
        sweep(folder)

    def path(self, name: str) -> Path:
        """Return where the file ``name`` is kept."""
        return self._folder / name

    def read(self, name: str) -> bytes | None:
        """Return the bytes of ``name``, or None; raise `Invalid` when others may read it."""
        return read_private(self.path(name))

    def create(self, name: str, content: bytes) -> bytes:
        """Keep ``content`` as ``name`` unless that exists; return what is kept then."""
        if create_private(self.path(name), content, self._clock):
            return content
        return self.read(name) or b""

    def replace(self, name: str, content: bytes) -> None:
        """Put ``content`` in the place of ``name``."""
        replace_private(self.path(name), content, self._clock)

    def ledger_key(self) -> Ed25519PrivateKey:
        """Return the key that signs the ledger's tree heads and receipts."""
        return _ed25519(self._private_key("ledger.pem", self._new_ed25519))

    def p256_key(self, name: str) -> ec.EllipticCurvePrivateKey:
        """Return the EC P-256 key kept as ``name``, made at first use."""
        key = self._private_key(name, self._new_p256)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise Corrupt(f"{self.path(name)} does not hold an EC key")
        return key

    def secret(self, name: str) -> bytes:
        """Return the 32 secret bytes kept as ``name``, made at first use."""
        file = f"{name}.key"
        text = self.read(file) or self.create(file, self._clock.randbytes(32).hex().encode())
        try:
            secret = bytes.fromhex(text.decode("ascii"))
        except ValueError as error:
            raise Corrupt(f"{self.path(file)} does not hold 32 bytes in hex") from error
        if len(secret) != 32:
            raise Corrupt(f"{self.path(file)} does not hold 32 bytes in hex")
        return secret

    def rotate_secret(self, name: str) -> list[bytes]:
        """Replace the secret ``name``; return the new one and the one before, which is kept as ``name.old``."""
        self.replace(f"{name}.old.key", self.secret(name).hex().encode())
        self.replace(f"{name}.key", self._clock.randbytes(32).hex().encode())
        return self.secrets(name)

    def secrets(self, name: str) -> list[bytes]:
        """Return the secret ``name``, then the one before if there is one."""
        old = [self.secret(f"{name}.old")] if self.path(f"{name}.old.key").exists() else []
        return [self.secret(name), *old]

    def new_ledger_key(self) -> Ed25519PrivateKey:
        """Return a new key for the ledger, not kept yet: the old one must vouch for it first."""
        return self._new_ed25519()

    def replace_ledger_key(self, key: Ed25519PrivateKey) -> None:
        """Keep ``key`` in the place of the ledger's."""
        self.replace("ledger.pem", _pem(key))

    def remove(self, name: str) -> None:
        """Delete ``name`` if it is there."""
        self.path(name).unlink(missing_ok=True)

    def token_keys(self) -> list[TokenKey]:
        """Return the keys of access tokens, newest first: the first signs, all verify. Retired ones are deleted."""
        created = self._token_key_times() or [self.rotate_token_key()]
        keys = []
        for position, created_us in enumerate(created):
            retires_us = created[position - 1] + RETIREMENT_S * US if position else None
            if retires_us is not None and self._clock.now_us() > retires_us:
                self.remove(f"token-{created_us}.pem")
                continue
            pem = self.read(f"token-{created_us}.pem") or b""
            key = OKPKey.import_key(_ed25519(_load(pem, self.path(f"token-{created_us}.pem"))))
            key.ensure_kid()
            keys.append(TokenKey(key, retires_us))
        return keys

    def rotate_token_key(self, *, at_once: bool = False) -> int:
        """Make a new token key; return when it was created [µs since 1970], which names its file.

        ``at_once`` deletes the ones before: they may be in other hands, so nothing they signed holds any more.
        """
        before = self._token_key_times() if at_once else []
        newest_us = max(self._token_key_times(), default=0)
        created_us = max(self._clock.now_us(), newest_us + 1)
        self.create(f"token-{created_us}.pem", _pem(self._new_ed25519()))
        for old_us in before:
            self.remove(f"token-{old_us}.pem")
        return created_us

    def _token_key_times(self) -> list[int]:
        stems = (path.stem.removeprefix("token-") for path in self._folder.glob("token-*.pem"))
        return sorted((int(stem) for stem in stems if stem.isdigit()), reverse=True)

    def _private_key(self, name: str, make: Callable[[], PrivateKeyTypes]) -> PrivateKeyTypes:
        pem = self.read(name) or self.create(name, _pem(make()))
        return _load(pem, self.path(name))

    # Private keys come from the injected clock's randomness: the operating system's in production, a seed's in a
    # simulation that must repeat itself.
    def _new_ed25519(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self._clock.randbytes(32))

    def _new_p256(self) -> ec.EllipticCurvePrivateKey:
        # 64 surplus bits make the bias of the remainder negligible (NIST FIPS 186-5 appendix A.2.1).
        scalar = int.from_bytes(self._clock.randbytes(40), "big") % (_P256_ORDER - 1) + 1
        return ec.derive_private_key(scalar, ec.SECP256R1())


def _pem(key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey | PrivateKeyTypes) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _load(pem: bytes, path: Path) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(pem, password=None)
    except ValueError as error:
        raise Corrupt(f"{path} does not hold a private key in PEM") from error


def _ed25519(key: PrivateKeyTypes) -> Ed25519PrivateKey:
    if not isinstance(key, Ed25519PrivateKey):
        raise Corrupt("a key file does not hold an Ed25519 key")
    return key
