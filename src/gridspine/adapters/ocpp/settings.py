"""Settings of the OCPP adapter; passwords and certificates are the node's, never here."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from gridspine.adapters.ocpp.wire import Version
from gridspine.kernel.time import parse_rfc3339
from gridspine.things.adapter_settings import read_section, wrong

_OF_THE_NODE = frozenset({"ocpp"})
"""The section of the listener ``ocpp``, which the node reads."""
MAX_TOKENS = 100_000


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may charge: ``id`` (compared without regard to case, as OCPP's identifiers are), until ``expires``.

    ``type`` is that of 2.0.1 (``ISO14443``, …), "" for any; ``group`` is the parent whose members may stop each other's
    transactions; ``organisation`` whose charge points it holds for, "" for all of the node's.
    """

    id: str
    type: str = ""
    status: Literal["Accepted", "Blocked"] = "Accepted"
    expires: str = ""
    group: str = ""
    organisation: str = ""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the adapter works.

    A charge point opens ``{path}{its identity}`` by one of ``versions``, the first that both know. At most
    ``max_connections`` of them, and besides ``max_handshakes`` that nobody knows yet; of one address at most
    ``max_per_address``, and ``max_handshakes_per_address`` that nobody knows yet. None of their messages has more than
    ``max_message_bytes`` [bytes]. It has ``connect_timeout_s`` [s] for the handshake, is asked for a sign of life every
    ``ping_s`` [s], and is gone after ``idle_timeout_s`` [s] without any. It has ``call_timeout_s`` [s] to answer a
    call. It is told at boot to send a heartbeat every ``heartbeat_s`` [s]. Every ``refresh_s`` [s] it is asked what
    limit holds, and the state of its connectors: OCPP tells changes only. Turned away for overload it may come again
    after ``hold_off_s`` [s].

    Readings more than ``backfill_after_s`` [s] old when they come, and those that the charge point says it took while
    offline, are taken as backfill. ``tokens`` may charge; any other is answered ``unknown_tokens``.

    ``newcomers`` is the id of a device: who comes under a name that nobody knows, with that device's password, waits
    and is announced; "": nobody does.

    Of each charge point the last ``kept_transactions`` ended transactions are kept, and the signed meter values of the
    last ``kept_signed`` messages that had some.
    """

    path: str = "/ocpp/"
    versions: tuple[Version, ...] = ("2.1", "2.0.1", "1.6")
    max_connections: int = 10_000
    max_handshakes: int = 1_000
    max_per_address: int = 2_000
    max_handshakes_per_address: int = 100
    max_message_bytes: int = 262_144
    connect_timeout_s: float = 10.0
    ping_s: float = 60.0
    idle_timeout_s: float = 180.0
    call_timeout_s: float = 30.0
    heartbeat_s: int = 300
    refresh_s: float = 900.0
    hold_off_s: float = 5.0
    backfill_after_s: float = 300.0
    unknown_tokens: Literal["Invalid", "Accepted"] = "Invalid"
    tokens: tuple[Token, ...] = ()
    newcomers: str = ""
    kept_transactions: int = 1_000
    kept_signed: int = 1_000
    report_s: float = 60.0


def read_settings(raw: Mapping[str, Any]) -> Settings:
    """Return the adapter's section as `Settings`; raise `Invalid` naming what is wrong."""
    settings = read_section("ocpp", raw, Settings, of_the_node=_OF_THE_NODE)
    if not (settings.path.startswith("/") and settings.path.endswith("/")):
        raise wrong("ocpp", "path begins and ends with a slash")
    if not settings.versions:
        raise wrong("ocpp", "versions names none")
    if len(settings.tokens) > MAX_TOKENS:
        raise wrong("ocpp", f"more than {MAX_TOKENS} tokens")
    for token in settings.tokens:
        if token.expires:
            parse_rfc3339(token.expires)
    return settings
