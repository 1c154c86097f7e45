"""Settings of the MQTT adapter; secrets (``password``) come from the context's secrets, never from here."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from gridspine.things.adapter_settings import read_section

_OF_THE_NODE = frozenset({"mqtt"})
"""The section of the listener ``mqtt``, which the node reads."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the adapter works.

    ``mode`` *embedded*: the node is the broker, behind the listener ``mqtt``; at most ``max_connections`` devices,
    ``max_connections_per_principal`` each, of which a principal may have ``max_in_flight`` unacknowledged messages of
    ``max_in_flight_bytes`` [bytes] together, none of more than ``max_packet_bytes`` [bytes]. A device has
    ``connect_timeout_s`` [s] to introduce itself and may be silent 1.5 times its keep-alive, at most
    ``idle_timeout_s`` [s]. Turned away for overload it may come again after ``hold_off_s`` [s].

    ``mode`` *external*: a client of the broker at ``host``:``port``, MQTT ``protocol``, with TLS when ``ca_file`` is
    given (and ``certificate_file``, ``key_file`` to be known by), under the fixed ``client_id``. At most
    ``receive_maximum`` messages are on their way in; one of more than ``max_packet_bytes`` is refused. Lost, it comes
    back after ``reconnect_min_s`` … ``reconnect_max_s`` [s], doubling, with jitter.

    ``report_s`` [s] is how often counters that moved are logged.
    """

    mode: Literal["embedded", "external"] = "embedded"
    max_connections: int = 10_000
    max_connections_per_principal: int = 8
    max_in_flight: int = 1_000
    max_in_flight_bytes: int = 1_048_576
    max_packet_bytes: int = 262_144
    connect_timeout_s: float = 10.0
    idle_timeout_s: float = 3600.0
    hold_off_s: float = 5.0
    host: str = "127.0.0.1"
    port: int = 1883
    protocol: Literal["3.1.1", "5"] = "5"
    client_id: str = "gridspine-node"
    username: str = ""
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    keep_alive_s: int = 30
    reconnect_min_s: float = 1.0
    reconnect_max_s: float = 60.0
    receive_maximum: int = 10_000
    report_s: float = 60.0


def read_settings(raw: Mapping[str, Any]) -> Settings:
    """Return the adapter's section as `Settings`; raise `Invalid` naming what is wrong."""
    return read_section("mqtt", raw, Settings, of_the_node=_OF_THE_NODE)
