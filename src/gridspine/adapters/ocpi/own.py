"""A session of a partner's driver at a charging point of ours, as it is kept; and where it and its record are.

::

    own-sessions   all of them, the oldest that are over go where there is no room
    own-cdrs       those that ended, as they were billed; kept before the session ends
"""

import hashlib
import logging
from collections.abc import Callable

import msgspec

from gridspine.adapters.ocpi.book import Book, Kept, Place
from gridspine.adapters.ocpi.charging import AuthMethod, CdrLocation, CdrToken, SessionStatus
from gridspine.adapters.ocpi.settings import OwnTariff
from gridspine.adapters.ocpi.wire import Party
from gridspine.energy.charging import ChargingSession
from gridspine.kernel.time import US

SESSIONS, CDRS = "own-sessions", "own-cdrs"
log = logging.getLogger(__name__)


class Own(msgspec.Struct, frozen=True, omit_defaults=True):
    """A session of a partner's driver, as it is kept: times in µs since 1970, energy in Wh.

    ``priced`` is its tariff as it was when it began, and ``priced_us`` since when it was so: what is billed changes
    with no settings. ``profile`` is the command by which a partner limits it, ``told`` whether its record was taken.
    """

    id: str
    thing: str
    transaction: str
    token: CdrToken
    method: AuthMethod
    location: CdrLocation
    started_us: int
    updated_us: int
    currency: str
    tariff: str = ""
    reference: str | None = None
    meter_start_wh: float | None = None
    energy_wh: float = 0.0
    known: bool = False
    ended_us: int = 0
    profile: str = ""
    told: bool = False
    priced: OwnTariff | None = None
    priced_us: int = 0

    @property
    def status(self) -> SessionStatus:
        """How it stands; one of which nobody knows what it took is not billed."""
        if not self.ended_us:
            return "ACTIVE"
        return "COMPLETED" if self.known else "INVALID"

    @property
    def provider(self) -> Party:
        """Whose driver it is: of several parties of a partner the one that it is told."""
        return Party(self.token.country_code, self.token.party_id)

    @property
    def time_s(self) -> float:
        """How long it lasts, or lasted [s]."""
        return max(0, (self.ended_us or self.updated_us) - self.started_us) / US


def id_of(session: ChargingSession) -> str:
    """Return what partners know a session by: the same of the same, whenever it is told of."""
    said = f"{session.thing}\n{session.id}\n{session.started_us}"
    return hashlib.blake2b(said.encode(), digest_size=16).hexdigest()


class OwnPlace:
    """Where one module of ours (`SESSIONS` or `CDRS`) is kept, partner by partner."""

    def __init__(self, book: Book, us: Party, module: str) -> None:
        self._book, self._us, self.module = book, us, module

    def find(self, partner: str, id_: str) -> Own | None:
        """Return one."""
        kept = self._book.object(self._of(partner), id_)
        return None if kept is None else msgspec.convert(kept.body, Own)

    def all(self, partner: str, theirs: Callable[[Party], bool] = lambda party: True) -> list[tuple[int, Kept]]:
        """Return all of a partner as they are kept, the oldest first, each with when it was updated [µs since 1970].

        ``theirs`` says of which of its parties.
        """
        found = [kept for _, kept in self._book.objects(partner, self.module) if theirs(_provider(kept))]
        found.sort(key=lambda one: (one.body["started_us"], one.id))
        return [(one.updated_us, one) for one in found]

    async def keep(self, partner: str, own: Own) -> None:
        """Keep one as it is now; durable when this returns."""
        await self._book.keep_object(self._of(partner), Kept(own.id, msgspec.to_builtins(own), own.updated_us))

    async def keep_new(self, partner: str, own: Own) -> None:
        """Keep one, and let the oldest go that is over where there is no room: of records one that was taken first."""
        await self._make_room(partner)
        await self.keep(partner, own)

    async def _make_room(self, partner: str) -> None:
        if not self._book.full(partner, self.module):
            return
        ended = [one for _, one in self._book.objects(partner, self.module) if one.body.get("ended_us")]
        told = [one for one in ended if one.body.get("told")] if self.module == CDRS else ended
        oldest = min(told or ended, key=lambda one: one.updated_us, default=None)
        if oldest is None:
            return
        if not told:
            log.error("%s has not taken its records for long: the oldest, %s, is let go", partner, oldest.id)
        await self._book.forget_object(self._of(partner), oldest.id)

    def _of(self, partner: str) -> Place:
        return partner, self.module, self._us.country_code, self._us.party_id


def _provider(kept: Kept) -> Party:
    return Party(kept.body["token"]["country_code"], kept.body["token"]["party_id"])
