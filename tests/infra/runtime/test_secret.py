"""Secrets of adapters come from the environment, each adapter's to itself."""

from gridspine.infra.runtime.secret import adapter_secrets


def test_an_adapter_has_its_own_secrets_by_name(monkeypatch):
    monkeypatch.setenv("GRIDSPINE_SECRET_WOT_HTTP_BOILER", "user:word")
    monkeypatch.setenv("GRIDSPINE_SECRET_MQTT_PASSWORD", "other")
    assert adapter_secrets("wot_http") == {"boiler": "user:word"}
    assert adapter_secrets("mqtt") == {"password": "other"}
    assert adapter_secrets("modbus") == {}
