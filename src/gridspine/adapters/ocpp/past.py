"""What is remembered of charge points, for whoever asks: transactions, signed meter values, boot and notices.

It comes from the store, so the charge point need not be connected. What is long is answered in pages: ``next`` is what
to ask with for the following one.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from gridspine.adapters.ocpp.asked import Payload, Refused
from gridspine.adapters.ocpp.book import Book
from gridspine.adapters.ocpp.station import Place, Stations
from gridspine.adapters.ocpp.transaction import FELL, Record, Transaction
from gridspine.kernel.time import format_rfc3339
from gridspine.things.adapter import ActionRequest

PAGE = 50
_LOOKED_AT = 200
"""Transactions looked at for a page: those of other EVSEs are passed over."""
_PAGE_BYTES = 24_000


class Before(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``before``: the transactions before this number, 0 for the newest."""

    before: int = 0


class Signed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"first": "from"}):
    """Signed values of a ``transaction``, from message ``first`` on."""

    transaction: str
    first: int = 0


class Past:
    """Answers for what the store holds. ``stations`` gives them as they are bound now."""

    def __init__(self, book: Book, stations: Callable[[], Stations]) -> None:
        self._book, self._stations = book, stations

    async def transactions(self, request: ActionRequest) -> Payload:
        """Return the transactions of a Thing's EVSE, the newest first."""
        given, place, key, record = _input(request, Before), *await self._found(request.thing)
        slot = given.before if 0 < given.before <= record.begun else record.begun
        known = {one.slot: one for one in (*record.recent, *record.open)}
        shown: list[Payload] = []
        last = max(0, slot - _LOOKED_AT, record.begun - self._book.kept_transactions)
        while slot > last and len(shown) < PAGE:
            slot -= 1
            one = known.get(slot) or await self._book.ended(key, slot)
            if one is not None and one.slot == slot and (one.evse in {place.evse, -1} or place.evse == 0):
                shown.append(_shown(one))
        return {"transactions": shown, **({"next": slot} if slot > last or last > 0 else {})}

    async def signed_values(self, request: ActionRequest) -> Payload:
        """Return the signed values of a transaction, as they came."""
        given, place, key, record = _input(request, Signed), *await self._found(request.thing)
        found = await self._transaction(key, record, given.transaction)
        if found is None or (place.evse and found.evse not in {place.evse, -1}):
            raise Refused(f"there is no transaction {given.transaction[:40]!r} here, or it was long ago")
        if found.signed is None:
            return {"values": []}
        first, last = found.signed
        values: list[Any] = []
        size, number = 0, max(first, given.first, record.signed - self._book.kept_signed)
        while number <= last and size < _PAGE_BYTES:
            data = await self._book.signed(key, number)
            kept: Payload = {} if data is None else msgspec.json.decode(data)
            if data is not None and kept["transaction"] == found.id:
                if size and size + len(data) > _PAGE_BYTES:
                    break
                values += kept["values"]
                size += len(data)
            number += 1
        return {"values": values, **({"next": number} if number <= last else {})}

    async def station(self, request: ActionRequest) -> Payload:
        """Return what the charge point said of itself, and last of firmware, logs and security."""
        place, _, record = await self._found(request.thing)
        booted = format_rfc3339(record.booted_us) if record.booted_us else None
        known = {"station": place.connection.station, "device": place.connection.device or place.thing}
        return {**known, "boot": record.boot, "bootedAt": booted, "notices": record.notices}

    async def _found(self, thing: str) -> tuple[Place, str, Record]:
        found = self._stations().of(thing)
        if found is None:
            raise Refused("the Thing is bound to no charge point: see its connection")
        key = found[0].key
        return found[1], key, await self._book.load(key)

    async def _transaction(self, key: str, record: Record, id_: str) -> Transaction | None:
        found = record.find(id_)
        slot, last = record.begun, max(0, record.begun - self._book.kept_transactions)
        while found is None and slot > last:
            slot -= 1
            one = await self._book.ended(key, slot)
            found = one if one is not None and one.id == id_ else None
        return found


def _input(request: ActionRequest, kind: type[Any]) -> Any:
    try:
        return msgspec.convert(request.input or {}, kind)
    except msgspec.ValidationError as error:
        raise Refused(f"the input of {request.action}: {error}") from error


def _shown(one: Transaction) -> Payload:
    energy_wh = None
    if one.meter_start_wh is not None and one.meter_stop_wh is not None and FELL not in one.doubts:
        energy_wh = one.meter_stop_wh - one.meter_start_wh
    said = {
        "id": one.id, "evse": one.evse if one.evse >= 0 else None, "token": one.token,
        "startedAt": _time(one.started_us), "stoppedAt": _time(one.stopped_us), "meterStartWh": one.meter_start_wh,
        "meterStopWh": one.meter_stop_wh, "energyWh": energy_wh, "state": one.state, "reason": one.reason,
        "remoteStart": one.remote_start, "missing": one.missing or None,
        "signed": None if one.signed is None else True, "offline": one.offline or None,
        "doubts": list(one.doubts) or None,
    }  # fmt: skip
    return {key: value for key, value in said.items() if value not in (None, "")}


def _time(at_us: int | None) -> str | None:
    return None if at_us is None else format_rfc3339(at_us)
