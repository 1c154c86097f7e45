"""The targets, by what they decode."""

from decoders import devices, identity, readings, store, things  # noqa: F401
