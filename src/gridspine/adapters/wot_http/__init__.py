"""Things of the Web of Things over HTTP: their properties polled by the forms of their Thing Descriptions.

::

    wire      answers ↔ numbers: JSON and text, words by their codes
    guard     which addresses may be connected to, and which secret goes where
    proof     what proves a request: headers, keys, TLS
    tokens    access tokens of OAuth 2, and the grants they come from
    pace      how often an origin or an account is asked
    shared    one answer for many Things: listings, page by page
    session   one request at a time a Thing: bounded, without redirects, proven as its description says
    driver    the `Adapter`: polls, and answers orders by saying that it only reads

The node makes a Thing's ``connection`` from its description (`gridspine.things.td.consume`).
"""

from gridspine.adapters.wot_http.driver import WotHttpAdapter
from gridspine.things.adapter import Adapter


def adapter() -> Adapter:
    """Return the adapter: what the entry point ``gridspine.adapters: wot_http`` names."""
    return WotHttpAdapter()
