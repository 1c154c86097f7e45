"""The adapter's private store, as far as it holds charge points: durable when a method returns.

::

    station/{key}                    Record; the key is organisation/name
    transaction/{key}/{slot}         a transaction that has ended; slots come round
    signed/{key}/{slot}              signed meter values of one message, as they came; slots come round
    fallbacks/{key}                  what its Things fall back to, by Thing and point [the point's unit]

The format has a number: `gridspine.adapters.ocpp.store_format`.
"""

import msgspec

from gridspine.adapters.ocpp.settings import Settings
from gridspine.adapters.ocpp.transaction import Record, Transaction
from gridspine.things.adapter import PrivateStore


class Book:
    """Loads and keeps what is remembered of charge points."""

    def __init__(self, store: PrivateStore, settings: Settings) -> None:
        self._store = store
        self.kept_transactions = max(1, settings.kept_transactions)
        """How many ended transactions of a charge point are kept."""
        self.kept_signed = max(1, settings.kept_signed)
        """How many messages of a charge point with signed values are kept."""

    async def load(self, key: str) -> Record:
        """Return what is remembered of a charge point; an empty record of one that is new."""
        data = await self._store.get(f"station/{key}")
        return Record() if data is None else msgspec.json.decode(data, type=Record)

    async def keep(self, key: str, record: Record) -> None:
        """Keep the record."""
        await self._store.put(f"station/{key}", msgspec.json.encode(record))

    async def fallbacks(self, key: str) -> dict[str, dict[str, float]]:
        """Return what the Things of a charge point were last told to fall back to, by Thing and point."""
        data = await self._store.get(f"fallbacks/{key}")
        return {} if data is None else msgspec.json.decode(data, type=dict[str, dict[str, float]])

    async def keep_fallbacks(self, key: str, fallbacks: dict[str, dict[str, float]]) -> None:
        """Keep what the Things of a charge point were last told to fall back to."""
        await self._store.put(f"fallbacks/{key}", msgspec.json.encode(fallbacks))

    async def keep_ended(self, key: str, transaction: Transaction) -> None:
        """Keep a transaction that has ended, or that something came for afterwards."""
        slot = transaction.slot % self.kept_transactions
        await self._store.put(f"transaction/{key}/{slot}", msgspec.json.encode(transaction))

    async def ended(self, key: str, slot: int) -> Transaction | None:
        """Return the transaction in a slot."""
        data = await self._store.get(f"transaction/{key}/{slot % self.kept_transactions}")
        return None if data is None else msgspec.json.decode(data, type=Transaction)

    async def keep_signed(self, key: str, number: int, values: bytes) -> None:
        """Keep signed values as number ``number`` of the charge point."""
        await self._store.put(f"signed/{key}/{number % self.kept_signed}", values)

    async def signed(self, key: str, number: int) -> bytes | None:
        """Return the signed values in a slot."""
        return await self._store.get(f"signed/{key}/{number % self.kept_signed}")
