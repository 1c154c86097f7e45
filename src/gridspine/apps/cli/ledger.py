"""``gridspine ledger``: verify receipts offline, and show a ledger's head."""

from pathlib import Path
from typing import Annotated

import typer

from gridspine.infra.ledger.handover import follow, read_notes
from gridspine.infra.ledger.ledger import event_of, summary
from gridspine.infra.ledger.note import Checkpoint, VerifierKey, parse_key
from gridspine.infra.ledger.receipt import MAX_PROOF_BYTES, Receipt, decode_proof, verify, verify_growth
from gridspine.kernel.errors import GridspineError, Invalid
from gridspine.kernel.time import format_rfc3339

app = typer.Typer(help="The ledger: verify receipts without the node, show what it holds.", no_args_is_help=True)
PublicKey = Annotated[Path, typer.Option("--key", metavar="PUBFILE", help="The ledger's public key.")]
Handover = Annotated[
    list[Path] | None, typer.Option(metavar="FILE", help="Notes by which the key was replaced since; may be repeated.")
]


@app.command(name="verify")
def verify_files(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Receipts or proofs of growth, as JSON.")],
    key: PublicKey,
    handover: Handover = None,
) -> None:
    """Verify receipts with the ledger's public key alone; exit 1 when any of them fails.

    PUBFILE holds one line ``name+keyid+base64`` or a PEM public key. Two checkpoints of one size with different
    roots mean that the ledger told two stories: that fails too.

    Where the key was replaced after you got PUBFILE, ``--handover`` takes what the node's ``/ledger/handovers``
    answers (or one note of it): each key vouches for the next, so nothing but PUBFILE needs to be trusted.
    """
    keys = read_keys(key, handover or [])
    failed = 0
    heads: dict[tuple[str, int], tuple[bytes, Path]] = {}
    for file in files:
        try:
            line, checkpoints = _verify(read_proof(file), keys)
            for checkpoint in checkpoints:
                _same_story(heads, checkpoint, file)
        except GridspineError as error:
            failed += 1
            typer.echo(f"FAILED  {file}: {error.detail}")
        else:
            typer.echo(f"ok      {file}: {line}")
    typer.echo(f"{len(files) - failed} of {len(files)} verified")
    if failed:
        raise typer.Exit(1)


@app.command()
def show(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="The ledger's SQLite file.")],
    latest: Annotated[int, typer.Option(min=0, max=1000, help="How many of the last events to list.")] = 10,
) -> None:
    """Show a ledger's size, the last checkpoint it signed and its last events. Changes nothing."""
    try:
        found = summary(path, latest=latest)
    except GridspineError as error:
        typer.echo(error.detail, err=True)
        raise typer.Exit(1) from error
    typer.echo(f"leaves {found.size}, next log offset {found.consumed}")
    typer.echo(f"\n{found.note}" if found.note else "no checkpoint signed yet")
    for leaf, event_id in found.latest:
        typer.echo(f"{leaf:>10}  {event_id}")


def read_proof(path: Path) -> bytes:
    """Return a file's bytes, as far as a proof may be long; raise `Invalid`."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_PROOF_BYTES + 1)
    except OSError as error:
        raise Invalid(f"cannot be read: {error.strerror}") from error


def read_keys(path: Path, handovers: list[Path]) -> list[VerifierKey]:
    """Return the key in ``path`` and those it leads to, which are shown; end where a file is unreadable."""
    at = path
    try:
        key = parse_key(read_proof(path).decode(errors="replace"))
        notes: list[str] = []
        for at in handovers:
            notes += read_notes(read_proof(at))
    except GridspineError as error:
        typer.echo(f"{at}: {error.detail}", err=True)
        raise typer.Exit(1) from error
    keys = follow(key, notes)
    for following in keys[1:]:
        typer.echo(f"key     {following}: vouched for by the one before")
    if notes and len(keys) == 1:
        typer.echo("no handover leads on from this key", err=True)
    return keys


def _verify(body: bytes, keys: list[VerifierKey]) -> tuple[str, list[Checkpoint]]:
    proof = decode_proof(body)
    if isinstance(proof, Receipt):
        checkpoint = verify(proof, *keys)
        return f"{_recorded(proof)} is leaf {proof.leaf_index} of {proof.tree_size} in {checkpoint.origin}", [
            checkpoint
        ]
    old, new = verify_growth(proof, *keys)
    return f"{new.origin} grew from {old.size} to {new.size} leaves, nothing changed", [old, new]


def _recorded(receipt: Receipt) -> str:
    if receipt.leaf is None:
        return f"hash {receipt.leaf_hash.hex()}"
    event = event_of(receipt.leaf)
    if event is None:
        return "a record that is not an event"
    try:
        when = format_rfc3339(event.time_us)
    except OverflowError:
        when = f"{event.time_us} µs"
    return f"{event.type} {event.subject} by {event.actor} at {when} (event {event.id})"


def _same_story(heads: dict[tuple[str, int], tuple[bytes, Path]], checkpoint: Checkpoint, file: Path) -> None:
    root, first = heads.setdefault((checkpoint.origin, checkpoint.size), (checkpoint.root, file))
    if root != checkpoint.root:
        raise Invalid(f"the ledger signed another root for {checkpoint.size} leaves in {first}: it tells two stories")
