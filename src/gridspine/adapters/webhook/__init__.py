"""Webhooks: a vendor posts JSON about one Thing to an address of its own, proven by a secret, picked apart as data.

::

    wire      a post ↔ readings: proof, JSON pointers, times; pure
    session   HTTP/1.1 over the node's listener: bounded in size, time and number
    driver    the `Adapter`: which address is which Thing's, and what a post is answered
"""

from gridspine.adapters.webhook.driver import WebhookAdapter
from gridspine.things.adapter import Adapter


def adapter() -> Adapter:
    """Return the adapter: what the entry point ``gridspine.adapters: webhook`` names."""
    return WebhookAdapter()
