"""Checkpoints of a log as signed notes.

Sources: C2SP signed-note v1.0.0 (format, key ids, Ed25519), C2SP tlog-checkpoint (the three lines of the text).

::

    example.org/ledger                     origin, also the name of the key
    42                                     tree size
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2…      root hash, base64
                                           (an empty line)
    — example.org/ledger Az3grlgtzPIC…     base64(key id, 4 bytes ‖ Ed25519 signature of the lines above)
"""

import base64
import binascii
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from gridspine.infra.ledger.merkle import HASH_BYTES
from gridspine.kernel.errors import Invalid

MAX_NOTE_BYTES = 65_536
MAX_SIGNATURES = 100
_ED25519 = b"\x01"
_DASH = "\u2014 "


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A ledger's public key (32 bytes, RFC 8032) and its name; an empty name stands for any."""

    name: str
    public_key: bytes

    def key_id(self, name: str) -> bytes:
        """Return the four bytes that mark this key's signatures under ``name`` (C2SP signed-note, Ed25519)."""
        return hashlib.sha256(name.encode() + b"\n" + _ED25519 + self.public_key).digest()[:4]

    def __str__(self) -> str:
        return self.text()

    def text(self) -> str:
        """Return the key in the usual one-line form ``name+keyid+base64(type ‖ key)``."""
        encoded = base64.b64encode(_ED25519 + self.public_key).decode()
        return f"{self.name}+{self.key_id(self.name).hex()}+{encoded}"


def parse_key(text: str) -> VerifierKey:
    """Return the key of a file: one line ``name+keyid+base64`` or a PEM public key; raise `Invalid` otherwise."""
    text = text.strip()
    if text.startswith("-----BEGIN PUBLIC KEY-----"):
        return _parse_pem(text)
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    raw = _unbase64(encoded, "the key")
    if not name or raw[:1] != _ED25519 or len(raw) != 33:
        raise Invalid("the key must be one line name+keyid+base64 of an Ed25519 key, or a PEM public key")
    key = VerifierKey(name, raw[1:])
    if key.key_id(name).hex() != key_id:
        raise Invalid("the key's id does not fit its name and bytes")
    return key


def _parse_pem(text: str) -> VerifierKey:
    try:
        key = load_pem_public_key(text.encode())
    except ValueError as error:
        raise Invalid("the PEM public key cannot be read") from error
    if not isinstance(key, Ed25519PublicKey):
        raise Invalid("the key must be an Ed25519 key")
    return VerifierKey("", key.public_bytes_raw())


def sign_note(text: str, name: str, signer: Ed25519PrivateKey) -> str:
    """Return ``text``, which ends with a newline, as a note signed by the key called ``name``."""
    assert text.endswith("\n") and _printable(text), "a note ends with a newline and has no control characters"
    check_name(name)
    key = VerifierKey(name, signer.public_key().public_bytes_raw())
    signature = base64.b64encode(key.key_id(name) + signer.sign(text.encode())).decode()
    return f"{text}\n{_DASH}{name} {signature}\n"


def open_note(note: str, key: VerifierKey) -> str:
    """Return the text of a note that ``key`` signed; raise `Invalid` when it did not, or the note is malformed.

    Signatures of unknown keys are passed over; a bad one of this key refuses the whole note.
    """
    if len(note) > MAX_NOTE_BYTES or not _printable(note):
        raise Invalid("the checkpoint is too long or has control characters")
    at = note.rfind("\n\n")
    if at < 0 or not note.endswith("\n"):
        raise Invalid("the checkpoint has no signature")
    text = note[: at + 1]
    verified = False
    for name, signature in _signatures(note[at + 2 :]):
        if (key.name and name != key.name) or signature[:4] != key.key_id(name):
            continue
        try:
            Ed25519PublicKey.from_public_bytes(key.public_key).verify(signature[4:], text.encode())
        except InvalidSignature as error:
            raise Invalid("the checkpoint's signature is wrong") from error
        verified = True
    if not verified:
        raise Invalid("the checkpoint is not signed by this key")
    return text


def open_by_any(note: str, keys: Sequence[VerifierKey]) -> str:
    """Return the text of a note that one of ``keys`` signed; raise `Invalid`, as the first has it, when none did."""
    refused: list[Invalid] = []
    for key in keys:
        try:
            return open_note(note, key)
        except Invalid as error:
            refused.append(error)
    raise refused[0]


def note_text(note: str) -> str:
    """Return the text of a note without looking at its signatures: for notes of one's own keeping only."""
    return note[: note.rfind("\n\n") + 1]


def _signatures(block: str) -> Iterator[tuple[str, bytes]]:
    lines = block.split("\n")[:-1]
    if not 0 < len(lines) <= MAX_SIGNATURES:
        raise Invalid("the checkpoint has no signature, or too many")
    for line in lines:
        name, _, encoded = line.removeprefix(_DASH).partition(" ")
        signature = _unbase64(encoded, "a signature")
        if not line.startswith(_DASH) or not name or len(signature) < 5:
            raise Invalid("a signature line of the checkpoint is malformed")
        yield name, signature


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree's ``size`` [leaves] and ``root`` (32 bytes), as its log ``origin`` states them."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Return the note's text (C2SP tlog-checkpoint)."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def parse_checkpoint(text: str) -> Checkpoint:
    """Return the checkpoint in a note's text; extension lines are passed over. Raise `Invalid` when malformed."""
    lines = text.split("\n")
    if len(lines) < 4 or not all(lines[:-1]) or lines[-1]:
        raise Invalid("a checkpoint has at least three lines, none of them empty")
    origin, size, root = lines[:3]
    if not size.isascii() or not size.isdigit() or str(int(size[:20])) != size:
        raise Invalid("the checkpoint's tree size is not a number")
    digest = _unbase64(root, "the root hash")
    if len(digest) != HASH_BYTES:
        raise Invalid("the checkpoint's root hash is not 32 bytes")
    return Checkpoint(origin, int(size), digest)


def check_name(name: str) -> str:
    """Return ``name`` when it can name a key and a log: not empty, no spaces, no plus; else raise `Invalid`."""
    if not name or "+" in name or not _printable(name) or any(character.isspace() for character in name):
        raise Invalid("a ledger's name has no spaces, no plus and is not empty, such as example.org/ledger")
    return name


def _printable(text: str) -> bool:
    return all(character >= " " or character == "\n" for character in text)


def _unbase64(text: str, what: str) -> bytes:
    """Decode standard base64, in its one canonical spelling only."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Invalid(f"{what} is not base64") from error
    if base64.b64encode(raw).decode() != text:
        raise Invalid(f"{what} is not canonical base64")
    return raw
