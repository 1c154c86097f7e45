"""The Things of this adapter: partners, and the EVSEs of partners that are operators.

::

    a partner     model roaming_partner   connection {"partner": "acme"}
    its EVSE      model roaming_evse      connection {"of": <the partner's Thing>, "location": "LOC1", "evse": "3256"}
"""

from collections.abc import Sequence

import msgspec

from gridspine.things.adapter import Binding

PARTNER_MODEL = "https://gridspine.org/models/roaming_partner"
EVSE_MODEL = "https://gridspine.org/models/roaming_evse"


class PartnerConnection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a partner is called here."""

    partner: str


class EvseConnection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which EVSE of which partner: ``of`` is the partner's Thing."""

    of: str
    location: str
    evse: str


class Things:
    """All bindings, arranged; ``problems`` are those left out, and why. An EVSE is its partner's organisation's."""

    def __init__(self, bindings: Sequence[Binding] = ()) -> None:
        self.partners: dict[str, Binding] = {}
        self.evses: dict[str, EvseConnection] = {}
        self.served: dict[str, Binding] = {}
        self.by_evse: dict[tuple[str, str, str], Binding] = {}
        self.problems: list[str] = []
        later: list[tuple[Binding, EvseConnection]] = []
        for binding in bindings:
            try:
                found = _read(binding)
            except msgspec.ValidationError as error:
                self.problems.append(f"{binding.thing}: connection: {error}")
                continue
            if isinstance(found, PartnerConnection):
                self.partners[binding.thing] = binding
            else:
                later.append((binding, found))
        for binding, connection in later:
            self._add(binding, connection)

    def _add(self, binding: Binding, connection: EvseConnection) -> None:
        partner = self.partners.get(connection.of)
        key = connection.of, connection.location.casefold(), connection.evse.casefold()
        if partner is None or partner.organisation != binding.organisation:
            self.problems.append(f"{binding.thing}: connection: no partner {connection.of[:80]}")
        elif key in self.by_evse:
            self.problems.append(f"{binding.thing}: EVSE {connection.evse[:40]} is another Thing already")
        else:
            self.evses[binding.thing] = connection
            self.served[binding.thing] = binding
            self.by_evse[key] = binding


def _read(binding: Binding) -> PartnerConnection | EvseConnection:
    kind: type[PartnerConnection] | type[EvseConnection] = (
        PartnerConnection if "partner" in binding.connection else EvseConnection
    )
    return msgspec.convert(binding.connection, kind)
