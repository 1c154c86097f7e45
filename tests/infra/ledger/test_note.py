"""Signed notes, against a note signed by another implementation, and under mutation."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from gridspine.infra.ledger import note
from gridspine.kernel.errors import Invalid

SIGNER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY = note.VerifierKey("example.org/ledger", SIGNER.public_key().public_bytes_raw())
NOTE = note.sign_note(note.Checkpoint("example.org/ledger", 42, bytes(32)).text(), "example.org/ledger", SIGNER)

# The example of the Go package golang.org/x/mod/sumdb/note.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


def test_another_implementations_note_opens():
    key = note.parse_key(GO_KEY)
    assert key.text() == str(key) == GO_KEY
    assert note.open_note(GO_NOTE, key) == GO_NOTE[: GO_NOTE.rfind("\n\n") + 1]


def test_checkpoint_round_trip():
    found = note.parse_checkpoint(note.open_note(NOTE, KEY))
    assert found == note.Checkpoint("example.org/ledger", 42, bytes(32))
    assert note.note_text(NOTE) == found.text()


def test_keys_by_line_and_by_pem():
    assert note.parse_key(KEY.text() + "\n") == KEY
    pem = SIGNER.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    nameless = note.parse_key(pem)
    assert nameless.name == ""
    assert note.open_note(NOTE, nameless)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a+b",
        KEY.text().replace("example", "exemple"),
        KEY.text()[:-4],
        "-----BEGIN PUBLIC KEY-----\nxx\n",
        "x+0+AQ==",
    ],
)
def test_bad_keys_are_refused(text):
    with pytest.raises(Invalid):
        note.parse_key(text)


def test_unknown_signatures_are_passed_over_and_bad_own_ones_refuse():
    witness = Ed25519PrivateKey.generate()
    other = note.sign_note(note.note_text(NOTE), "witness.example", witness).split("\n\n")[1]
    assert note.open_note(NOTE + other, KEY)
    with pytest.raises(Invalid, match="not signed by this key"):
        note.open_note(note.note_text(NOTE) + "\n" + other, KEY)
    forged = note.sign_note("another\n", KEY.name, SIGNER).split("\n\n")[1]
    with pytest.raises(Invalid, match="signature is wrong"):
        note.open_note(NOTE + forged, KEY)


@given(st.integers(0, len(NOTE.encode()) - 1), st.integers(0, 255))
def test_any_changed_byte_is_refused(at, value):
    raw = bytearray(NOTE.encode())
    if raw[at] == value:
        return
    raw[at] = value
    with pytest.raises(Invalid):
        note.open_note(bytes(raw).decode("utf-8", errors="replace"), KEY)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "o\n1\n",
        "o\n01\nAA==\n",
        "o\n-1\nAA==\n",
        "o\n1\nAA==\n",
        "o\n1\n" + "A" * 43 + "=",
        "\n1\nx\n",
        "o\n²\nx\n",
    ],
)
def test_malformed_checkpoints_are_refused(text):
    with pytest.raises(Invalid):
        note.parse_checkpoint(text)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u00a0b", "a\n"])
def test_bad_names_are_refused(name):
    with pytest.raises(Invalid):
        note.check_name(name)
