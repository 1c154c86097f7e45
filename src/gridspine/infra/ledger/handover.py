"""How one key of a ledger vouches for the next: a checkpoint that names it, signed by both.

::

    example.org/ledger
    42
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2…
    next-key example.org/ledger+9f2b…+AQx…      an extension line (C2SP tlog-checkpoint): the next key
                                                (an empty line)
    — example.org/ledger …                      the old key: it vouches
    — example.org/ledger …                      the new key: whoever was named has it
"""

from collections.abc import Iterable

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gridspine.infra.ledger.note import (
    Checkpoint,
    VerifierKey,
    open_note,
    parse_checkpoint,
    parse_key,
    sign_note,
)
from gridspine.kernel.errors import Invalid

_LINE = "next-key "


class Handover(msgspec.Struct, frozen=True):
    """A kept handover; ``time_us`` [µs since 1970] is when the key was replaced."""

    note: str
    time_us: int


_notes = msgspec.json.Decoder(list[str])


def read_notes(body: bytes) -> list[str]:
    """Return the notes in a file: one as it is, or a JSON array of them; raise `Invalid` when it is neither."""
    text = body.decode(errors="replace")
    if not text.lstrip().startswith("["):
        return [text]
    try:
        return _notes.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Invalid(f"neither a note nor a JSON array of notes: {error}") from error


def make_handover(checkpoint: Checkpoint, old: Ed25519PrivateKey, new: Ed25519PrivateKey) -> str:
    """Return the note in which ``old``, the key of ``checkpoint``'s origin, hands over to ``new``."""
    origin = checkpoint.origin
    key = VerifierKey(origin, new.public_key().public_bytes_raw())
    text = f"{checkpoint.text()}{_LINE}{key}\n"
    by_old, by_new = sign_note(text, origin, old), sign_note(text, origin, new)
    return by_old + by_new[len(text) + 1 :]


def next_key(note: str, key: VerifierKey) -> VerifierKey:
    """Return the key that ``key`` hands over to in ``note``.

    Raises `Invalid` when it does not, or the next key did not sign as well.
    """
    text = open_note(note, key)
    checkpoint = parse_checkpoint(text)
    named = [line.removeprefix(_LINE) for line in text.split("\n")[3:] if line.startswith(_LINE)]
    if len(named) != 1:
        raise Invalid("the note hands over to no key, or to several")
    following = parse_key(named[0])
    if following.name != checkpoint.origin:
        raise Invalid("the note hands over to the key of another ledger")
    open_note(note, following)
    return following


def follow(key: VerifierKey, notes: Iterable[str]) -> list[VerifierKey]:
    """Return ``key`` and every key that ``notes`` lead to from it; notes of other keys are passed over."""
    known, left = [key], list(notes)
    for at in known:  # it grows while it is walked
        for note in left:
            try:
                following = next_key(note, at)
            except Invalid:
                continue
            if following not in known:
                known.append(following)
    return known
