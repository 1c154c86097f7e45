"""OpenADR 3: a VTN of 3.1.0 and 3.0.1 over the node's programmes and events.

::

    wire, period, payload, native, edition   both editions ↔ checked values ↔ nouns of energy; pure
    session, auth                            HTTP: routes, tokens, problems
    program, event, report, ven, subscription   one noun of the wire each; topic: the names of MQTT's
    book, vtn, callback, notifier            what is of the wire alone, and who is told of changes
    driver                                   the `Adapter`
"""

from gridspine.adapters.openadr3.driver import OpenAdr3Adapter
from gridspine.things.adapter import Adapter


def adapter() -> Adapter:
    """Return the adapter: what the entry point ``gridspine.adapters: openadr3`` names."""
    return OpenAdr3Adapter()
