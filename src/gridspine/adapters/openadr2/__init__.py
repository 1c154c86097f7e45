"""OpenADR 2.0b: a VTN over the node's programmes and events, for VENs that poll or are pushed to; a VEN of others'.

::

    document, message, wire…    XML ↔ checked values; pure
    event, report, ven          nouns of the node ↔ the wire's: what is told, what is metered, who is who; pure
    session, desk, view         HTTP, who asks, what they are told
    signature, replay, signing  who signed what, and that nothing is shown twice
    push                        VENs that do not poll
    party, answer, metering     EiRegisterParty; EiEvent, EiOpt, OadrPoll; EiReport
    book                        what is kept of VENs
    client                      the part of a VEN
    driver                      the `Adapter`
"""

from gridspine.adapters.openadr2.driver import OpenAdr2Adapter
from gridspine.things.adapter import Adapter


def adapter() -> Adapter:
    """Return the adapter: what the entry point ``gridspine.adapters: openadr2`` names."""
    return OpenAdr2Adapter()
