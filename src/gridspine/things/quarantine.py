"""Quarantine: what was refused, kept for inspection in topic ``quarantine``, as columns."""

from collections.abc import Sequence

import msgspec

from gridspine.infra.log.port import Record
from gridspine.kernel.errors import Corrupt
from gridspine.kernel.readings import ItemProblem, NamedReadings
from gridspine.things.adapter import Source

QUARANTINE = "quarantine"
_ITEMS_A_RECORD = 2_000
_NAME_LENGTH = 400


class Quarantined(msgspec.Struct, frozen=True, array_like=True):
    """Refused items of one batch; the lists are columns of equal length.

    ``item`` is each one's place in what was sent. ``value`` and ``observed_us`` are None where they could not be
    read. ``detail`` says what was wrong with it.
    """

    time_us: int
    source: Source
    item: list[int]
    name: list[str]
    reason: list[str]
    detail: list[str]
    observed_us: list[int | None]
    value: list[float | None]


def quarantine_records(
    named: NamedReadings, problems: Sequence[ItemProblem], source: Source, time_us: int
) -> list[Record]:
    """Return the records that keep ``problems`` of a batch, each well under the log's limit."""
    place = {int(item): at for at, item in enumerate(named.item)} if problems else {}
    records = []
    for start in range(0, len(problems), _ITEMS_A_RECORD):
        part = problems[start : start + _ITEMS_A_RECORD]
        at = [place.get(problem.index) for problem in part]
        body = Quarantined(
            time_us=time_us,
            source=source,
            item=[problem.index for problem in part],
            name=[problem.name[:_NAME_LENGTH] for problem in part],
            reason=[problem.reason for problem in part],
            detail=[problem.detail[:200] for problem in part],
            observed_us=[None if p is None else int(named.observed_us[p]) for p in at],
            value=[None if p is None else float(named.value[p]) for p in at],
        )
        records.append(Record(QUARANTINE, source.organisation.encode(), msgspec.msgpack.encode(body), time_us))
    return records


def decode_quarantined(body: bytes) -> Quarantined:
    """Return the refused items of a record of topic ``quarantine``."""
    try:
        return msgspec.msgpack.decode(body, type=Quarantined)
    except msgspec.MsgspecError as error:
        raise Corrupt(f"quarantine record cannot be read: {error}") from error
