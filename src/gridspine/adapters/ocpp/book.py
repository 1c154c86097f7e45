"""The adapter's private store, as far as it holds charge points: durable when a method returns.

::

    station/{identity}                     Record
    transaction/{identity}/{slot}          a transaction that has ended; slots come round
    signed/{identity}/{slot}               signed meter values of one message, as they came; slots come round
"""

import msgspec

from gridspine.adapters.ocpp.settings import Settings
from gridspine.adapters.ocpp.transaction import Record, Transaction
from gridspine.things.adapter import PrivateStore


class Book:
    """Loads and keeps what is remembered of charge points."""

    def __init__(self, store: PrivateStore, settings: Settings) -> None:
        self._store = store
        self._transactions = max(1, settings.kept_transactions)
        self._signed = max(1, settings.kept_signed)

    async def load(self, identity: str) -> Record:
        """Return what is remembered of a charge point; an empty record of one that is new."""
        data = await self._store.get(f"station/{identity}")
        return Record() if data is None else msgspec.json.decode(data, type=Record)

    async def keep(self, identity: str, record: Record) -> None:
        """Keep the record."""
        await self._store.put(f"station/{identity}", msgspec.json.encode(record))

    async def keep_ended(self, identity: str, transaction: Transaction) -> None:
        """Keep a transaction that has ended, or that something came for afterwards."""
        slot = transaction.slot % self._transactions
        await self._store.put(f"transaction/{identity}/{slot}", msgspec.json.encode(transaction))

    async def ended(self, identity: str, slot: int) -> Transaction | None:
        """Return the transaction in a slot."""
        data = await self._store.get(f"transaction/{identity}/{slot % self._transactions}")
        return None if data is None else msgspec.json.decode(data, type=Transaction)

    async def keep_signed(self, identity: str, number: int, values: bytes) -> None:
        """Keep signed values as number ``number`` of the charge point."""
        await self._store.put(f"signed/{identity}/{number % self._signed}", values)

    async def signed(self, identity: str, number: int) -> bytes | None:
        """Return the signed values in a slot."""
        return await self._store.get(f"signed/{identity}/{number % self._signed}")
