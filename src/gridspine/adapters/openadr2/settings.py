"""Settings of the OpenADR 2.0b adapter; certificates are the node's to know, never here."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from gridspine.things.adapter_settings import read_section, wrong

NAME, LISTENER = "openadr2", "vtn"
Signatures = Literal["none", "verified", "required"]
"""Whether messages are signed: *verified* where they are, and answered likewise; *required*: others are refused."""


class Access(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """By what the node goes to VTNs of others: ``certificate`` and ``key`` (files, PEM).

    For VTNs at ``origins`` (scheme://host:port) and Things of ``organisations``; ``ca`` is a file of authorities to
    trust instead of the system's. ``signature``: whether messages are signed by that key, and the VTN's must be; a VTN
    signs by the certificate that it shows, or by one of ``signers`` (files, PEM).
    """

    certificate: str
    origins: tuple[str, ...]
    organisations: tuple[str, ...]
    key: str = ""
    ca: str = ""
    signature: Signatures = "none"
    signers: tuple[str, ...] = ()


class Push(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """To where VENs may have events pushed: by https, to no address of the node's own machine or network's inside.

    ``allow`` are networks (CIDR) that may be connected to besides, ``only`` all that may. ``ca`` is a file (PEM) with
    the authorities of the VENs' own servers, instead of those of the listener.
    """

    allow: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    ca: str = ""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the adapter works.

    ``vtn`` is the listener, without which there is no VTN: ``host``, ``port``, ``tls``, ``ca`` …
    (`gridspine.things.adapter_tls.Tls`). All paths begin with ``path``. ``vtn_id`` is the VTN's name. VENs are told to
    poll every ``poll_s`` [s]; an event that one has not answered is told again after ``repeat_s`` [s]. ``ramp_up_s``
    [s] before its start an event is *near*, and VENs are told to ramp then; 0: not at all.

    Reports are asked for every ``report_s`` [s], as far as a VEN can. Readings that are more than ``backfill_after_s``
    [s] old when they come are taken as history.

    ``signature`` says whether messages are signed; a VEN's connection may say otherwise for it. What was signed more
    than ``signed_within_s`` [s] before or after now is refused. The VTN signs by its listener's certificate and key.

    ``push`` lets VENs register an address that events are pushed to; without it they poll.

    ``vtns`` name the certificates by which VTNs of others are followed.
    """

    vtn: dict[str, Any] = {}
    path: str = "/OpenADR2/Simple/2.0b"
    vtn_id: str = "GRIDSPINE"
    poll_s: int = 10
    repeat_s: int = 60
    ramp_up_s: int = 0
    report_s: int = 60
    backfill_after_s: float = 900.0
    signature: Signatures = "none"
    signed_within_s: int = 120
    push: Push | None = None
    vtns: dict[str, Access] = {}


def read_settings(raw: Mapping[str, Any]) -> Settings:
    """Return the adapter's section as `Settings`; raise `Invalid` naming what is wrong."""
    settings = read_section(NAME, raw, Settings)
    if not settings.path.startswith("/") or settings.path.endswith("/"):
        raise wrong(NAME, "path begins with a slash and does not end with one")
    if not 0 < len(settings.vtn_id) <= 128:
        raise wrong(NAME, "vtn_id has 1 to 128 characters")
    for name, least in (("poll_s", 1), ("repeat_s", 1), ("ramp_up_s", 0), ("report_s", 1), ("signed_within_s", 1)):
        if not least <= getattr(settings, name) <= 86_400:
            raise wrong(NAME, f"{name} is {least} to 86400")
    shows = settings.signature != "none" or settings.push is not None
    if shows and settings.vtn and not {"certificate", "key"} <= settings.vtn.keys():
        raise wrong(NAME, "signature, push: the VTN's own are its listener's certificate and key (files): name them")
    return settings
