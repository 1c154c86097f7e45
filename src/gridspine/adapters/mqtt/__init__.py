"""MQTT: devices that publish their readings and take their orders from a broker.

::

    frames.py              bytes of a connection to packets     (pure)
    wire.py, topics.py     payloads and topics                  packs.py      many payloads at once   (pure)
    inbound.py, room.py    messages to intake, in batches       counters.py   both ends counted
    commands.py            orders in force
    broker.py, session.py  the node as broker (MQTT 3.1.1)      clients.py, packets.py, outgoing.py
    link.py, connection.py the node as client (3.1.1 and 5)     client_wire.py
    mosquitto.py           a configuration that keeps what it takes
    driver.py              the `Adapter`

Sign convention: what a device publishes under a point is taken as that point's reading type says; a meter that
stands the other way round is turned by ``scale: -1`` in its binding, never by code.
"""

from gridspine.adapters.mqtt.driver import MqttAdapter, adapter

__all__ = ["MqttAdapter", "adapter"]
