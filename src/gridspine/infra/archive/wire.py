"""What the node and a query child say to each other: MessagePack frames over pipes.

::

    node ──► Job          child ──► Need(tables)
    node ──► Rows         child ──► Done or Failed, then it ends
"""

from typing import Any, Literal

import msgspec

MAX_FRAME_BYTES = 1 << 30
Format = Literal["json", "arrow"]
Reason = Literal["invalid", "too-large", "unavailable"]


class QueryLimits(msgspec.Struct, frozen=True):
    """Hard limits of one query.

    ``wall_s`` [s] and ``cpu_s`` [s of processor time]; ``memory_bytes`` on top of what an idle child needs;
    ``max_rows`` and ``max_bytes`` of the answer; ``max_tail_rows`` not yet archived; ``max_source_rows`` of a product
    that a consumer's query is run over.
    """

    wall_s: float = 30.0
    cpu_s: int = 60
    memory_bytes: int = 1 << 30
    max_rows: int = 100_000
    max_bytes: int = 32 << 20
    max_tail_rows: int = 4_000_000
    max_source_rows: int = 5_000_000
    threads: int = 2


class Granted(msgspec.Struct, frozen=True):
    """What a consumer's query may see: readings of ``points`` on ``channel`` observed in ``[from_us, until_us)`` [µs].

    ``channel`` is one of `gridspine.infra.archive.schema.CHANNELS`. ``units`` belong to the points. Only what changed:
    received after ``since_us`` [µs], or in the log at or after the offsets ``since``, by partition.
    """

    points: list[str]
    units: list[str]
    from_us: int
    until_us: int
    since_us: int | None = None
    since: dict[int, int] | None = None
    channel: str = "reported"


class Job(msgspec.Struct, frozen=True):
    """One query: ``sql`` over the archive and log in these folders, as known at ``as_of_us`` [µs] (None: now).

    With ``granted`` it is a consumer's, over a product; else an operator's, over everything.
    """

    sql: str
    archive: str
    log: str
    partitions: int
    format: Format
    as_of_us: int | None
    limits: QueryLimits
    granted: Granted | None = None


class Rows(msgspec.Struct, frozen=True):
    """Rows of the tables a query named, by table."""

    tables: dict[str, list[dict[str, Any]]]


class Need(msgspec.Struct, frozen=True, tag="need"):
    """The child asks for the rows of these tables."""

    tables: list[str]


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The answer: ``body`` in the format asked for, its number of rows, names and types of its columns.

    ``following`` are the log's next offsets when the readings were looked at.
    """

    body: bytes
    rows: int
    columns: list[tuple[str, str]]
    following: dict[int, int] = {}


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """Why there is no answer: ``kind`` of error, ``reason`` for programs, ``detail`` for people."""

    kind: Reason
    reason: str
    detail: str


Reply = Need | Done | Failed
