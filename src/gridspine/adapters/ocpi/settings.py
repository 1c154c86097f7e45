"""The adapter's section of the node's settings: who we are, what we publish, where we may connect to."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from gridspine.adapters.ocpi.location import Format, PowerType
from gridspine.adapters.ocpi.tariff import TariffElement
from gridspine.adapters.ocpi.token import Whitelist
from gridspine.adapters.ocpi.wire import VERSIONS, Party, Version
from gridspine.adapters.ocpi.words import (
    CiString2,
    CiString3,
    CiString36,
    CiString48,
    Country,
    Currency,
    Latitude,
    Longitude,
    Natural,
    Text,
    Word,
)
from gridspine.things.adapter_settings import read_section, wrong

MAX_EVSES, MAX_TOKENS = 5_000, 100_000
Role = Literal["CPO", "EMSP"]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class PublishedEvse(_Section, frozen=True):
    """A charging point that partners see: its Thing, and what its socket or cable can do.

    ``uid`` is what partners know it by ("": made of the Thing's id, which they do not see); ``evse_id`` what the driver
    reads on it (eMI3).
    """

    thing: str
    uid: CiString36 | Literal[""] = ""
    evse_id: CiString48 | Literal[""] = ""
    standard: Word = "IEC_62196_T2"
    format: Format = "SOCKET"
    power_type: PowerType = "AC_3_PHASE"
    max_voltage: Natural = 230
    max_amperage: Natural = 32
    tariff_ids: tuple[CiString36, ...] = ()


class PublishedLocation(_Section, frozen=True):
    """A place with charging points, shown to partners; ``publish`` false: not to be shown to the public."""

    id: CiString36
    address: Text
    city: Text
    country: Country
    latitude: Latitude
    longitude: Longitude
    time_zone: Text
    evses: tuple[PublishedEvse, ...]
    name: Text = ""
    postal_code: Text = ""
    publish: bool = True


class OwnTariff(_Section, frozen=True):
    """A tariff of ours; its elements have no restrictions, as no cost is worked out by them."""

    id: CiString36
    currency: Currency
    elements: tuple[TariffElement, ...]


class OwnToken(_Section, frozen=True):
    """A token of one of our drivers (EMSP)."""

    uid: CiString36
    contract_id: CiString36
    type: Word = "RFID"
    valid: bool = True
    whitelist: Whitelist = "ALLOWED"
    visual_number: Text = ""
    group_id: Text = ""


class Settings(_Section, frozen=True):
    """What may be set.

    ``http`` is the listener: ``host``, ``port``, ``tls``, ``names`` … (`gridspine.things.adapter_tls.Tls`). ``url`` is
    how partners reach it from outside, "" for as it listens. We are ``party_id`` of ``country_code``, called ``name``,
    in ``roles``. Partners are reached at addresses of ``allow`` besides those that may be by default, or of ``only``;
    without TLS where ``plain`` says so. Every ``pull_s`` [s] what partners have is fetched anew. ``kept`` objects of a
    kind are kept of each partner, at most.
    """

    country_code: CiString2
    party_id: CiString3
    name: Text
    http: dict[str, Any] = {}
    url: str = ""
    website: str = ""
    roles: tuple[Role, ...] = ("CPO", "EMSP")
    versions: tuple[Version, ...] = VERSIONS
    currency: Currency = "EUR"
    locations: tuple[PublishedLocation, ...] = ()
    tariffs: tuple[OwnTariff, ...] = ()
    tokens: tuple[OwnToken, ...] = ()
    allow: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    plain: bool = False
    pull_s: float = 6 * 3600.0
    kept: int = 10_000

    @property
    def party(self) -> Party:
        """Who we are."""
        return Party(self.country_code.upper(), self.party_id.upper())


def read_settings(raw: Mapping[str, Any]) -> Settings:
    """Return the adapter's section as `Settings`; raise `Invalid` naming what is wrong."""
    settings = read_section("ocpi", raw, Settings)
    if not settings.roles or not settings.versions:
        raise wrong("ocpi", "roles and versions: one of each is needed")
    evses = [one for location in settings.locations for one in location.evses]
    if len(evses) > MAX_EVSES or len(settings.tokens) > MAX_TOKENS:
        raise wrong("ocpi", f"at most {MAX_EVSES} EVSEs are published, and {MAX_TOKENS} tokens")
    for what, ids in (
        ("location", [one.id for one in settings.locations]), ("thing", [one.thing for one in evses]),
        ("uid", [one.uid for one in evses if one.uid]), ("tariff", [one.id for one in settings.tariffs]),
        ("token", [one.uid for one in settings.tokens]),
    ):  # fmt: skip
        if len({one.casefold() for one in ids}) < len(ids):
            raise wrong("ocpi", f"a {what} is named twice")
    known = {one.id for one in settings.tariffs}
    for one in evses:
        if not set(one.tariff_ids) <= known:
            raise wrong("ocpi", f"{one.thing}: tariff_ids name a tariff that is not there")
    if any(element.restrictions is not None for one in settings.tariffs for element in one.elements):
        raise wrong("ocpi", "tariffs with restrictions are not worked out here: leave them out")
    return settings
