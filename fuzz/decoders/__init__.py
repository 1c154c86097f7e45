"""The targets, by what they decode."""

from decoders import chargers, devices, identity, readings, store, things, utilities  # noqa: F401
