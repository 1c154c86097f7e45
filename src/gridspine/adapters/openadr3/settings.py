"""The adapter's section of the node's settings."""

from typing import Any

import msgspec


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be set.

    ``http`` is the listener: ``host``, ``port``, ``tls``, ``names`` … (`gridspine.things.adapter_tls.Tls`).
    ``token_s`` [s] is how long a token lives, 300 s at most. ``allow`` are networks that notifications may go to
    besides those they may by default; ``only``, where given, are all they may go to. ``plain_callbacks``: whether they
    may go to addresses without TLS.
    """

    http: dict[str, Any] = {}
    token_s: int = 300
    allow: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    plain_callbacks: bool = False
