"""Whether a form was sent from this node's own pages: sign-in has no session whose CSRF token it could carry.

Source: Fetch Metadata Request Headers (W3C), ``Sec-Fetch-Site``; RFC 6454 (Origin). Without the check another site
could sign a browser in as someone else and watch what is typed there.
"""

from urllib.parse import urlsplit

from gridspine.apps.api.authenticate import request_url
from gridspine.apps.portal.page import PortalRequest
from gridspine.kernel.errors import Forbidden


def check_same_origin(request: PortalRequest) -> None:
    """Raise `Forbidden` unless the browser says that one of our pages sent this; saying nothing is not enough."""
    site = request.headers.get("sec-fetch-site", "")
    origin = request.headers.get("origin", "")
    own = urlsplit(request_url(request.scope))
    same = site == "same-origin" or (not site and origin == f"{own.scheme}://{own.netloc}")
    if not same or (origin and origin != f"{own.scheme}://{own.netloc}"):
        raise Forbidden("this form was sent from another site: open the page here and try again", reason="cross-site")
