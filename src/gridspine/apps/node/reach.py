"""What of a stranger's Thing Description this node can use: its adapters, its broker, its mappings."""

from gridspine.infra.runtime.settings import Settings
from gridspine.things.td.consume import MODBUS, MQTT, Reachable

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
    return Reachable(tuple(settings.adapters.allow), broker, (*_MAPPED, *mapped), own)
