"""What all modules share: who we are, our partners, what is kept of them, and the node's charging points."""

import hashlib
import logging
from collections.abc import Iterator

import msgspec

from gridspine.adapters.ocpi.book import Book, Partner
from gridspine.adapters.ocpi.client import Client
from gridspine.adapters.ocpi.registration import Registration
from gridspine.adapters.ocpi.settings import Settings
from gridspine.adapters.ocpi.things import Things
from gridspine.energy.charging import ChargingPort, charging_of
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import NotFound
from gridspine.kernel.ids import point_id
from gridspine.kernel.readings import named_readings
from gridspine.things.adapter import AdapterContext

log = logging.getLogger(__name__)
Row = tuple[str, str, float]
"""Point, unit and value of a Thing."""


class Roaming:
    """Lives on the event loop; ``things`` is replaced when bindings change."""

    def __init__(self, context: AdapterContext, settings: Settings) -> None:
        self.context, self.settings = context, settings
        self.clock: Clock = context.clock
        self.book = Book(context.store, settings.kept)
        self.client = Client(context, settings)
        self.registration = Registration(self.book, self.client, settings, context.clock)
        self.registration.claims.here = self.here
        self.registration.claims.organisation = self._organisation
        self.charging: ChargingPort = charging_of(context)
        self.things = Things()

    def look(self) -> None:
        """Read anew which Things are ours."""
        self.things = Things(self.context.bindings())

    def here(self, thing: str) -> bool:
        """Whether ``thing`` is a partner now."""
        return thing in self.things.partners

    def _organisation(self, thing: str) -> str:
        binding = self.things.partners.get(thing)
        return "" if binding is None else binding.organisation

    def retired(self, thing: str) -> bool:
        """Whether ``thing`` is no more: one that only is another adapter's, or rests, may come back."""
        try:
            self.charging.points(thing, [])
        except NotFound:
            return True
        return False

    @property
    def now_us(self) -> int:
        """The node's time [µs since 1970]."""
        return self.clock.now_us()

    async def since(self, name: str, said: object) -> int:
        """Return since when the settings say what they say of something [µs since 1970]; durable when this returns."""
        digest = hashlib.sha256(msgspec.json.encode(said)).hexdigest()
        kept = await self.book.store.get(name)
        known = ("", 0) if kept is None else msgspec.json.decode(kept, type=tuple[str, int])
        if known[0] != digest:
            known = digest, self.now_us
            await self.book.store.put(name, msgspec.json.encode(known))
        return known[1]

    def partners(self, role: str = "") -> Iterator[Partner]:
        """Yield the registered partners that have a role, the oldest first; "" for any."""
        for one in self.book.partners():
            here = one.registered and one.thing in self.things.partners
            if here and (not role or any(given.role == role for given in one.roles)):
                yield one

    async def readings(self, thing: str, rows: list[Row], observed_us: int) -> None:
        """Take in readings of a Thing of ours; durable when this returns."""
        binding = self.things.partners.get(thing) or self.things.served.get(thing)
        if binding is None:
            return
        known = [
            (point_id(thing, point), unit, observed_us, value, 0)
            for point, unit, value in rows if point in binding.points
        ]  # fmt: skip
        if known:
            await self.context.intake(named_readings(known), self.context.source_of(thing))
