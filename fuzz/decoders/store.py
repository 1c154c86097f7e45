"""What lies in the log and the registry, and what consumers show again: batches, bindings, cursors, receipts, notes."""

import base64
from typing import Any

import msgspec
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from target import Target, target

from gridspine.infra.ledger import merkle
from gridspine.infra.ledger.note import Checkpoint, VerifierKey, open_note, parse_checkpoint, parse_key, sign_note
from gridspine.infra.ledger.receipt import Growth, Receipt, decode_proof, encode_proof, verify, verify_growth
from gridspine.kernel.codecs.batch import decode_batch, encode_batch
from gridspine.kernel.codecs.binding import PointBinding, decode_binding, encode_binding
from gridspine.kernel.errors import Corrupt, Invalid
from gridspine.kernel.readings import Channel, Readings
from gridspine.kernel.time import parse_rfc3339
from gridspine.sharing.cursor import format_cursor, parse_cursor

_SIGNER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
_KEY = VerifierKey("example.org/ledger", _SIGNER.public_key().public_bytes_raw())


@target
def batch() -> Target:
    """Batches of readings in the log."""
    seeds = []
    for sources in (("urn:x:a",), ("urn:x:a", "urn:x:b")):
        origin = np.array([0, 1, 0], np.uint16) if len(sources) > 1 else None
        readings = Readings(
            np.array([1, 2, 3], np.int32), np.array([5, 6, 9], np.int64), np.array([1.0, np.nan, 3.0]), np.zeros(3, np.uint16),
            sources, Channel.REPORTED, 7, False, origin,
        )  # fmt: skip
        seeds.append(encode_batch(readings))
    return Target(
        "batch",
        "batches in the log",
        decode_batch,
        (Corrupt,),
        seeds,
        [b"\x28\xb5\x2f\xfd", b"\x95", b"\x92", b"\xce\xff\xff\xff\xff"],
        kind="disk",
        shape=len,
    )


@target
def binding() -> Target:
    """Bindings of point numbers in the log."""
    whole = encode_binding(PointBinding(5, "urn:x:a", "acme", "m", ("p", "q"), ("W", "V"), 1))
    return Target(
        "binding",
        "point bindings in the log",
        decode_binding,
        (Corrupt,),
        [whole],
        [b'"first":', b'"names":[', b"2147483647", b"-1"],
        kind="disk",
    )


@target
def cursor() -> Target:
    """Cursors that consumers show again."""

    def run(data: bytes) -> Any:
        offsets = parse_cursor(data.decode("utf-8", "replace"))
        if parse_cursor(format_cursor(offsets)) != offsets:
            raise AssertionError("not stable")
        return offsets

    seeds = [format_cursor({0: 1207, 1: 88}).encode(), b"0:0", b"3:4611686018427387903"]
    return Target(
        "cursor", "cursors", run, (Invalid,), seeds, [b":", b",", b"-1", b"_", b" ", b"\xd9\xa3", b"9" * 30], shape=len
    )


@target
def rfc3339() -> Target:
    """Times in text."""
    seeds = [b"2026-01-01T00:00:00Z", b"1970-01-01T00:00:00.123456789+05:30", b"9999-12-31t23:59:59z"]
    return Target(
        "rfc3339",
        "times (RFC 3339)",
        lambda data: parse_rfc3339(data.decode("utf-8", "replace")),
        (Invalid,),
        seeds,
        [b":60Z", b"24:", b"+24:00", b"-00:00", b"0000-"],
    )


def _tree(size: int) -> tuple[list[bytes], Any]:
    leaves = [merkle.leaf_hash(b"%d" % at) for at in range(size)]

    def node(level: int, index: int) -> bytes:
        if level == 0:
            return leaves[index]
        return merkle.node_hash(node(level - 1, 2 * index), node(level - 1, 2 * index + 1))

    return leaves, node


@target
def proof() -> Target:
    """Receipts and proofs of growth, decoded and verified; one that verifies must be true."""
    leaves, node = _tree(7)

    def head(size: int) -> str:
        return sign_note(Checkpoint(_KEY.name, size, merkle.root(node, 0, size)).text(), _KEY.name, _SIGNER)

    receipt = Receipt(3, 7, leaves[3], tuple(merkle.inclusion_path(node, 3, 7)), head(7), b"3")
    growth = Growth(head(4), head(7), tuple(merkle.consistency_path(node, 4, 7)))

    def run(data: bytes) -> object:
        found = decode_proof(data)
        if isinstance(found, Receipt):
            verify(found, _KEY)
            if found.leaf_hash != leaves[found.leaf_index]:
                raise AssertionError("a false receipt verifies")
        else:
            verify_growth(found, _KEY)
        return found

    seeds = [encode_proof(receipt), encode_proof(growth), msgspec.json.encode({"type": "receipt"})]
    words = [b'"treeSize":', b'"leafIndex":', b'"path":[]', b'"path":["', b"AAAA", b"\\n\\n", "\u2014 ".encode()]
    return Target("proof", "receipts and proofs of growth", run, (Invalid,), seeds, words)


@target
def checkpoint() -> Target:
    """Signed checkpoints; what opens must be what was signed."""
    text = Checkpoint(_KEY.name, 7, b"\1" * 32).text()
    whole = sign_note(text, _KEY.name, _SIGNER).encode()

    def run(data: bytes) -> object:
        note = data.decode("utf-8", "replace")
        if (
            note[:1] == "S"
            and note.endswith("\n")
            and min(note) >= "\n"
            and not set(note) & set(map(chr, range(11, 32)))
        ):
            return parse_checkpoint(open_note(sign_note(note[1:], _KEY.name, _SIGNER), _KEY))  # signed rightly
        opened = open_note(note, _KEY)
        if opened != text:
            raise AssertionError("a note that was not signed opens")
        return parse_checkpoint(opened)

    words = ["\u2014 ".encode(), b"\n\n", b"\n", base64.b64encode(_KEY.key_id(_KEY.name)), b"example.org/ledger "]
    return Target(
        "checkpoint", "signed checkpoints", run, (Invalid,), [whole, whole + b"x\n", b"S" + text.encode()], words
    )


@target
def verifier_key() -> Target:
    """Public keys of ledgers, as people paste them."""
    return Target(
        "verifier-key",
        "ledger keys",
        lambda data: parse_key(data.decode("utf-8", "replace")),
        (Invalid,),
        [str(_KEY).encode(), b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n"],
        [b"+", b"-----BEGIN PUBLIC KEY-----\n", b"AQ"],
    )
