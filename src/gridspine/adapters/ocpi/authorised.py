"""Whose tokens were let in where: what makes a session a partner's, and lasts as the session may begin any moment.

::

    noted: by whom, how ──┬─ for ASKED_US, or a reservation: a session that begins there meanwhile is the partner's
    (in the store)        └─ for KEPT_US more: one that is told of late, as charge points that were cut off do

Source: OCPI 2.2.1-d2 and 2.3.0, chapters "CDRs module" (AuthMethod) and "Commands module" (StartSession object).
"""

import logging
from collections.abc import Sequence
from urllib.parse import quote

import msgspec

from gridspine.adapters.ocpi.book import Book
from gridspine.adapters.ocpi.charging import AuthMethod
from gridspine.adapters.ocpi.token import Token
from gridspine.energy.charging import ChargingSession
from gridspine.kernel.time import US

ASKED_US = 15 * 60 * US
"""How long what a provider said of a token, or asked to start with it, stands [µs]."""
KEPT_US = 24 * 3600 * US
"""How long after that a session that began in time may be told of [µs]."""
MAX_NOTED = 1_000
"""What is noted for one partner at most."""
_APART_US = 300 * US
"""How far apart a charge point's clock and ours may be [µs]."""
log = logging.getLogger(__name__)


class Authorised(msgspec.Struct, frozen=True):
    """By whom and how a token may charge at a charging point, from and until when [µs since 1970].

    ``reservation`` is the charging point's number of the reservation that it was noted for, None where for none.
    """

    partner: str
    thing: str
    token: Token
    method: AuthMethod
    reference: str | None
    noted_us: int
    until_us: int
    reservation: int | None = None

    def stands_for(self, session: ChargingSession, now_us: int) -> bool:
        """Whether a session began while this stood; of one that is told of again, nothing is left to chance."""
        began_us = now_us if session.started_us is None else min(session.started_us, now_us)
        noted_us = self.noted_us - _APART_US
        meanwhile = noted_us <= (began_us if session.again else session.ended_us or now_us)
        return meanwhile and began_us < self.until_us and now_us < self.until_us + KEPT_US


class AuthorisedTokens:
    """All that is noted, in memory and in the adapter's private store; of each partner the latest."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._noted: dict[str, dict[tuple[str, str], Authorised]] = {}

    async def load(self, now_us: int) -> None:
        """Take up what is kept; what stands no more, or is of a partner that registered anew, goes."""
        found = [
            msgspec.json.decode(value, type=Authorised)
            for key, value in (await self._book.store.items()).items() if key.startswith("noted/")
        ]  # fmt: skip
        for one in sorted(found, key=lambda one: one.noted_us):
            partner = self._book.partner(one.partner)
            if partner.registered and partner.since_us <= one.noted_us and now_us < one.until_us + KEPT_US:
                self._noted.setdefault(one.partner, {})[one.thing, one.token.uid.casefold()] = one
            else:
                await self._book.store.put(_key(one), None)

    async def note(self, made: Authorised) -> None:
        """Note it: at once, and durable when this returns."""
        known = self._noted.setdefault(made.partner, {})
        known.pop((made.thing, made.token.uid.casefold()), None)
        oldest = known.pop(next(iter(known))) if len(known) >= MAX_NOTED else None
        known[made.thing, made.token.uid.casefold()] = made
        if oldest is not None:
            await self._book.store.put(_key(oldest), None)
        await self._book.store.put(_key(made), msgspec.json.encode(made))

    def forget(self, partner: str) -> None:
        """Let all go of a partner that is none any more."""
        self._noted.pop(partner, None)

    def at(self, thing: str, uid: str) -> list[Authorised]:
        """Return what is noted of a token at a charging point, by any partner."""
        key = thing, uid.casefold()
        return [known[key] for known in self._noted.values() if key in known]

    def started(self, things: Sequence[str], uid: str) -> list[Authorised]:
        """Return what is noted of a token that any partner asked to start with at any of some charging points.

        A partner's START_SESSION lets its token charge at the whole charge point (StartSession object); a reservation
        at the one that is reserved.
        """
        found = [one for thing in things for one in self.at(thing, uid)]
        return [one for one in found if one.method == "COMMAND" and one.reservation is None]


def notes_of(partner: str) -> str:
    """Return under which name all that is noted of a partner is kept."""
    return f"noted/{quote(partner, safe=':')}/"


def _key(one: Authorised) -> str:
    return f"{notes_of(one.partner)}{quote(one.thing, safe=':')}/{quote(one.token.uid.casefold(), safe='')}"
