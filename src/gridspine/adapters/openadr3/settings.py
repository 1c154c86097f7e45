"""The adapter's section of the node's settings."""

from typing import Any

import msgspec

from gridspine.infra.runtime.web_place import SecretUse


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be set.

    ``http`` is the listener: ``host``, ``port``, ``tls``, ``names`` … (`gridspine.things.adapter_tls.Tls`).
    ``token_s`` [s] is how long a token lives, 300 s at most. ``allow`` are networks that may be connected to, for
    notifications and for VTNs that are followed, besides those that may by default; ``only``, where given, are all.
    ``mqtt`` are the addresses at which the node's MQTT broker is reached by VENs (``mqtts://node.example.org:8883``);
    without any its listener's own is told.
    ``plain_callbacks``: whether notifications may go to addresses without TLS. ``vtns`` name each secret's leave by
    which a VTN is followed: the secrets themselves are environment variables ``GRIDSPINE_SECRET_OPENADR3_<NAME>``.
    ``plain_vtns``: whether they may be taken to one without TLS.
    """

    http: dict[str, Any] = {}
    token_s: int = 300
    allow: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    mqtt: tuple[str, ...] = ()
    plain_callbacks: bool = False
    vtns: dict[str, SecretUse] = {}
    plain_vtns: bool = False
