"""Client files, and registering clients with them."""

import json
import stat
from pathlib import Path

import pytest
from cryptography import x509

from gridspine.apps.cli.keys import (
    ClientFile,
    certificate_request,
    new_key,
    read_client_file,
    register_client,
    write_client_file,
)
from gridspine.apps.cli.signing import SigningAuth
from gridspine.infra.identity.service import Identity
from gridspine.infra.registry.sql import SqlRegistry, sqlite_url
from gridspine.infra.runtime.clock import SystemClock
from gridspine.kernel.errors import Conflict, Invalid, NotFound

CLOCK = SystemClock()


@pytest.fixture
def identity(tmp_path: Path):
    registry = SqlRegistry(sqlite_url(tmp_path / "registry.db"), CLOCK, None)
    identity = Identity(registry, CLOCK, tmp_path / "keys", "https://node.example")
    identity.directory.add_organisation("acme", "Acme")
    yield identity
    registry.close()


@pytest.mark.parametrize("algorithm", ["Ed25519", "ES256"])
def test_a_client_file_comes_back_and_shows_no_key(tmp_path: Path, algorithm) -> None:
    file = ClientFile("urn:x:client", "https://node.example", new_key(algorithm))
    path = tmp_path / "client.json"
    write_client_file(path, file, CLOCK)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = read_client_file(path)
    assert (again.client, again.node) == (file.client, file.node)
    private = file.key.as_dict(private=True)
    assert again.key.as_dict(private=True) == private
    assert str(private["d"]) not in repr(again)
    assert "d" not in again.public_jwk()
    assert x509.load_pem_x509_csr(certificate_request(again)).is_signature_valid


def test_a_client_file_is_not_overwritten_nor_shared(tmp_path: Path) -> None:
    path = tmp_path / "client.json"
    file = ClientFile("urn:x:client", "https://node.example", new_key())
    write_client_file(path, file, CLOCK)
    with pytest.raises(Conflict, match="not overwritten"):
        write_client_file(path, file, CLOCK)
    path.chmod(0o644)
    with pytest.raises(Invalid, match="chmod 600"):
        read_client_file(path)
    with pytest.raises(NotFound):
        read_client_file(tmp_path / "none.json")


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b'{"client":"a","node":"b","jwk":{"kty":"OKP"}}', b'{"client":"a","node":"b","jwk":7}'],
)
def test_a_damaged_client_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "client.json"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(Invalid, match=r"client\.json"):
        read_client_file(path)


def test_a_client_file_without_a_private_key_is_refused(tmp_path: Path) -> None:
    file = ClientFile("urn:x:client", "https://node.example", new_key())
    path = tmp_path / "client.json"
    path.write_text(json.dumps({"client": "a", "node": "b", "jwk": file.public_jwk()}))
    path.chmod(0o600)
    with pytest.raises(Invalid, match="no private key"):
        read_client_file(path)


def test_registering_makes_a_client_that_can_sign(tmp_path: Path, identity) -> None:
    path = tmp_path / "client.json"
    principal = register_client(
        identity, CLOCK, path, organisation="acme", kind="application", name="App", roles=("operator",)
    )
    file = read_client_file(path)
    assert (file.client, file.node) == (principal.id, "https://node.example")
    assert identity.directory.principal(principal.id) == principal
    (key,) = identity.directory.keys_of(principal.id)
    assert key.kid == file.key.thumbprint()
    auth = SigningAuth(file, clock=CLOCK)
    proof = auth.proof("GET", "https://node.example/x?y")
    assert identity.proofs.check(proof, method="GET", url="https://node.example/x", owner="o") == key.kid


def test_registering_that_fails_leaves_no_file(tmp_path: Path, identity) -> None:
    path = tmp_path / "client.json"
    with pytest.raises(NotFound):
        register_client(identity, CLOCK, path, organisation="nobody", kind="device", name="X", roles=())
    assert not path.exists()
    assert identity.directory.principals() == []
