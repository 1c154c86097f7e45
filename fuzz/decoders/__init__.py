"""The targets, by what they decode."""

from decoders import devices, identity, readings, store  # noqa: F401
