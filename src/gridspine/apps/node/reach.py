"""What of a stranger's Thing Description this node can use: its adapters, its broker, its mappings."""

import ssl
import sys

from gridspine.infra.runtime.settings import Settings
from gridspine.things.td.consume import Reachable
from gridspine.things.td.forms import MODBUS, MQTT

_MAPPED = ("https://gridspine.org/models/battery", "https://gridspine.org/models/pv_inverter")
"""Models that the modbus adapter maps to SunSpec by itself."""


def reachable(settings: Settings) -> Reachable:
    """Return what the settings say of it."""
    mqtt, modbus = (settings.adapters.settings.get(name, {}) for name in (MQTT, MODBUS))
    broker = None
    if mqtt.get("mode") == "external":
        broker = (str(mqtt.get("host", "127.0.0.1")), int(mqtt.get("port", 1883)))
    mapped = [
        one["model"] for one in dict(modbus.get("mappings", {})).values() if isinstance(one, dict) and "model" in one
    ]
    own = f"http://{settings.http.host}:{settings.http.port}"
    return Reachable(tuple(settings.adapters.allow), broker, (*_MAPPED, *mapped), own, _no_psk())


def _no_psk() -> str:
    """Return why TLS with a key shared beforehand (RFC 4279) cannot be used, "" where it can."""
    if not hasattr(ssl.SSLContext, "set_psk_client_callback"):
        return f"psk needs Python 3.13 or later, and this node runs on {sys.version_info[0]}.{sys.version_info[1]}"
    return "" if getattr(ssl, "HAS_PSK", False) else "psk is not part of the TLS library of this node's Python"
