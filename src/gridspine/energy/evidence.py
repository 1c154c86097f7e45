"""Evidence: the receipts of a bid, its register records and its lines, in one file; checked without the node.

Each receipt proves that its document stands in the ledger as it is; that the line follows from the others is computed
again, number by number. What is not in the file is not believed.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec

from gridspine.energy.bid import Bid
from gridspine.energy.register_record import RegisterRecord
from gridspine.energy.settlement_line import MeterExchanged, SettlementLine, check_line, exchanged
from gridspine.infra.ledger.note import VerifierKey
from gridspine.infra.ledger.receipt import Receipt, verify
from gridspine.infra.registry.port import Event
from gridspine.kernel.errors import Invalid
from gridspine.things.meter_exchange import Exchange

MAX_RECEIPTS = 200
MAX_BYTES = 20_000_000
_S = TypeVar("_S", bound=msgspec.Struct)


class Evidence(msgspec.Struct, frozen=True, tag_field="type", tag="settlement-evidence"):
    """Receipts, in any order: of an accepted bid, its register records, its lines, exchanges of its meter."""

    receipts: list[Receipt]


class Proven(NamedTuple):
    """What a file of evidence proves: the bid and its lines, each with the two records that it follows from."""

    bid: Bid
    lines: list[tuple[SettlementLine, RegisterRecord, RegisterRecord]]


def decode_evidence(body: bytes) -> Evidence:
    """Return the evidence in a file; raise `Invalid` when it is none."""
    if len(body) > MAX_BYTES:
        raise Invalid("the file is too long for evidence of a settlement")
    try:
        found = msgspec.json.decode(body, type=Evidence)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Invalid(f"not evidence of a settlement: {error}") from error
    if not 0 < len(found.receipts) <= MAX_RECEIPTS:
        raise Invalid(f"evidence has 1 to {MAX_RECEIPTS} receipts")
    return found


def prove(evidence: Evidence, key: VerifierKey, *later: VerifierKey) -> Proven:
    """Return what ``evidence`` proves by the ledger's keys; raise `Invalid`, saying what does not hold."""
    events = [_event(one, key, *later) for one in evidence.receipts]
    bids = [_of(one, Bid) for one in events if one.type == "bid.accepted"]
    if len(bids) != 1:
        raise Invalid(f"{len(bids)} accepted bids: evidence is of one")
    bid = bids[0]
    records = {one.subject: _of(one, RegisterRecord) for one in events if one.type == "register-record.kept"}
    lines = [_of(one, SettlementLine) for one in events if one.type == "settlement-line.made"]
    if not lines:
        raise Invalid("there is no settlement line in it")
    exchanges = {one.id: _exchange(one, bid) for one in events if one.type == "thing.meter-exchanged"}
    proven = [_line(bid, one, records, exchanges) for one in sorted(lines, key=lambda one: one.number)]
    _check_chain([line for line, _, _ in proven])
    return Proven(bid, proven)


def _line(
    bid: Bid, line: SettlementLine, records: Mapping[str, RegisterRecord], exchanges: Mapping[str, MeterExchanged]
) -> tuple[SettlementLine, RegisterRecord, RegisterRecord]:
    start, end = (records.get(id_) for id_ in (line.start, line.end))
    if start is None or end is None:
        raise Invalid(f"line {line.number}: the receipt of one of its register records is not in the file")
    gone = [one.event for one in line.exchanges if one.event not in exchanges]
    if gone:
        raise Invalid(f"line {line.number}: the receipt of the meter's exchange {gone[0]} is not in the file")
    # Of the exchanges that it names all count, as the ledger has them; which others there were later, it cannot know.
    check_line(bid, line, start, end, [exchanges[one.event] for one in line.exchanges])
    return line, start, end


def _check_chain(lines: Iterable[SettlementLine]) -> None:
    before = ""
    for at, line in enumerate(lines):
        if (line.number, line.supersedes) != (at, before):
            raise Invalid(f"line {line.number} does not follow on the one before it: a line is left out, or told twice")
        before = line.id


def _event(receipt: Receipt, key: VerifierKey, *later: VerifierKey) -> Event:
    verify(receipt, key, *later)
    if receipt.leaf is None:
        raise Invalid("a receipt without its event proves no settlement")
    try:
        return msgspec.json.decode(receipt.leaf, type=Event)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Invalid(f"a receipt's record is not an event: {error}") from error


def _of(event: Event, kind: type[_S]) -> _S:
    found = _convert(event.data, kind)
    if getattr(found, "id", None) != event.subject:
        raise Invalid(f"{event.type}: it tells of another document than its subject")
    return found


def _exchange(event: Event, bid: Bid) -> MeterExchanged:
    if event.subject != bid.meter:
        raise Invalid("an exchange in it is another meter's")
    names = set(Exchange.__struct_encode_fields__)
    told = {name: value for name, value in event.data.items() if name in names}
    return exchanged(_convert({**told, "event": event.id}, Exchange))


def _convert(data: Any, kind: type[_S]) -> _S:
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise Invalid(f"not a {kind.__name__}: {error}") from error
