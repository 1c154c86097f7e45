"""A Thing that stands for an EndDevice at a utility's server: whose words it follows, and for which site.

::

    {"utility": "ausnet", "site": "urn:uuid:…"}                       the client's own EndDevice
    {"utility": "ausnet", "site": "urn:uuid:…", "lfdi": "A0B1…"}      one that the client, an aggregator, speaks for
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from gridspine.adapters.ieee2030_5.client.reading import KINDS
from gridspine.adapters.ieee2030_5.identity import check_lfdi, check_pin
from gridspine.kernel.errors import Invalid
from gridspine.kernel.ids import check_urn


class Upstream(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The ``connection`` of a Thing that stands for an EndDevice.

    ``utility`` names one of the settings' ``utilities``. What its server says is for ``site``, or for one ``thing``.
    ``lfdi`` is the EndDevice's, "" for that of the client's own certificate; ``register``: announce it where the server
    does not know it. ``pin`` is what the server must show as its PIN before it is followed, 0 for any.
    ``rated_power_w`` [W] is what percentages are of; with it DERCapability and DERSettings are told, as ``der_type``
    (DERType: 4 photovoltaic, 80 storage, 83 both). ``mirror`` are the points whose readings are posted, every
    ``post_s`` [s]; ``meter`` is the Thing that measures the connection point.
    """

    utility: str
    site: str = ""
    thing: str = ""
    lfdi: str = ""
    register: bool = True
    pin: int = 0
    category: int = 0
    rated_power_w: float = 0.0
    der_type: int = 83
    mirror: tuple[str, ...] = ()
    post_s: int = 300
    meter: str = ""

    def check(self) -> None:
        """Raise `Invalid` naming the field that is wrong."""
        if bool(self.site) == bool(self.thing):
            raise Invalid("site, thing: one of them is needed: whose limits the utility sets")
        check_urn(self.site or self.thing)
        if self.lfdi:
            check_lfdi(self.lfdi)
        if self.pin:
            check_pin(self.pin)
        if not (0 <= self.rated_power_w <= 1e12 and 0 <= self.der_type <= 255 and 0 <= self.category < 2**32):
            raise Invalid("ratedPowerW: 0 to 1e12 W; derType: 0 to 255; category: a bitmap of 32 bits")
        if unknown := sorted(set(self.mirror) - KINDS.keys()):
            raise Invalid(f"mirror: {unknown[0][:40]!r} is none of {', '.join(sorted(KINDS))}")
        if not 10 <= self.post_s <= 86_400:
            raise Invalid("postS: 10 s to a day")


def is_upstream(connection: Mapping[str, Any]) -> bool:
    """Whether a connection is that of a Thing that stands for an EndDevice at a utility's server."""
    return "utility" in connection


def read_upstream(connection: Mapping[str, Any]) -> Upstream:
    """Return a connection as `Upstream`; raise `Invalid` naming what is wrong."""
    try:
        found = msgspec.convert(dict(connection), Upstream)
    except msgspec.ValidationError as error:
        raise Invalid(f"connection: {error}") from error
    try:
        found.check()
    except Invalid as error:
        raise Invalid(f"connection: {error.detail}") from error
    return msgspec.structs.replace(found, lfdi=found.lfdi.upper())
