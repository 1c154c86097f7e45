"""Who is asking: organisations, principals and their keys, and every way to prove to be one of them.

::

    private_key_jwt ─┐                          ┌─ DPoP proof      ┐
    client certificate ┴─► access token (≤ 5 min) ┴─ same certificate ┴─► Caller ─► policy
    password ─► portal session (cookie) ─► one-time ticket ────────────► Caller
    device password (MQTT) ────────────────────────────────────────────► Caller

`service.Identity` is the door: the node composes one and hands it on. Authority only narrows on its way: a `Caller`
never has a role its principal lacks now, whatever its token says. Nothing here knows of Things or of the web.
"""
