"""A node in small: a real log with bound points, an archiver on it, and an oracle of what was appended."""

import datetime

import msgspec
import numpy as np
import pytest

from gridspine.infra.archive.compact import InlineCompactor
from gridspine.infra.archive.query import QueryPool
from gridspine.infra.archive.table import ReadingsTable
from gridspine.infra.archive.wire import QueryLimits
from gridspine.infra.archive.worker import Archiver
from gridspine.infra.log.port import Record, Topic
from gridspine.infra.log.sqlite import SqliteEventLog
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.codecs.batch import encode_batch
from gridspine.kernel.codecs.binding import PointBinding, encode_binding
from gridspine.kernel.readings import Channel, Readings

T0 = int(datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC).timestamp()) * 1_000_000
THING = "urn:dev:ops:32473-meter-{}"
POINTS_A_THING = 4
NAMES = ("energy", "power", "state", "voltage")
UNITS = ("Wh", "W", "code", "V")


class Node:
    """What a test needs of a node: append readings, run the archiver by hand, remember everything."""

    def __init__(self, folder, segment_bytes=1 << 20):
        self.log_folder, self.archive = folder / "log", folder / "archive"
        self.log = SqliteEventLog(self.log_folder, [Topic("readings"), Topic("points")], segment_bytes=segment_bytes)
        self.clock = VirtualClock(now_us=T0)
        self.rows = []
        self.bound = 0
        self._offset = 0

    def bind(self, things):
        for thing in range(self.bound, self.bound + things):
            binding = PointBinding(thing * POINTS_A_THING, THING.format(thing), "urn:org:a", "model", NAMES, UNITS, T0)
            self.log.append([Record("points", b"k", encode_binding(binding), T0)])
        self.bound += things

    def append(self, rows, *, received_us=T0, source="urn:source", channel=Channel.REPORTED, backfill=False):
        """Append one batch of (point number, observed µs, value, quality)."""
        numbers, observed, values, quality = zip(*rows, strict=True)
        readings = Readings(
            np.array(numbers, np.int32),
            np.array(observed, np.int64),
            np.array(values, np.float64),
            np.array(quality, np.uint16),
            (source,),
            channel,
            received_us,
            backfill,
        )
        self.log.append([Record("readings", b"k", encode_batch(readings), received_us)])
        for item, (number, at, value, bits) in enumerate(rows):
            thing = THING.format(number // POINTS_A_THING)
            name = NAMES[number % POINTS_A_THING]
            unit = UNITS[number % POINTS_A_THING]
            self.rows.append(
                (f"{thing}/{name}", thing, name, at, received_us, value, unit, bits,
                 channel.name.lower(), source, backfill, 0, self._offset, item)
            )  # fmt: skip
        self._offset += 1

    def latest(self, as_of_us=None, channel="reported"):
        """Return the rows of ``readings`` (or of another channel's table): the last revision in log order, by then."""
        found = {}
        for row in self.rows:
            if row[8] == channel and (as_of_us is None or row[4] <= as_of_us):
                found[row[0], row[3], row[8]] = row[:11]
        return sorted(found.values())

    def archiver(self, **options):
        table = ReadingsTable(self.archive, self.clock.now_us)
        return table, Archiver(table, self.log, self.clock, compactor=InlineCompactor(self.archive), **options)

    def archive_all(self, **options):
        """Bring the archive up to date, in one commit or several, and let go of it."""
        table, archiver = self.archiver(max_age_s=0.0, **options)
        while archiver.step():
            pass
        table.close()

    def pool(self, **limits):
        return QueryPool(self.archive, self.log_folder, limits=QueryLimits(**limits))


@pytest.fixture(scope="session")
def make_node():
    """Return the class: for fixtures that live longer than a test."""
    return Node


@pytest.fixture
def node(tmp_path):
    made = Node(tmp_path)
    yield made
    made.log.close()


READING_SQL = """
SELECT point, thing, property, epoch_us(observed), epoch_us(received), value, unit, quality, channel, source, backfill
FROM {} ORDER BY ALL
"""
REVISION_SQL = """
SELECT point, thing, property, epoch_us(observed), epoch_us(received), value, unit, quality, channel, source, backfill,
"partition", "offset", item FROM revisions ORDER BY ALL
"""


@pytest.fixture
def make_ask():
    """Return a function that makes an ``ask`` for a node."""
    pools = []

    def make(node):
        pool = node.pool()
        pools.append(pool)

        def ask(sql, given=None, **options):
            found = pool.run(sql, given, **options)
            return [tuple(row) for row in msgspec.json.decode(found.body)["rows"]]

        ask.readings = lambda table="readings", **options: ask(READING_SQL.format(table), **options)
        ask.revisions = lambda **options: ask(REVISION_SQL, **options)
        return ask

    yield make
    for pool in pools:
        pool.close()


@pytest.fixture
def ask(node, make_ask):
    """Return a function that runs SQL over the node's archive and log, and gives its rows as tuples."""
    return make_ask(node)
