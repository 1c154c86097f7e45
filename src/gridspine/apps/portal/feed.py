"""What a live page follows. Each feed is asked four times a second at most what there is to tell.

::

    values    last values of points, when they changed       changes   which parts of a page to load again
    chart     recent past, then every reading (thinned)      preview   readings of a grant's own stream, and its end
    figures   of the status page
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from gridspine.apps.node.node import Node
from gridspine.apps.portal.display import level_of, number_text, value_text
from gridspine.apps.portal.history import Samples, recent, samples, thin
from gridspine.apps.portal.rows import live_value
from gridspine.infra.identity.caller import Caller
from gridspine.kernel.errors import GridspineError
from gridspine.kernel.ids import point_id
from gridspine.kernel.quality import describe
from gridspine.kernel.readings import Readings
from gridspine.sharing.delivery import Subscription
from gridspine.sharing.parcel import Mask, Parcel, make_mask
from gridspine.things.directory import Thing
from gridspine.things.twin import NEVER_US

HISTORY_US = 15 * 60 * 1_000_000
CHART_SAMPLES = 900
"""Samples of one point sent at once at most."""

PREVIEW_ROWS = 12
BUFFERED_READINGS = 20_000
"""Readings that wait for a page at most; the subscription keeps the rest within its own bound."""

Event = tuple[str, Any]


class Feed(Protocol):
    """Something a page follows."""

    def poll(self) -> Iterable[Event]:
        """Return the events since the last time: (name, what becomes its JSON)."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


class ValuesFeed:
    """The last values of all points of some Things."""

    def __init__(self, node: Node, things: Sequence[Thing]) -> None:
        self._node = node
        self._points = [
            (thing.first + offset, point_id(thing.id, point.name), point)
            for thing in things
            for offset, point in enumerate(node.things.model(thing).points)
        ]
        self._told: dict[int, tuple[float, int, int]] = {}

    def poll(self) -> list[Event]:
        """Return one event with the points that changed."""
        changed = []
        for number, id_, point in self._points:
            twin = self._node.twins.get(number)
            if twin.observed_us == NEVER_US:
                continue
            known = (twin.value, twin.observed_us, twin.quality)
            if self._told.get(number) != known:
                self._told[number] = known
                changed.append(live_value(id_, point, twin))
        return [("values", changed)] if changed else []

    def close(self) -> None:
        """Nothing is held."""


class ChangesFeed:
    """Parts of a page, told by name when what they show has changed; asked every fourth time."""

    def __init__(self, parts: Mapping[str, Callable[[], Hashable]]) -> None:
        self._parts = parts
        self._told = {name: look() for name, look in parts.items()}
        self._turn = 0

    def poll(self) -> list[Event]:
        """Return an event for each part to load again."""
        self._turn += 1
        if self._turn % 4:
            return []
        seen = {name: look() for name, look in self._parts.items()}
        changed = [name for name in seen if seen[name] != self._told[name]]
        self._told = seen
        return [("changed", {"part": name}) for name in changed]

    def close(self) -> None:
        """Nothing is held."""


class FiguresFeed:
    """The node's figures on its status page."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._told: dict[str, str] = {}

    def poll(self) -> list[Event]:
        """Return the figures that changed, by name."""
        now = {name: number_text(value) for name, value in figures(self._node).items()}
        changed = {name: text for name, text in now.items() if self._told.get(name) != text}
        self._told = now
        return [("figures", changed)] if changed else []

    def close(self) -> None:
        """Nothing is held."""


def figures(node: Node) -> dict[str, int]:
    """Return what moves on the status page."""
    totals = node.intake.books.totals
    readings = {name: getattr(totals, name) for name in totals.__slots__}
    return readings | {"stored": node.stored, "delivered": node.hub.delivered, "streams": node.hub.subscriptions}


class _Collector:
    """Moves parcels from a subscription into a bounded buffer."""

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        self._parcels: deque[Parcel] = deque()
        self._waiting = 0
        self._drained = asyncio.Event()
        self._task = asyncio.ensure_future(self._collect())

    async def _collect(self) -> None:
        async for parcel in self.subscription.parcels():
            self._parcels.append(parcel)
            self._waiting += len(parcel)
            while self._waiting >= BUFFERED_READINGS:
                self._drained.clear()
                await self._drained.wait()

    def take(self) -> list[Readings]:
        """Return what has gathered; nothing once the subscription is cut."""
        gathered = [] if self.subscription.end else [parcel.readings for parcel in self._parcels]
        self._parcels.clear()
        self._waiting = 0
        self._drained.set()
        return gathered

    def close(self) -> None:
        """Stop."""
        self._task.cancel()
        self.subscription.close()


class ChartFeed:
    """All readings of one Thing: the recent past first, then live, at one offset and so without a gap."""

    def __init__(self, node: Node, caller: Caller, thing: Thing) -> None:
        self._node = node
        self._principal = caller.principal
        points = node.things.model(thing).points
        self._names = [point.name for point in points]
        ids = [point_id(thing.id, name) for name in self._names]
        units = [point.reading_type.unit for point in points]
        self._mask = make_mask(f"portal:{thing.id}", 1, ids, units, node.points.number)
        self._collector: _Collector | None = None
        self._past: list[Readings] | None = None
        self._task = asyncio.ensure_future(self._begin())

    async def _begin(self) -> None:
        since_us = self._node.clock.now_us() - HISTORY_US
        past, offsets = await asyncio.to_thread(recent, self._node.log, self._mask, since_us)
        node = self._node
        live = Subscription(node.hub, node.log, node.gate, "", self._mask, offsets, self._principal)
        self._collector = _Collector(live)
        self._past = past

    def poll(self) -> list[Event]:
        """Return ``history`` once, then ``readings``: name → times [s], values, levels."""
        if self._collector is None:
            return []
        events: list[Event] = []
        if self._past is not None:
            events.append(("history", self._columns(samples(self._past))))
            self._past = None
        live = samples(self._collector.take())
        if len(live):
            events.append(("readings", self._columns(live)))
        return events

    def close(self) -> None:
        """Stop following."""
        self._task.cancel()
        if self._collector is not None:
            self._collector.close()

    def _columns(self, of: Samples) -> dict[str, Any]:
        columns = {}
        for place, name in enumerate(self._names):
            chosen = thin(of, place, CHART_SAMPLES)
            if len(chosen):
                times = [round(time_us / 1e6, 3) for time_us in chosen.observed_us.tolist()]
                values = [value if math.isfinite(value) else None for value in chosen.value.tolist()]
                levels = [level_of(describe(quality)) for quality in chosen.quality.tolist()]
                columns[name] = [times, values, levels]
        return columns


class PreviewFeed:
    """The stream that a grant's consumer gets, for as long as the grant holds; it begins again when that does."""

    def __init__(self, node: Node, caller: Caller, grant: str) -> None:
        self._node = node
        self._caller = caller
        self._grant = grant
        self._collector: _Collector | None = None
        self._mask: Mask | None = None
        self._refused_epoch = -1

    def poll(self) -> list[Event]:
        """Return ``preview-open``, ``preview`` and ``preview-end`` as they happen."""
        if self._collector is None:
            return self._open()
        end = self._collector.subscription.end
        if end is not None:
            return [self._ended(end.reason)]
        readings = self._collector.take()
        return [("preview", self._rows(readings))] if readings else []

    def close(self) -> None:
        """Stop following."""
        if self._collector is not None:
            self._collector.close()
            self._collector = None

    def _open(self) -> list[Event]:
        node, grant = self._node, self._node.gate.grant(self._grant)
        if grant is None or grant.epoch == self._refused_epoch:
            return []
        reason = node.gate.why_shut(grant.id)
        try:
            product = node.access.product(grant.product)
            if not reason:
                own = self._caller.organisation == grant.owner
                node.authority.receive(self._caller, product, "own" if own else grant.purpose, None if own else grant)
        except GridspineError as error:
            reason = error.detail
        if reason:
            if reason not in {"stale", "not-yet"}:
                self._refused_epoch = grant.epoch
            return [self._ended(reason)] if reason != "stale" else []
        self._mask = node.access.mask(product)
        subscription = Subscription(
            node.hub, node.log, node.gate, grant.id, self._mask, node.hub.next_offsets, self._caller.principal
        )
        self._collector = _Collector(subscription)
        return [("preview-open", {})]

    def _ended(self, reason: str) -> Event:
        self.close()
        grant = self._node.gate.grant(self._grant)
        if grant is not None and reason not in {"stale", "not-yet"}:
            self._refused_epoch = grant.epoch
        word = grant.reason if grant is not None and grant.state == reason else ""
        return "preview-end", {"reason": reason, "word": word}

    def _rows(self, readings: list[Readings]) -> dict[str, Any]:
        assert self._mask is not None
        found = samples(readings)
        self._node.hub.delivered += len(found)
        newest = range(len(found) - 1, max(-1, len(found) - 1 - PREVIEW_ROWS), -1)
        return {
            "count": len(found),
            "rows": [
                {
                    "name": self._mask.names[place],
                    "text": value_text(float(found.value[at]), self._mask.units[place]),
                    "at": float(found.observed_us[at]) / 1e6,
                    "level": level_of(describe(int(found.quality[at]))),
                }
                for at in newest
                for place in (int(found.point[at]),)
            ],
        }
