"""The targets, by what they decode."""

from decoders import answers, chargers, devices, identity, programmes, readings, store, things, utilities  # noqa: F401
