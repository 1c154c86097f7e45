"""Somebody else's VTN that the node follows as a VEN: how a Thing says so. Pure.

::

    Thing of the model *ven* ─ connection ─► which VTN, as whom, for which site or Thing, what it may command
"""

from typing import Any, Literal, NamedTuple

import msgspec

from gridspine.energy.upstream.consent import Consent
from gridspine.infra.runtime.web_place import split_address
from gridspine.kernel.errors import Invalid

MIN_POLL_S, MAX_POLL_S = 1.0, 86_400.0
_MAX_WORD = 128


class Way(NamedTuple):
    """What a payload of reports is at a Thing: its ``point`` in ``node_unit``, and by what each unit is multiplied."""

    point: str
    node_unit: str
    unit: str
    factors: dict[str, float]


WAYS = {
    "USAGE": Way("activeEnergyImport", "Wh", "KWH", {"WH": 1.0, "KWH": 1e3, "MWH": 1e6}),
    "DEMAND": Way("activePower", "W", "KW", {"W": 1.0, "KW": 1e3, "MW": 1e6}),
    "STORAGE_CHARGE_LEVEL": Way("stateOfCharge", "%", "PERCENT", {"PERCENT": 100.0}),
}
"""Payloads of reports that are told of Things, or by them; PERCENT is 0 to 1 (units.schema.yaml)."""


class Connection(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The ``connection`` of a Thing that follows a VTN.

    ``vtn`` is its base address, ``edition`` what it speaks there. ``client_id`` and the secret of the name ``secret``
    get tokens at ``token_url`` (asked of the VTN where it is ""). ``ven_name`` is how it is known there.
    ``site`` or ``thing`` takes part, and consents to ``modes`` (importLimitW, exportLimitW, targetW): all else that
    events say is to know. ``authority`` is how what is commanded stands beside the owner's own commands.
    ``telemetry`` is the Thing whose readings reports tell of, as resource ``resource``. ``programs`` are the names of
    those followed; without any all are. ``callback`` is where this adapter's listener is reached from outside: with
    it changes are subscribed to. Every ``poll_s`` [s] all is read.
    """

    vtn: str
    client_id: str
    secret: str
    edition: Literal["3.1.0", "3.0.1"] = "3.1.0"
    token_url: str = ""
    scope: str = ""
    ven_name: str = ""
    resource: str = ""
    site: str = ""
    thing: str = ""
    modes: tuple[str, ...] = ()
    authority: Literal["aggregator", "network"] = "aggregator"
    primacy: int = 100
    telemetry: str = ""
    programs: tuple[str, ...] = ()
    callback: str = ""
    poll_s: float = 60.0

    def check(self) -> None:
        """Raise `Invalid` naming what is wrong."""
        for name, given in (("vtn", self.vtn), ("tokenUrl", self.token_url), ("callback", self.callback)):
            if given or name == "vtn":
                try:
                    split_address(given)
                except Invalid as error:
                    raise Invalid(f"{name}: {error.detail}") from error
        if not self.client_id or not self.secret:
            raise Invalid("clientId, secret: each is needed; secret is the name of one, not the secret itself")
        self.consent.check()
        if not MIN_POLL_S <= self.poll_s <= MAX_POLL_S:
            raise Invalid(f"pollS: {MIN_POLL_S:.0f} s to a day")
        if max(len(self.name), len(self.resource_name)) > _MAX_WORD:
            raise Invalid(f"venName, resource: 1 to {_MAX_WORD} characters")

    @property
    def name(self) -> str:
        """The name of the VEN."""
        return self.ven_name or self.client_id

    @property
    def resource_name(self) -> str:
        """The name of its resource."""
        return self.resource or self.name

    @property
    def consent(self) -> Consent:
        """Who takes part, in what."""
        return Consent(self.site, self.thing, self.modes, self.authority)


def read_connection(given: Any) -> Connection:
    """Return the connection of a binding; raise `Invalid` naming what is wrong."""
    try:
        found = msgspec.convert(given, Connection)
    except msgspec.ValidationError as error:
        raise Invalid(str(error)) from error
    found.check()
    return found
