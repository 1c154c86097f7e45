"""Secrets of adapters: from the environment, so that none stands in a file of settings."""

import os

PREFIX = "GRIDSPINE_SECRET_"


def adapter_secrets(adapter: str) -> dict[str, str]:
    """Return an adapter's secrets by name: the environment variables ``GRIDSPINE_SECRET_<ADAPTER>_<NAME>``."""
    prefix = f"{PREFIX}{adapter.upper()}_"
    return {key.removeprefix(prefix).lower(): value for key, value in os.environ.items() if key.startswith(prefix)}
