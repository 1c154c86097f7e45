"""Where an MQTT broker is: the addresses of `/notifiers`. Pure; no I/O."""

from typing import NamedTuple

from gridspine.infra.runtime.web_place import split_address
from gridspine.kernel.errors import Invalid

_PORTS = {"mqtt": 1883, "mqtts": 8883}
"""As registered with IANA (the registry was not read)."""


class MqttPlace(NamedTuple):
    """A broker's host and port, and whether by TLS."""

    host: str
    port: int
    tls: bool


def read_mqtt_place(uri: str) -> MqttPlace:
    """Return where ``mqtt://host[:port]`` or ``mqtts://host[:port]`` leads; raise `Invalid` for any other address."""
    scheme, colon, rest = uri.partition(":")
    scheme = scheme.lower()
    if scheme not in _PORTS or not colon:
        raise Invalid(f"{uri[:80]!r} is no address of MQTT: mqtts://host:port is needed")
    parts = split_address(f"http:{rest}")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise Invalid(f"{uri[:80]!r} has more than host and port")
    return MqttPlace(parts.hostname or "", parts.port or _PORTS[scheme], scheme == "mqtts")
