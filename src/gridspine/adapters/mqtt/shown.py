"""Packets as lines for whoever looks at the wire; CONNECT, which carries a password, is none of them."""

from gridspine.adapters.mqtt.frames import DUP, Frame, Run, Splitter
from gridspine.kernel.errors import GridspineError
from gridspine.things.adapter import WireTrace

_KINDS = {
    1: "CONNECT", 2: "CONNACK", 3: "PUBLISH", 4: "PUBACK", 5: "PUBREC", 6: "PUBREL", 7: "PUBCOMP", 8: "SUBSCRIBE",
    9: "SUBACK", 10: "UNSUBSCRIBE", 11: "UNSUBACK", 12: "PINGREQ", 13: "PINGRESP", 14: "DISCONNECT", 15: "AUTH",
}  # fmt: skip
"""Control packet types, MQTT 5.0 §2.1.2 (the clause was not read again)."""
_MAX_BYTES = 1 << 28


def show_packet(trace: WireTrace, packet: Run | Frame, peer: str) -> None:
    """Show a packet, or a run of them, that came."""
    if isinstance(packet, Run):
        for at in range(len(packet)):
            trace("in", lambda at=at: _publish(packet, at), peer=peer)  # type: ignore[misc]
    else:
        trace("in", lambda: _frame(packet), peer=peer)


def show_written(trace: WireTrace, data: bytes, peer: str, *, five: bool = False) -> None:
    """Show whole packets that are being sent."""
    try:
        for packet in Splitter(_MAX_BYTES, five=five).feed(data):
            if isinstance(packet, Run):
                for at in range(len(packet)):
                    trace("out", _publish(packet, at), peer=peer)
            else:
                trace("out", _frame(packet), peer=peer)
    except GridspineError:
        trace("out", data, peer=peer)


def _publish(run: Run, at: int) -> str:
    first, packet_id = run.firsts[at], int.from_bytes(run.packet_ids[at], "big")
    marks = f"QoS {first >> 1 & 3}{f' id {packet_id}' if packet_id else ''}{' again' if first & DUP else ''}"
    return f"PUBLISH {marks} {run.topics[at].decode(errors='replace')}\n{_text(run.bodies[at])}"


def _frame(packet: Frame) -> str:
    kind = _KINDS.get(packet.first >> 4, f"type {packet.first >> 4}")
    if kind == "CONNECT":
        return "CONNECT (not shown: it has a password)"
    return f"{kind} {packet.first & 15:x} {packet.body.hex(' ')}".rstrip()


def _text(body: bytes) -> str:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return body.hex(" ")
    return text if text.isprintable() else body.hex(" ") if "\0" in text else text
