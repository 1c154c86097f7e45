"""Somebody else's VTN that the node follows as a VEN: how a Thing says so, and by which certificate it may be. Pure.

::

    Thing of the model *ven* ─ connection ─► which VTN, as whom, for which site or Thing, what it may command
    settings: vtns.NAME ─► certificate and key, for which VTNs, for Things of which organisations
"""

from typing import Any, Literal

import msgspec

from gridspine.adapters.openadr2.settings import Access
from gridspine.energy.upstream.consent import Consent
from gridspine.infra.runtime.web_place import SecretUse, split_address
from gridspine.kernel.errors import Invalid

_MAX_WORD = 128


class Connection(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The ``connection`` of a Thing that follows a VTN.

    ``vtn`` is its base address (…/OpenADR2/Simple/2.0b), ``access`` the name of the certificate to go there by.
    ``ven_name`` is what the node calls itself there. ``site`` or ``thing`` takes part, and consents to ``modes``
    (targetW, importLimitW, exportLimitW …): all else that events say is to know. ``authority`` is how what is commanded
    stands beside the owner's own commands. ``telemetry`` is the Thing of which it may be told, as resource
    ``resource``. ``market_contexts`` are those followed; without any all are. It is polled every ``poll_s`` [s], by 0
    as often as the VTN wishes.
    """

    vtn: str
    access: str
    ven_name: str = ""
    site: str = ""
    thing: str = ""
    modes: tuple[str, ...] = ()
    authority: Literal["aggregator", "network"] = "aggregator"
    primacy: int = 100
    telemetry: str = ""
    resource: str = ""
    market_contexts: tuple[str, ...] = ()
    poll_s: float = 0.0

    @property
    def consent(self) -> Consent:
        """Who takes part, in what."""
        return Consent(self.site, self.thing, self.modes, self.authority)

    def follows(self, market_context: str) -> bool:
        """Whether events of a marketContext are followed."""
        return not self.market_contexts or market_context in self.market_contexts

    def terms(self, market_context: str) -> str:
        """Return what is done of events of a marketContext: under other terms one is read anew."""
        return "|".join(sorted(self.modes)) if self.follows(market_context) else "not followed"


def is_follower(given: Any) -> bool:
    """Whether the connection of a binding is of one that follows a VTN."""
    return isinstance(given, dict) and "vtn" in given


def read_connection(given: Any) -> Connection:
    """Return the connection of a binding; raise `Invalid` naming what is wrong."""
    try:
        found = msgspec.convert(given, Connection)
    except msgspec.ValidationError as error:
        raise Invalid(str(error)) from error
    if split_address(found.vtn).scheme != "https":
        raise Invalid("vtn: an https address is needed")
    found.consent.check()
    if not (found.poll_s == 0 or 1 <= found.poll_s <= 86_400):
        raise Invalid("pollS: 1 s to a day, or 0: as often as the VTN wishes")
    if max(len(found.ven_name), len(found.resource)) > _MAX_WORD:
        raise Invalid(f"venName, resource: at most {_MAX_WORD} characters")
    return found


def access_of(connection: Connection, accesses: dict[str, Access], organisation: str) -> Access:
    """Return the certificate by which a Thing of ``organisation`` may follow; raise `Invalid` where it has no leave."""
    found = accesses.get(connection.access)
    if found is None or organisation not in found.organisations:
        raise Invalid(
            f"access: adapters.settings.openadr2.vtns has no {connection.access[:60]!r} for this organisation"
        )
    if not SecretUse(found.origins, found.organisations).permits(connection.vtn, organisation):
        raise Invalid(f"access: {connection.access[:60]!r} may not be used at that address; see its origins")
    return found
