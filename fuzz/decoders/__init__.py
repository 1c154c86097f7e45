"""The targets, by what they decode."""

from decoders import (  # noqa: F401
    answers,
    chargers,
    devices,
    identity,
    notices,
    openadr2,
    programmes,
    readings,
    roaming,
    store,
    things,
    utilities,
)
