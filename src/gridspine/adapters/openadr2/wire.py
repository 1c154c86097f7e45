"""Messages of OpenADR 2.0b: bytes ↔ structs, by one table of fields for both directions. Pure; no I/O.

::

    oadrPayload
      ds:Signature            who signed is asked by `gridspine.adapters.openadr2.signature`, before this is
      oadrSignedObject
        oadrPoll …            one of `MESSAGES`

Source: the element ``oadrPayload`` of ``oadr_20b.xsd``.
"""

from gridspine.adapters.openadr2.document import NAMESPACES, Node, Shape, decode
from gridspine.adapters.openadr2.message import Message
from gridspine.adapters.openadr2.wire_event import EVENTS, OPT
from gridspine.adapters.openadr2.wire_party import PARTY
from gridspine.adapters.openadr2.wire_report import REPORTS
from gridspine.energy.mapping.xml import HEAD, element
from gridspine.kernel.errors import Invalid

MEDIA = "application/xml"
SIGNED_ID = "oadrSignedObject"
"""What the signed object is called where it is signed."""
MESSAGES: dict[str, Shape] = {**PARTY, **EVENTS, **REPORTS, **OPT}
"""All messages, by the names of their elements."""
NAMES = {shape.type: name for name, shape in MESSAGES.items()}
_SPACES = {f"xmlns_{prefix}": uri for prefix, uri in NAMESPACES.items() if prefix not in {"ds", "dsp"}}


def read(body: bytes) -> Message:
    """Return the message in a payload; raise `Invalid` naming what is wrong."""
    return read_root(decode(body))


def read_root(root: Node) -> Message:
    """Return the message in a payload that was decoded; raise `Invalid`. Who signed it is not asked."""
    if root.name != "oadr:oadrPayload":
        raise Invalid("an oadrPayload of OpenADR 2.0b is needed")
    return message_of(root.find("oadr:oadrSignedObject"))


def message_of(signed: Node | None) -> Message:
    """Return the message in a signed object; raise `Invalid`."""
    if signed is None or signed.name != "oadr:oadrSignedObject" or len(signed.children) != 1:
        raise Invalid("oadrPayload: one oadrSignedObject with one message is needed")
    found = signed.children[0]
    shape = MESSAGES.get(found.name.removeprefix("oadr:")) if found.name.startswith("oadr:") else None
    if shape is None:
        raise Invalid(f"oadrSignedObject: {found.name[:60]} is no message of OpenADR 2.0b")
    return shape.read(found)


def write(message: Message) -> bytes:
    """Return a message as a payload that nobody signed."""
    return payload(signed_object(message)).encode()


def signed_object(message: Message) -> str:
    """Return what is to be signed."""
    name = NAMES[type(message)]
    said = element(f"oadr:{name}", MESSAGES[name].write(message), ei_schemaVersion="2.0b")
    return element("oadr:oadrSignedObject", [said], oadr_Id=SIGNED_ID, **_SPACES)


def payload(signed: str, signature: str = "") -> str:
    """Return a payload of what was signed, with its signature."""
    return HEAD + element("oadr:oadrPayload", [signature, signed], xmlns_oadr=NAMESPACES["oadr"])
