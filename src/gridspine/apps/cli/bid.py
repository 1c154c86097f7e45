"""``gridspine bid``: bids for energy less or more, how they were settled, and whether that is so."""

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
import typer

from gridspine.apps.cli.client import Client, Data
from gridspine.apps.cli.document import read_object
from gridspine.apps.cli.ledger import Handover, PublicKey, read_keys
from gridspine.apps.cli.site import ask
from gridspine.energy.evidence import MAX_BYTES, decode_evidence, prove
from gridspine.energy.register_record import RegisterRecord
from gridspine.energy.settlement_line import SettlementLine
from gridspine.kernel.errors import GridspineError
from gridspine.kernel.time import format_rfc3339

app = typer.Typer(help="Bids for energy less or more: made, decided, settled, verified.", no_args_is_help=True)
BidId = Annotated[str, typer.Argument(metavar="BID", help="The bid's id.")]
Reason = Annotated[str, typer.Option(help="Why; it is kept.")]


@app.command()
def offer(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The bid, as JSON.")],
    data: Data = None,
    client: Client = "operator",
) -> None:
    """Make a bid to whoever runs its programme; print its id. It binds once it is accepted."""
    typer.echo(ask(data, client, "POST", "/bids", read_object(file))["id"])


@app.command("list")
def list_(
    programme: Annotated[str, typer.Option(help="Only those to this programme.")] = "",
    data: Data = None,
    client: Client = "operator",
) -> None:
    """List the bids that the client's organisation made, or was made, the newest first."""
    wanted = f"?programme={quote(programme, safe=':')}" if programme else ""
    for one in ask(data, client, "GET", f"/bids{wanted}"):
        typer.echo(
            f"{one['id']}  {one['title']}: {one['direction']} {one['energyWh']} Wh, {one['from']} … {one['until']}, "
            f"{one['price']} {one['currency']}/kWh ({one['status']}{', ' + one['amount'] if one['amount'] else ''})"
        )


@app.command()
def accept(bid: BidId, reason: Reason = "", data: Data = None, client: Client = "operator") -> None:
    """Accept a bid to an own programme, its baseline and its price with it, before it begins."""
    _decide(bid, "accept", reason, data, client)


@app.command()
def refuse(bid: BidId, reason: Reason = "", data: Data = None, client: Client = "operator") -> None:
    """Refuse a bid to an own programme."""
    _decide(bid, "refuse", reason, data, client)


@app.command()
def withdraw(bid: BidId, reason: Reason = "", data: Data = None, client: Client = "operator") -> None:
    """Take an own bid back while nobody has decided it."""
    typer.echo(ask(data, client, "POST", f"{path_of(bid)}/withdraw", {"reason": reason})["status"])


@app.command()
def settlement(
    bid: BidId,
    out: Annotated[Path | None, typer.Option(help="Keep the receipts of all of it in this file.")] = None,
    data: Data = None,
    client: Client = "operator",
) -> None:
    """Show how a bid was settled: the registers at both instants, and what they come to."""
    found = ask(data, client, "GET", f"{path_of(bid)}/settlement")
    for record in found["records"]:
        typer.echo(f"{record['which']:5} {record['at']}")
        for one in record["registers"]:
            quality = ", ".join(one["quality"])
            typer.echo(
                f"  {one['point']} {one['value']} {one['unit']} at {one['observed']} ({one['method']}, {quality})"
            )
        for name in record["missing"]:
            typer.echo(f"  {name} is missing")
    for line in found["lines"]:
        typer.echo(line_text(line))
    if not found["lines"]:
        typer.echo("not settled yet")
    if out is not None:
        events = [found["event"], *(one["event"] for one in (*found["records"], *found["lines"]))]
        events += sorted({event for line in found["lines"] for event in line["exchanges"]})
        receipts = [ask(data, client, "GET", f"/receipts/{quote(one, safe=':')}") for one in events if one]
        out.write_bytes(msgspec.json.format(msgspec.json.encode({"type": "settlement-evidence", "receipts": receipts})))
        typer.echo(f"{len(receipts)} receipts: {out}")


@app.command()
def verify(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="What `gridspine bid settlement --out` kept.")],
    key: PublicKey,
    handover: Handover = None,
) -> None:
    """Make the lines again from the registers, without the node; exit 1 when a number or a signature differs."""
    keys = read_keys(key, handover or [])
    failed = 0
    for file in files:
        try:
            proven = prove(decode_evidence(_read(file)), keys[0], *keys[1:])
        except (GridspineError, OSError) as error:
            failed += 1
            typer.echo(f"FAILED  {file}: {error.detail if isinstance(error, GridspineError) else error.strerror}")
            continue
        typer.echo(f"ok      {file}: {proven.bid.title}")
        for line, start, end in proven.lines:
            for record in (start, end):
                typer.echo(f"  {_record_text(record)}")
            typer.echo(f"  {_line_text(line)}")
    if failed:
        raise typer.Exit(1)


def line_text(line: dict[str, Any]) -> str:
    """Return a settlement line of the API as a line of text."""
    if line["outcome"] == "unsettled":
        return f"line {line['number']}: not settled, {line['reason']}"
    return (
        f"line {line['number']}: import {line['importWh']} Wh, export {line['exportWh']} Wh, baseline "
        f"{line['baselineWh']} Wh; delivered {line['deliveredWh']} Wh, paid {line['paidWh']} Wh: {line['amount']} "
        f"({line['outcome']})"
    )


def path_of(bid: str) -> str:
    """Return where a bid is found."""
    return f"/bids/{quote(bid, safe=':')}"


def _decide(bid: str, decision: str, reason: str, data: Path | None, client: str) -> None:
    body = {"decision": decision, "reason": reason}
    typer.echo(ask(data, client, "POST", f"{path_of(bid)}/decision", body)["status"])


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _record_text(record: RegisterRecord) -> str:
    registers = ", ".join(f"{one.point} {one.value} {one.unit}" for one in record.readings)
    return f"{record.which:5} {format_rfc3339(record.at_us)}: {registers or 'nothing'}"


def _line_text(line: SettlementLine) -> str:
    told = {name: getattr(line, name) for name in SettlementLine.__struct_fields__}
    names = dict(zip(SettlementLine.__struct_fields__, SettlementLine.__struct_encode_fields__, strict=True))
    return line_text({names[name]: value for name, value in told.items()} | {"amount": line.amount})
