"""The headers of every answer of the portal: what a browser may load, embed, send and open from its pages.

Sources: Content Security Policy Level 3 (W3C), Referrer Policy (W3C), Permissions Policy (W3C), WHATWG HTML
(Cross-Origin-Opener-Policy).
"""

from collections.abc import Mapping

POLICY = "; ".join(
    (
        "default-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
"""No inline script or style, nothing from elsewhere."""

SECURITY_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

NO_STORE: Mapping[str, str] = {"Cache-Control": "no-store"}
"""Pages hold what only the one who signed in may see."""
