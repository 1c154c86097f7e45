"""``gridspine ledger`` with files on disk."""

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from gridspine.apps.cli.ledger import app
from gridspine.infra.ledger.ledger import TOPIC, Ledger
from gridspine.infra.ledger.receipt import encode_proof
from gridspine.infra.log.port import Position, Stored
from gridspine.infra.registry.port import Event

SIGNER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@pytest.fixture
def shop(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite", SIGNER, "example.org/ledger")
    leaves = [msgspec.json.encode(Event(f"e{n}", "grant.approved", n, "urn:x:y", "ann", {})) for n in range(3)]
    ledger.consume([Stored(Position(TOPIC, 0, n), b"", leaf, 0) for n, leaf in enumerate(leaves[:2])])
    old = ledger.checkpoint()
    ledger.consume([Stored(Position(TOPIC, 0, 2), b"", leaves[2], 0)])
    receipt = msgspec.structs.replace(ledger.receipt("e1"), leaf=leaves[1])
    (tmp_path / "good.json").write_bytes(encode_proof(receipt))
    (tmp_path / "bad.json").write_bytes(encode_proof(msgspec.structs.replace(receipt, leaf=leaves[0])))
    (tmp_path / "growth.json").write_bytes(encode_proof(ledger.growth(old)))
    (tmp_path / "key.pub").write_text(ledger.key.text() + "\n")
    yield tmp_path, ledger
    ledger.close()


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_good_files_verify(shop):
    folder, _ = shop
    found = run("verify", folder / "good.json", folder / "growth.json", "--key", folder / "key.pub")
    assert found.exit_code == 0, found.output
    assert "grant.approved urn:x:y by ann at 1970-01-01T00:00:00.000001Z (event e1) is leaf 1 of 3" in found.output
    assert "grew from 2 to 3 leaves" in found.output
    assert "2 of 2 verified" in found.output


@pytest.mark.parametrize("name", ["bad.json", "missing.json", "key.pub"])
def test_one_failure_fails(shop, name):
    folder, _ = shop
    found = run("verify", folder / "good.json", folder / name, "--key", folder / "key.pub")
    assert found.exit_code == 1
    assert f"FAILED  {folder / name}" in found.output
    assert "1 of 2 verified" in found.output


def test_wrong_key_fails(shop):
    folder, _ = shop
    (folder / "none.pub").write_text("nothing")
    assert run("verify", folder / "good.json", "--key", folder / "none.pub").exit_code == 1


def test_two_stories_fail(shop, tmp_path):
    folder, _ = shop
    other = Ledger(tmp_path / "other.sqlite", SIGNER, "example.org/ledger")
    leaf = msgspec.json.encode(Event("other", "t", 0, "s", "a", {}))
    other.consume([Stored(Position(TOPIC, 0, n), b"", leaf, 0) for n in range(3)])
    (folder / "other.json").write_bytes(encode_proof(other.receipt("other")))
    other.close()
    found = run("verify", folder / "good.json", folder / "other.json", "--key", folder / "key.pub")
    assert found.exit_code == 1
    assert "two stories" in found.output


def test_show(shop):
    folder, ledger = shop
    found = run("show", folder / "ledger.sqlite", "--latest", "1")
    assert found.exit_code == 0
    assert "leaves 3, next log offset 3" in found.output
    assert ledger.checkpoint() in found.output
    assert "         2  e2" in found.output
    assert run("show", folder / "none").exit_code == 1
