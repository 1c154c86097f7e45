"""How identity says no: one 401 with a stable reason word, a sentence, and the challenge for the next try.

Sources: RFC 6750 §3 (``WWW-Authenticate``), RFC 9449 §7.1 (the ``DPoP`` challenge and its ``algs``).
"""

from typing import Literal

from gridspine.kernel.errors import Unauthenticated

ALGORITHMS = ("Ed25519", "ES256")
"""JOSE algorithms taken anywhere: RFC 9864 ``Ed25519``, and RFC 7518 ``ES256``. All asymmetric."""

Scheme = Literal["DPoP", "Bearer", "Basic"]


def refuse(reason: str, detail: str, *, scheme: Scheme = "DPoP", error: str = "invalid_token") -> Unauthenticated:
    """Return the error to raise: ``reason`` is a stable word for programs, ``detail`` a sentence for people.

    ``error`` is the OAuth error code; empty when no credentials were given, as RFC 6750 §3.1 asks.
    """
    parts = ['realm="gridspine"']
    if error:
        parts += [f'error="{error}"', f'error_description="{_quotable(detail)}"']
    if scheme == "DPoP":
        parts.append(f'algs="{" ".join(ALGORITHMS)}"')
    return Unauthenticated(detail, headers={"WWW-Authenticate": f"{scheme} {', '.join(parts)}"}, reason=reason)


def refuse_client(detail: str) -> Unauthenticated:
    """Return the error for a client that did not prove itself at the token endpoint (RFC 6749 §5.2)."""
    return Unauthenticated(
        detail,
        headers={"WWW-Authenticate": 'Bearer realm="gridspine", error="invalid_client"'},
        error="invalid_client",
    )


def _quotable(text: str) -> str:
    return "".join(c if " " <= c <= "~" and c not in '"\\' else "'" for c in text)
