"""What a live page follows of emulated twins: the last values on the channel *emulated*."""

from collections.abc import Sequence

from gridspine.apps.node.node import Node
from gridspine.apps.portal.feed import Event
from gridspine.apps.portal.rows import EMULATED, live_value
from gridspine.kernel.ids import point_id
from gridspine.things.channel import ChannelValue
from gridspine.things.directory import Thing
from gridspine.things.twin import TwinValue


class EmulatedFeed:
    """The last emulated values of the points of some Things, under ids that end in ``#emulated``."""

    def __init__(self, node: Node, things: Sequence[Thing]) -> None:
        self._node = node
        self._points = [
            (thing.first + offset, point_id(thing.id, point.name) + EMULATED, point)
            for thing in things
            for offset, point in enumerate(node.things.model(thing).points)
        ]
        self._told: dict[int, ChannelValue] = {}

    def poll(self) -> list[Event]:
        """Return one event with the points that changed."""
        changed = []
        for number, id_, point in self._points:
            known = self._node.twins.channels.emulated(number)
            if known is not None and self._told.get(number) != known:
                self._told[number] = known
                twin = TwinValue(known.value, known.observed_us, known.quality, known.received_us)
                changed.append(live_value(id_, point, twin))
        return [("values", changed)] if changed else []

    def close(self) -> None:
        """Nothing is held."""
