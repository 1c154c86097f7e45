"""Topics: where on a broker a Thing's readings, commands and acknowledgements are.

::

    gridspine/{thing}/readings           device → node     SenML JSON, SenML CBOR, or a plain JSON object
    gridspine/{thing}/acknowledgements   device → node     what became of a command
    gridspine/{thing}/commands           node → device     an order with its end

``{thing}`` is the Thing's URN, percent-encoded (RFC 3986 §2.1) where MQTT gives a character a meaning of its own. A
binding's ``connection`` may name other topics, and topics that carry one bare number each (`Mapping`).
"""

from collections.abc import Iterable
from typing import Literal
from urllib.parse import quote, unquote

import msgspec

from gridspine.kernel.codecs.pick import parts_of
from gridspine.kernel.errors import Invalid
from gridspine.kernel.ids import check_point_name
from gridspine.kernel.units import unit
from gridspine.things.adapter import Binding

PREFIX = "gridspine"
MAX_TOPIC_BYTES = 1024
_SAFE = ":-._~()!*'@;,=$"

Kind = Literal["readings", "values", "acknowledgements"]


class Mapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One point on a topic of its own, as many devices on the market have it.

    The payload is a bare number in ``unit`` ("" is the point's own), or JSON in which ``path`` ("a.b.c", or a JSON
    Pointer "/a/0/c", RFC 6901) leads to it. The reading is the number times ``scale`` (-1 turns a meter round).
    ``codes`` gives words their numbers, ``true`` and ``false`` among them.
    """

    topic: str
    unit: str = ""
    path: str = ""
    scale: float = 1.0
    codes: dict[str, float] = {}


class MqttConnection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The ``connection`` of a binding to this adapter; every field may be left out.

    ``username`` is who the device is at an external broker (the Thing's URN when left out). ``readings``,
    ``commands`` and ``acknowledgements`` are topics that replace the usual ones; ``topics`` maps points. With
    ``schedules`` an order brings what follows it, for a device that can hold it.
    """

    username: str = ""
    readings: str = ""
    commands: str = ""
    acknowledgements: str = ""
    topics: dict[str, Mapping] = {}
    schedules: bool = False


class ValueRoute(msgspec.Struct, frozen=True):
    """A point fed by a mapped topic."""

    thing: str
    point: str
    mapping: Mapping


class Destination(msgspec.Struct, frozen=True):
    """What a topic carries, and of which Things (several only where ``kind`` is *values*)."""

    topic: str
    kind: Kind
    things: tuple[str, ...]
    values: tuple[ValueRoute, ...] = ()


class ThingTopics(msgspec.Struct, frozen=True):
    """All topics of one Thing: those it may write, and the one it may read."""

    thing: str
    username: str
    readings: str
    acknowledgements: str
    commands: str
    values: tuple[str, ...]
    schedules: bool = False


def encode_thing(thing: str) -> str:
    """Return ``thing`` as one topic level."""
    return quote(thing, safe=_SAFE)


def decode_thing(level: str) -> str | None:
    """Return the Thing a topic level names, or None when it is not as `encode_thing` writes it."""
    thing = unquote(level)
    return thing if encode_thing(thing) == level else None


def usual_topic(thing: str, kind: Literal["readings", "acknowledgements", "commands"]) -> str:
    """Return the topic of ``thing`` when its binding says nothing else."""
    return f"{PREFIX}/{encode_thing(thing)}/{kind}"


def topics_of(binding: Binding) -> tuple[ThingTopics, tuple[ValueRoute, ...]]:
    """Return the topics of a binding; raise `Invalid` naming what is wrong with its ``connection``."""
    try:
        connection = msgspec.convert(binding.connection, MqttConnection)
    except msgspec.ValidationError as error:
        raise Invalid(f"connection of {binding.thing}: {error}") from error
    routes = []
    for point, mapping in connection.topics.items():
        check_point_name(point)
        if mapping.unit:
            unit(mapping.unit)
        check_topic(mapping.topic)
        if mapping.path.startswith("/"):
            parts_of(mapping.path)
        routes.append(ValueRoute(binding.thing, point, mapping))
    topics = ThingTopics(
        thing=binding.thing,
        username=connection.username or binding.thing,
        readings=check_topic(connection.readings or usual_topic(binding.thing, "readings")),
        acknowledgements=check_topic(connection.acknowledgements or usual_topic(binding.thing, "acknowledgements")),
        commands=check_topic(connection.commands or usual_topic(binding.thing, "commands")),
        values=tuple(sorted({route.mapping.topic for route in routes})),
        schedules=connection.schedules,
    )
    return topics, tuple(routes)


def check_topic(topic: str) -> str:
    """Return ``topic`` when it is a topic name without wildcards (MQTT 3.1.1 §4.7); raise `Invalid` otherwise."""
    if not topic or len(topic.encode()) > MAX_TOPIC_BYTES or topic.startswith("$") or set(topic) & set("+#\0\n\r"):
        raise Invalid(f"{topic[:80]!r} is not a topic: no wildcard, no leading $, at most {MAX_TOPIC_BYTES} bytes")
    return topic


class Routes:
    """Which topic leads where, for all bindings. One bad binding never spoils the others: see ``problems``."""

    def __init__(self, bindings: Iterable[Binding]) -> None:
        self.problems: list[str] = []
        self.things: dict[str, ThingTopics] = {}
        self.by_wire: dict[bytes, Destination] = {}
        """Where each topic leads, by its bytes in a packet."""
        self._destinations: dict[str, Destination] = {}
        self._command_topics: dict[str, str] = {}
        for binding in bindings:
            try:
                self._add(binding)
            except Invalid as error:
                self.problems.append(error.detail)

    def _add(self, binding: Binding) -> None:
        topics, values = topics_of(binding)
        wanted = {topics.readings, topics.acknowledgements, topics.commands}
        taken = wanted & (self._destinations.keys() | self._command_topics.keys())
        mixed = set(topics.values) & (wanted | self._command_topics.keys() | self._topics_of_kind("readings"))
        if taken or mixed or len(wanted) < 3:
            raise Invalid(f"connection of {binding.thing}: topic {min(taken | mixed or wanted)} is used twice")
        self.things[binding.thing] = topics
        self._command_topics[topics.commands] = binding.thing
        self._lead(Destination(topics.readings, "readings", (binding.thing,)))
        self._lead(Destination(topics.acknowledgements, "acknowledgements", (binding.thing,)))
        for route in values:
            topic = route.mapping.topic
            known = self._destinations.get(topic, Destination(topic, "values", ()))
            things = known.things if binding.thing in known.things else (*known.things, binding.thing)
            self._lead(Destination(topic, "values", things, (*known.values, route)))

    def _lead(self, destination: Destination) -> None:
        self._destinations[destination.topic] = destination
        self.by_wire[destination.topic.encode()] = destination

    def _topics_of_kind(self, *kinds: Kind) -> set[str]:
        return {topic for topic, destination in self._destinations.items() if destination.kind in kinds}

    def destination(self, topic: str) -> Destination | None:
        """Return what a device publishes on ``topic``, or None when nothing of ours is there."""
        return self._destinations.get(topic)

    def commanded_thing(self, topic_filter: str) -> str | None:
        """Return the Thing whose command topic ``topic_filter`` is, word for word, or None."""
        return self._command_topics.get(topic_filter)

    def command_topic(self, thing: str) -> str | None:
        """Return where orders for ``thing`` go, or None when it is not bound here."""
        topics = self.things.get(thing)
        return topics.commands if topics else None

    def holds_schedules(self, thing: str) -> bool:
        """Whether the device of ``thing`` takes what follows an order along with it."""
        topics = self.things.get(thing)
        return topics is not None and topics.schedules

    def inbound_filters(self) -> list[str]:
        """Return the filters a node subscribes to at an external broker: two wildcards, and every other topic."""
        usual = {usual_topic(thing, "readings") for thing in self.things}
        usual |= {usual_topic(thing, "acknowledgements") for thing in self.things}
        return [f"{PREFIX}/+/readings", f"{PREFIX}/+/acknowledgements", *sorted(self._destinations.keys() - usual)]
