"""Client files: who a client is, where its node is, and its private key; for its owner's eyes only (0600).

::

    {"client": "urn:…", "node": "https://…", "jwk": {"kty": "OKP", …, "d": "…"}}
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey

from gridspine.infra.identity.jws import Key
from gridspine.infra.identity.principal import Kind, Principal
from gridspine.infra.identity.private_file import create_private, read_private
from gridspine.infra.identity.service import Identity
from gridspine.infra.runtime.clock import Clock, new_urn
from gridspine.kernel.errors import Conflict, Invalid, NotFound

Algorithm = Literal["Ed25519", "ES256"]


@dataclass(frozen=True, slots=True)
class ClientFile:
    """What a client needs to prove itself: its id, the node's URL (its issuer), and its key, which is never shown."""

    client: str
    node: str
    key: Key = field(repr=False)

    def public_jwk(self) -> dict[str, Any]:
        """Return the public key as a JWK, for registration."""
        return dict(self.key.as_dict(private=False))


def new_key(algorithm: Algorithm = "Ed25519") -> Key:
    """Return a new key from the operating system's randomness."""
    return OKPKey.generate_key("Ed25519") if algorithm == "Ed25519" else ECKey.generate_key("P-256")


def write_client_file(path: Path, file: ClientFile, clock: Clock) -> None:
    """Write ``path`` (0600); raise `Conflict` when there is a file already."""
    document = {"client": file.client, "node": file.node, "jwk": file.key.as_dict(private=True)}
    if not create_private(path, msgspec.json.format(msgspec.json.encode(document)) + b"\n", clock):
        raise Conflict(f"{path} exists already: choose another name, a key is not overwritten")


def read_client_file(path: Path) -> ClientFile:
    """Read a client file; raise `NotFound`, or `Invalid` when others may read it or it is damaged."""
    content = read_private(path)
    if content is None:
        known = sorted(one.stem for one in path.parent.glob("*.json"))
        there = f"; there are: {', '.join(known)}" if known else ""
        raise NotFound(f"there is no client file {path}: 'gridspine client NAME' makes one{there}")
    try:
        document = msgspec.json.decode(content, type=dict[str, Any])
        jwk = document["jwk"]
        kind: type[Key] = OKPKey if jwk["kty"] == "OKP" else ECKey
        key = kind.import_key(jwk)
        if not key.is_private:
            raise Invalid(f"{path} holds no private key")
        return ClientFile(str(document["client"]), str(document["node"]), key)
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError, JoseError) as error:
        raise Invalid(f"{path} is not a client file") from error


def register_client(
    identity: Identity,
    clock: Clock,
    path: Path,
    *,
    organisation: str,
    kind: Kind,
    name: str,
    roles: tuple[str, ...],
    algorithm: Algorithm = "Ed25519",
    actor: str = "cli",
) -> Principal:
    """Make a key, write ``path``, and register principal and public key with the node's identity (on its machine).

    The file comes first: a principal without a key file helps nobody. It is taken away again when registering fails.
    """
    file = ClientFile(new_urn(clock), identity.issuer, new_key(algorithm))
    write_client_file(path, file, clock)
    try:
        principal = identity.directory.add_principal(organisation, kind, name, roles, id=file.client, actor=actor)
        identity.directory.add_key(principal.id, file.public_jwk(), actor=actor)
    except BaseException:
        path.unlink()
        raise
    return principal


def certificate_request(file: ClientFile) -> bytes:
    """Return a certificate request (PKCS #10, PEM) for the client's key, for mutual TLS."""
    private: Any = file.key.private_key
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, file.client[:64])])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    if isinstance(private, Ed25519PrivateKey):
        return builder.sign(private, None).public_bytes(Encoding.PEM)
    if isinstance(private, ec.EllipticCurvePrivateKey):
        return builder.sign(private, hashes.SHA256()).public_bytes(Encoding.PEM)
    raise Invalid("the client file holds no private key")


def private_pem(file: ClientFile) -> bytes:
    """Return the client's private key as PEM (PKCS #8), for TLS; keep it as the client file is kept."""
    private: Any = file.key.private_key
    pem: bytes = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem
