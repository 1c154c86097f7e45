"""``gridspine ledger`` with files on disk."""

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from gridspine.apps.cli.ledger import app
from gridspine.infra.ledger import merkle
from gridspine.infra.ledger.handover import make_handover
from gridspine.infra.ledger.ledger import Ledger
from gridspine.infra.ledger.note import note_text, parse_checkpoint
from gridspine.infra.ledger.receipt import encode_proof
from gridspine.infra.log.port import Position, Stored
from gridspine.infra.log.topics import LEDGER
from gridspine.infra.registry.port import Event

SIGNER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SECOND, THIRD = (Ed25519PrivateKey.from_private_bytes(bytes([n] * 32)) for n in (2, 3))


@pytest.fixture
def shop(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite", SIGNER, "example.org/ledger")
    leaves = [msgspec.json.encode(Event(f"e{n}", "grant.approved", n, "urn:x:y", "ann", {})) for n in range(3)]
    ledger.consume([Stored(Position(LEDGER, 0, n), b"", leaf, 0) for n, leaf in enumerate(leaves[:2])])
    old = ledger.checkpoint()
    ledger.consume([Stored(Position(LEDGER, 0, 2), b"", leaves[2], 0)])
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
    other.consume([Stored(Position(LEDGER, 0, n), b"", leaf, 0) for n in range(3)])
    (folder / "other.json").write_bytes(encode_proof(other.receipt("other")))
    other.close()
    found = run("verify", folder / "good.json", folder / "other.json", "--key", folder / "key.pub")
    assert found.exit_code == 1
    assert "two stories" in found.output


@pytest.fixture
def rotated(shop):
    """The key was replaced twice: three events, a receipt and a proof of growth by the third key, and the notes."""
    folder, ledger = shop
    old, notes = ledger.checkpoint(), []
    for signer in (SECOND, THIRD):
        ledger.hand_over(signer, notes.append)
    event = msgspec.json.encode(Event("e3", "grant.ended", 3, "urn:x:y", "ann", {}))
    ledger.consume([Stored(Position(LEDGER, 0, 3), b"", event, 0)])
    grown = msgspec.structs.replace(ledger.growth(ledger.checkpoint()), old_checkpoint=old)
    path = merkle.consistency_path(ledger._node, 3, 4)
    (folder / "late.json").write_bytes(encode_proof(msgspec.structs.replace(ledger.receipt("e3"), leaf=event)))
    (folder / "late-growth.json").write_bytes(encode_proof(msgspec.structs.replace(grown, path=tuple(path))))
    (folder / "handovers.json").write_bytes(msgspec.json.encode(notes))
    return folder, notes


def test_an_old_key_verifies_what_later_keys_signed_by_the_handovers(rotated):
    folder, notes = rotated
    files = [folder / name for name in ("good.json", "late.json", "late-growth.json")]
    without = run("verify", *files, "--key", folder / "key.pub")
    assert (without.exit_code, "1 of 3 verified" in without.output) == (1, True)
    assert "not signed by this key" in without.output
    found = run("verify", *files, "--key", folder / "key.pub", "--handover", folder / "handovers.json")
    assert found.exit_code == 0, found.output
    assert "3 of 3 verified" in found.output
    assert found.output.count("vouched for by the one before") == 2
    single = []
    for at, note in enumerate(notes):  # one note a file, as it is
        (folder / f"{at}.note").write_text(note)
        single += ["--handover", folder / f"{at}.note"]
    assert run("verify", *files, "--key", folder / "key.pub", *single).exit_code == 0


def test_a_handover_that_is_missing_forged_or_unreadable_leads_nowhere(rotated):
    folder, notes = rotated
    stranger = Ed25519PrivateKey.from_private_bytes(bytes([9] * 32))
    head = parse_checkpoint(note_text(notes[0]))
    forged = make_handover(head, stranger, THIRD)
    for kept in (notes[1:], [notes[0], forged], [forged]):
        (folder / "some.json").write_bytes(msgspec.json.encode(kept))
        found = run("verify", folder / "late.json", "--key", folder / "key.pub", "--handover", folder / "some.json")
        assert found.exit_code == 1, found.output
        assert "0 of 1 verified" in found.output
    (folder / "some.json").write_text("[1]")
    for file in ("some.json", "none.json"):
        found = run("verify", folder / "late.json", "--key", folder / "key.pub", "--handover", folder / file)
        assert found.exit_code == 1
        assert f"{folder / file}: " in found.output


def test_show(shop):
    folder, ledger = shop
    found = run("show", folder / "ledger.sqlite", "--latest", "1")
    assert found.exit_code == 0
    assert "leaves 3, next log offset 3" in found.output
    assert ledger.checkpoint() in found.output
    assert "         2  e2" in found.output
    assert run("show", folder / "none").exit_code == 1
