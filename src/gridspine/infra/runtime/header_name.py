"""Under which header of a request a secret may go, where strangers say the name: the same rule for all who take one."""

import re

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~\-]{1,64}")
_STEERING = frozenset({
    "host", "content-length", "transfer-encoding", "content-encoding", "expect", "connection", "keep-alive", "te",
    "trailer", "upgrade", "http2-settings", "cookie", "set-cookie", "cookie2",
})  # fmt: skip
"""They say where a request goes, where it ends and what a connection is, or are no single value."""


def carries_a_key(name: str) -> bool:
    """Whether ``name`` is a header's that a key may be given in: it steers neither the request nor its connection.

    Source: RFC 9110 §5.6.2 (token), §7.2 (Host), §7.6.1 (Connection and its like), RFC 9112 §6 (where a message ends).
    The clauses were not read again.
    """
    return (
        _TOKEN.fullmatch(name) is not None and name.lower() not in _STEERING and not name.lower().startswith("proxy-")
    )
