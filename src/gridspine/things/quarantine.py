"""Quarantine: what was refused, kept for inspection in topic ``quarantine``, as columns, within a quota.

A source may fill a quota of items an hour; what is refused beyond that is counted for each reason in the same record,
so that a flood of nonsense neither vanishes nor fills the disk.
"""

from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from gridspine.infra.log.port import Record
from gridspine.kernel.errors import Corrupt
from gridspine.kernel.readings import ItemProblem, NamedReadings
from gridspine.kernel.time import US
from gridspine.things.adapter import Source

QUARANTINE = "quarantine"
DEFAULT_QUOTA = 100_000
"""Items of one principal that are kept in an hour; a batch that is on its way at the edge may still go over it."""
_WINDOW_US = 3600 * US
_MAX_PRINCIPALS = 10_000
_RECORD_BYTES = 400_000
_NAME_BYTES, _DETAIL_BYTES = 400, 200
_ITEM_BYTES = 64
"""What an item takes beside its texts, at most."""


class Quarantined(msgspec.Struct, frozen=True, array_like=True):
    """Refused items of one batch; the lists are columns of equal length.

    ``item`` is each one's place in what was sent. ``value`` and ``observed_us`` are None where they could not be
    read. ``detail`` says what was wrong with it. ``beyond`` counts, for each reason, items refused over the quota.
    """

    time_us: int
    source: Source
    item: list[int]
    name: list[str]
    reason: list[str]
    detail: list[str]
    observed_us: list[int | None]
    value: list[float | None]
    beyond: dict[str, int] = {}


class Quota:
    """How much each principal has put into quarantine this hour. Used by the writer's thread only."""

    def __init__(self, items: int = DEFAULT_QUOTA) -> None:
        self._items = items
        self._kept: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def left(self, principal: str, time_us: int) -> int:
        """Return how many more items of ``principal`` are kept now."""
        since_us, kept = self._kept.get(principal, (time_us, 0))
        return self._items if time_us - since_us >= _WINDOW_US else max(self._items - kept, 0)

    def spend(self, principal: str, items: int, time_us: int) -> None:
        """Count items that were kept."""
        since_us, kept = self._kept.pop(principal, (time_us, 0))
        if time_us - since_us >= _WINDOW_US:
            since_us, kept = time_us, 0
        self._kept[principal] = (since_us, kept + items)
        while len(self._kept) > _MAX_PRINCIPALS:
            self._kept.popitem(last=False)


def quarantine_records(
    named: NamedReadings,
    problems: Sequence[ItemProblem],
    source: Source,
    time_us: int,
    left: int = DEFAULT_QUOTA,
    more: Mapping[str, int] | None = None,
) -> list[Record]:
    """Return the records that keep the first ``left`` problems of a batch, each well under the log's limit.

    ``more`` counts, for each reason, refused items that are not among ``problems``.
    """
    kept, beyond = problems[:left], Counter(problem.reason for problem in problems[left:])
    beyond.update(more or {})
    names = [_cut(problem.name, _NAME_BYTES) for problem in kept]
    details = [_cut(problem.detail, _DETAIL_BYTES) for problem in kept]
    place = _places(named, kept)
    records = []
    for part in _parts([_ITEM_BYTES + 4 * (len(n) + len(d)) for n, d in zip(names, details, strict=True)]):
        rows = range(part.start, part.stop)
        body = Quarantined(
            time_us=time_us,
            source=source,
            item=[problem.index for problem in kept[part]],
            name=names[part],
            reason=[problem.reason for problem in kept[part]],
            detail=details[part],
            observed_us=[None if place[at] < 0 else int(named.observed_us[place[at]]) for at in rows],
            value=[None if place[at] < 0 else float(named.value[place[at]]) for at in rows],
            beyond=dict(beyond) if part.stop == len(kept) else {},
        )
        records.append(Record(QUARANTINE, source.organisation.encode(), msgspec.msgpack.encode(body), time_us))
    return records


def decode_quarantined(body: bytes) -> Quarantined:
    """Return the refused items of a record of topic ``quarantine``."""
    try:
        return msgspec.msgpack.decode(body, type=Quarantined)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Corrupt(f"quarantine record cannot be read: {error}") from error


def _parts(sizes: list[int]) -> list[slice]:
    """Cut items into parts of `_RECORD_BYTES` at most; one empty part where there is no item."""
    ends, size = [], 0
    for at, more in enumerate(sizes):
        if size + more > _RECORD_BYTES:
            ends.append(at)
            size = 0
        size += more
    ends.append(len(sizes))
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def _places(named: NamedReadings, problems: Sequence[ItemProblem]) -> list[int]:
    """Return where each problem's item stands in the columns, -1 where it could not be read."""
    order = np.argsort(named.item, kind="stable")
    wanted = np.array([problem.index for problem in problems], np.int64)
    if not len(order):
        return [-1] * len(wanted)
    at = order[np.minimum(np.searchsorted(named.item, wanted, sorter=order), len(order) - 1)]
    places: list[int] = np.where(named.item[at] == wanted, at, -1).tolist()
    return places


def _cut(text: str, size: int) -> str:
    """At most ``size`` bytes of text, which may come from anyone: half a character or a lone surrogate goes."""
    return text[:size].encode("utf-8", "replace")[:size].decode("utf-8", "ignore")
