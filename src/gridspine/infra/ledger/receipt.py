"""Receipts and proofs of growth: what the ledger hands out, and how anyone verifies it without the ledger."""

from typing import Annotated

import msgspec

from gridspine.infra.ledger import merkle
from gridspine.infra.ledger.note import Checkpoint, VerifierKey, open_by_any, parse_checkpoint
from gridspine.kernel.errors import Invalid

MAX_PROOF_BYTES = 2_000_000
_Size = Annotated[int, msgspec.Meta(ge=0)]
_Path = Annotated[tuple[bytes, ...], msgspec.Meta(max_length=merkle.MAX_PATH)]


class Receipt(msgspec.Struct, frozen=True, rename="camel", tag_field="type", tag="receipt", omit_defaults=True):
    """A signed proof that a leaf is at ``leaf_index`` of the ledger, as it stood at ``checkpoint``.

    ``leaf_hash`` and the members of ``path`` are 32 bytes (base64 in JSON); ``leaf``, the event as it was
    recorded, is left out where the one who shows the receipt keeps its content to themselves.
    """

    leaf_index: _Size
    tree_size: _Size
    leaf_hash: bytes
    path: _Path
    checkpoint: str
    leaf: bytes | None = None


class Growth(msgspec.Struct, frozen=True, rename="camel", tag_field="type", tag="growth"):
    """A proof that the ledger at ``new_checkpoint`` still holds all it held at ``old_checkpoint``, in place."""

    old_checkpoint: str
    new_checkpoint: str
    path: _Path


Proof = Receipt | Growth
_decoder: msgspec.json.Decoder[Proof] = msgspec.json.Decoder(Proof)


def encode_proof(proof: Proof) -> bytes:
    """Return a receipt or a proof of growth as JSON."""
    return msgspec.json.encode(proof)


def decode_proof(body: bytes) -> Proof:
    """Return the receipt or proof of growth in JSON ``body``; raise `Invalid` when it is neither."""
    if len(body) > MAX_PROOF_BYTES:
        raise Invalid("the file is too long for a receipt")
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Invalid(f"not a receipt: {error}") from error


def verify(receipt: Receipt, key: VerifierKey, *later: VerifierKey) -> Checkpoint:
    """Return the checkpoint under which ``receipt`` holds; raise `Invalid`, saying what is wrong, when it does not.

    ``later`` are the keys that followed ``key`` (`handover.follow`): any of them may have signed.
    """
    checkpoint = parse_checkpoint(open_by_any(receipt.checkpoint, (key, *later)))
    if checkpoint.size != receipt.tree_size:
        raise Invalid("the receipt's tree size is not the checkpoint's")
    if receipt.leaf is not None and merkle.leaf_hash(receipt.leaf) != receipt.leaf_hash:
        raise Invalid("the event is not the one that was recorded: its hash differs")
    if not merkle.inclusion_holds(
        receipt.leaf_hash, receipt.leaf_index, receipt.tree_size, receipt.path, checkpoint.root
    ):
        raise Invalid("the path does not lead from the leaf to the checkpoint's root")
    return checkpoint


def verify_growth(growth: Growth, key: VerifierKey, *later: VerifierKey) -> tuple[Checkpoint, Checkpoint]:
    """Return old and new checkpoint when the one grew into the other; raise `Invalid` otherwise.

    ``later`` as in `verify`: each checkpoint is signed by one of the keys.
    """
    old = parse_checkpoint(open_by_any(growth.old_checkpoint, (key, *later)))
    new = parse_checkpoint(open_by_any(growth.new_checkpoint, (key, *later)))
    if old.origin != new.origin:
        raise Invalid("the checkpoints belong to different ledgers")
    if not merkle.consistency_holds(old.size, old.root, new.size, new.root, growth.path):
        raise Invalid("the newer checkpoint does not continue the older one")
    return old, new
