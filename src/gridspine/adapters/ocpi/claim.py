"""Who a partner may say that it is: default deny, and nobody claims another's party first.

::

    invited as DE BRF ─► registers as DE BRF │ as another: refused, and its operator is told what to do
    registered at     ─► bound to who it said that it is, or to who the operator named

In one organisation no two partners are the same; partners of other organisations keep nobody out, and are not seen.
"""

from collections.abc import Callable, Iterable

from gridspine.adapters.ocpi.book import Book, Partner
from gridspine.adapters.ocpi.credentials import Credentials, CredentialsRole
from gridspine.adapters.ocpi.wire import MAX_PARTIES, Party
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import Conflict


class Claims:
    """Judges them. What it raises (`Conflict`) is words for our operator, never for the partner."""

    def __init__(self, book: Book, us: Party, clock: Clock) -> None:
        self._book, self._us, self._clock = book, us, clock
        self.here: Callable[[str], bool] = lambda thing: True
        """Whether a Thing is a partner now; those that are not keep nobody out."""
        self.organisation: Callable[[str], str] = lambda thing: ""
        """Whose partner a Thing is."""

    def check(self, partner: Partner, given: Credentials, *, invited: bool = False) -> None:
        """Raise where a partner is whom it may not be: one that was ``invited``, whom its invitation does not name."""
        said = _parties(given)
        may_be = {one.key for one in partner.parties or tuple(role.party for role in partner.roles)}
        strange = next((one for one in said if one.key not in may_be), None)
        if strange is not None and invited:
            raise Conflict(f"it claims to be {strange}, and is not invited as that: invite it as that, if it is")
        if strange is not None and may_be:
            raise Conflict(
                f"it claims to be {strange}, and is known as another: unregister it, and begin anew, if it is"
            )
        self.free(partner.thing, said)

    def roles(self, partner: Partner, given: Credentials) -> tuple[tuple[CredentialsRole, ...], str]:
        """Return as what a partner is taken whom we asked, and what is wrong with the rest of what it says that it is.

        None of one that is new and is not who it may be; of one that is registered those that it may.
        """
        try:
            self.check(partner, given)
        except Conflict as error:
            known = {one.key for one in partner.parties} if partner.registered else set()
            return tuple(one for one in given.roles if one.party.key in known), error.detail
        return given.roles, ""

    def free(self, thing: str, parties: Iterable[Party]) -> None:
        """Raise where a party is ourselves, or another partner's of the same organisation."""
        wanted = {one.key: one for one in parties}
        if self._us.key in wanted:
            raise Conflict(f"{self._us} is this node itself")
        organisation, now_us = self.organisation(thing), self._clock.now_us()
        for one in self._book.partners():
            if one.thing == thing or not self.here(one.thing) or self.organisation(one.thing) != organisation:
                continue
            for role in one.roles:
                if role.party.key in wanted:
                    raise Conflict(f"{role.party} is registered as {one.thing}: unregister that one, if it is not")
            for party in one.parties if one.invited(now_us) else ():
                if party.key in wanted:
                    raise Conflict(f"{party} is invited as {one.thing}: invite that one as another, if it is not")


def bound(partner: Partner, given: Credentials) -> tuple[Party, ...]:
    """Return who a partner that registers may be from now on."""
    return partner.parties or _parties(given)[:MAX_PARTIES]


def _parties(given: Credentials) -> tuple[Party, ...]:
    return tuple(role.party for role in given.roles)
