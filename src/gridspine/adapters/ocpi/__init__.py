"""OCPI 2.2.1 and 2.3.0: roaming, as a charge point operator (CPO) and as an e-mobility service provider (eMSP).

::

    words, location, charging, tariff, token, command, credentials    the objects of both versions
    wire                                     envelope, errors, headers, pages; pure
    session, call · client                   HTTP in; HTTP out, to addresses that may be connected to
    book, gone, registration, claim          partners: tokens, endpoints, what they pushed or deleted; who they may be
    authorised, own, bill                    whose token was let in; sessions of ours as they are kept; as they are told
    cpo_*, emsp_*                            one module of a role each
    driver                                   the `Adapter`
"""

from gridspine.adapters.ocpi.driver import OcpiAdapter
from gridspine.things.adapter import Adapter


def adapter() -> Adapter:
    """Return the adapter: what the entry point ``gridspine.adapters: ocpi`` names."""
    return OcpiAdapter()
