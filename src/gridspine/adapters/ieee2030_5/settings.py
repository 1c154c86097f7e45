"""Settings of the IEEE 2030.5 adapter; certificates are the node's to know, never here."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from gridspine.adapters.ieee2030_5.client.connection import Access
from gridspine.adapters.ieee2030_5.mrid import check_pen
from gridspine.adapters.ieee2030_5.wire import Version
from gridspine.kernel.errors import Invalid
from gridspine.things.adapter_settings import read_section, wrong

NAME, LISTENER, NOTIFICATIONS = "ieee2030_5", "server", "notifications"
_OF_THE_NODE = frozenset({LISTENER, NOTIFICATIONS})
"""The sections of the listeners, which the node reads."""


class Rates(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often clients are told to ask [s], by resource; ``mirror_usage_point`` is how often they are to post."""

    device_capability: int = 300
    end_device_list: int = 300
    function_set_assignments_list: int = 300
    der_program_list: int = 60
    der_list: int = 300
    mirror_usage_point_list: int = 300
    mirror_usage_point: int = 60

    def check(self) -> None:
        """Raise `Invalid` for a rate that is none."""
        for name in self.__struct_fields__:
            if not 1 <= getattr(self, name) <= 2**31:
                raise Invalid(f"rates.{name}: a second at least is needed")


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the adapter works.

    With ``announce``, a name, the server is announced in the local network by DNS-SD (extra ``discovery``).

    All paths begin with ``path``. ``csip_aus`` is the version whose namespace is written; both are read. ``pen`` is the
    Private Enterprise Number that ends each mRID. ``connection_point`` is how ids of connection points are checked:
    *nmi*, or not (*any*). ``timezone`` is the one told by the Time resource. A request's body has ``max_body_bytes``
    [bytes] at most.

    ``rates`` are how often clients are told to ask and post; those in ``rates_file`` (TOML, the same names), where one
    is named, go before them, and are read again when it changes.

    Events of envelopes are told with primacy ``envelope_primacy``, single commands with ``command_primacy``: the lower
    wins. A client may have ``max_subscriptions``; notifications go where ``notify_allow`` (networks) lets them, besides
    what may be connected to by default, or, if any, to ``notify_only``; ``notify_ca`` is a file of authorities to trust
    besides the system's. Who does not answer is tried again for ``notify_for_s`` [s]. Subscribers that ask who tells
    them are shown ``notify_certificate`` with its ``notify_key`` (files, PEM), or else those of the listener; with
    ``notify_check_name`` false the authority is all that is checked of a subscriber, as its certificate names no host.

    Readings more than ``backfill_after_s`` [s] old when they come are taken as history. A client may announce
    ``max_announced`` EndDevices that nobody has made Things of.

    ``utilities`` are servers of others that the node is a client of, by names of your own.
    """

    path: str = ""
    announce: str = ""
    csip_aus: Version = "1.2"
    pen: int = 0
    connection_point: Literal["nmi", "any"] = "any"
    timezone: str = "UTC"
    max_body_bytes: int = 262_144
    rates: Rates = Rates()
    rates_file: str = ""
    envelope_primacy: int = 1
    command_primacy: int = 0
    max_subscriptions: int = 500
    notify_allow: tuple[str, ...] = ()
    notify_only: tuple[str, ...] = ()
    notify_ca: str = ""
    notify_certificate: str = ""
    notify_key: str = ""
    notify_check_name: bool = True
    notify_for_s: float = 86_400.0
    max_announced: int = 1_000
    backfill_after_s: float = 900.0
    utilities: dict[str, Access] = {}


def read_settings(raw: Mapping[str, Any]) -> Settings:
    """Return the adapter's section as `Settings`; raise `Invalid` naming what is wrong."""
    settings = read_section(NAME, raw, Settings, of_the_node=_OF_THE_NODE)
    try:
        check_pen(settings.pen)
        settings.rates.check()
        for name, access in settings.utilities.items():
            access.check(f"utilities.{name}")
        _check_listening(settings, raw.get(NOTIFICATIONS))
    except Invalid as error:
        raise wrong(NAME, error.detail) from error
    if settings.path and (not settings.path.startswith("/") or settings.path.endswith("/")):
        raise wrong(NAME, "path begins with a slash and does not end with one")
    for name in ("envelope_primacy", "command_primacy"):
        if not 0 <= getattr(settings, name) <= 255:
            raise wrong(NAME, f"{name} is 0 to 255")
    return settings


def _check_listening(settings: Settings, section: Any) -> None:
    """Raise `Invalid` where notifications would be taken from anybody."""
    if not any(one.notification_url for one in settings.utilities.values()):
        return
    given = section if isinstance(section, Mapping) else {}
    if given.get("tls") is not True or given.get("client") != "required":
        raise Invalid(
            f'{NOTIFICATIONS}: with notification_url a listener is needed that has tls = true and client = "required"'
        )
