"""What node and edge say to each other; both ends use this module.

::

    GET  /edge/orders    node ─► edge   a line of JSON a message, without end: Hello first, then what there is, then
                                        what changes; Beat when nothing does
    POST /edge/report    edge ─► node   a `Report`: what is durable here, how far orders got, how the edge is
    POST /readings       edge ─► node   SenML, live ones first; what is older with ``Backfill: true``

A `Deliver` holds all that is running or to come for a Thing: what it no longer names is over.
"""

from typing import Any

import msgspec

from gridspine.things.adapter import ProgressState, RequestEnd
from gridspine.things.command import Command, StopChanged
from gridspine.things.model import LeaseRule

ADAPTER = "edge"
"""What `gridspine.things.thing.Thing.adapter` says of a Thing that an edge serves.

Its ``connection`` is ``{"edge": <the edge's principal>, "adapter": <adapter at the edge>, "connection": {…}}``.
"""
MAX_THINGS = 1_000
"""Things that one edge serves at most."""
MAX_LINE_BYTES = 16 << 20
"""A message on its way down, at most."""
MAX_REPORT_ITEMS = 1_000
BEAT_S = 10.0
"""The node says something at least this often [s]; silence of three times as long is a broken connection."""


class ServedPoint(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One point of a Thing: what the edge needs to know of its model.

    ``deadband`` [the point's unit] and ``min_interval_s`` [s] are 0 where a point must not be thinned out.
    """

    name: str
    unit: str
    deadband: float = 0.0
    min_interval_s: float = 0.0
    max_silence_s: float = 60.0
    lease: LeaseRule | None = None


class ServedThing(msgspec.Struct, frozen=True, rename="camel"):
    """A Thing that the edge serves: whose it is, which adapter serves it here, and where it is."""

    id: str
    title: str
    organisation: str
    model: str
    adapter: str
    connection: dict[str, Any]
    points: tuple[ServedPoint, ...]


class SignedRule(msgspec.Struct, frozen=True, rename="camel"):
    """A control rule as the node signed it: see `gridspine.things.control_rule`."""

    body: str
    signature: str


class Hello(msgspec.Struct, frozen=True, tag="hello", rename="camel"):
    """The node's time [µs since 1970], and the public key (JWK) by which it signs rules."""

    now_us: int
    key: dict[str, str]


class Serve(msgspec.Struct, frozen=True, tag="serve", rename="camel"):
    """All Things that the edge serves from now on."""

    things: tuple[ServedThing, ...]


class Deliver(msgspec.Struct, frozen=True, tag="deliver", rename="camel"):
    """All commands of ``thing`` that are running or to come; ``now_us`` is the node's time [µs since 1970].

    ``revision`` is to be reported once they are durable.
    """

    thing: str
    revision: str
    now_us: int
    commands: tuple[Command, ...]


class Stop(msgspec.Struct, frozen=True, tag="stop", rename="camel"):
    """All-stop, in force or not."""

    stop: StopChanged


class Rules(msgspec.Struct, frozen=True, tag="rules", rename="camel"):
    """All control rules that the edge is to run."""

    rules: tuple[SignedRule, ...]


class ReadNow(msgspec.Struct, frozen=True, tag="read", rename="camel"):
    """Read a device at once; that it is over is to be reported, after what was read is at the node."""

    id: str
    thing: str
    points: tuple[str, ...] = ()


class Ask(msgspec.Struct, frozen=True, tag="ask", rename="camel"):
    """Have an action of ``thing`` carried out, within ``left_s`` [s]; how it ended is to be reported."""

    id: str
    thing: str
    action: str
    input: Any
    left_s: float
    traceparent: str = ""


class Beat(msgspec.Struct, frozen=True, tag="beat", rename="camel"):
    """Still here; the node's time [µs since 1970]."""

    now_us: int


Down = Hello | Serve | Deliver | Stop | Rules | ReadNow | Ask | Beat


class Progress(msgspec.Struct, frozen=True, rename="camel"):
    """How far an order got at the edge, at ``at_us`` [µs since 1970, the edge's clock]."""

    command: str
    state: ProgressState
    reason: str = ""
    at_us: int = 0


class Ended(msgspec.Struct, frozen=True):
    """How a request to carry out an action ended: its ``output`` (JSON, 32 KiB at most), or the ``reason``."""

    state: RequestEnd
    output: Any = None
    reason: str = ""


class RuleReport(msgspec.Struct, frozen=True, rename="camel"):
    """How a rule does: ``version`` is the one that runs (0: none), ``faults`` in all, the last one's ``detail``."""

    name: str
    version: int
    state: str
    detail: str = ""
    runs: int = 0
    faults: int = 0


class BufferReport(msgspec.Struct, frozen=True, rename="camel"):
    """Readings that wait: how many, their bytes, when the oldest was observed [µs]; and what became of the others."""

    waiting: int
    bytes: int
    oldest_us: int
    buffered: int
    sent: int
    refused: int
    dropped: int


class Report(msgspec.Struct, frozen=True, rename="camel"):
    """What the edge has to say. ``clock_us`` is its time [µs since 1970]; ``kept`` are revisions by Thing."""

    clock_us: int
    kept: dict[str, str] = {}
    progress: tuple[Progress, ...] = ()
    rules: tuple[RuleReport, ...] = ()
    buffer: BufferReport | None = None
    adapters: dict[str, str] = {}
    """What is wrong with an adapter, "" for nothing, by name."""
    version: str = ""
    reads: dict[str, str] = {}
    """Requests to read that are over, and what was wrong, "" for nothing, by id."""
    requests: dict[str, Ended] = {}
    """Requests to carry out actions that are over, by id."""
    carries: bool = False
    """Whether this edge can be asked to carry out actions: an older one cannot read the message."""
