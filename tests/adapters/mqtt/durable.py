"""A node to be killed: the real intake and log behind the adapter, in a process of its own.

``python durable.py FOLDER '{"mode": …}' [PORT]`` prints a line of JSON when devices can be heard, and one for each line
it gets: the adapter's counters and the intake's totals.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

try:
    from adapter_node import FakeNode
except ImportError:  # run as a script
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from node import FakeNode

from gridspine.adapters.mqtt import MqttAdapter
from gridspine.infra.log.port import Topic
from gridspine.infra.log.scan import scan
from gridspine.infra.log.sqlite import SqliteEventLog
from gridspine.infra.log.writer import LogWriter
from gridspine.kernel.codecs.batch import decode_batch
from gridspine.kernel.codecs.binding import PointBinding
from gridspine.kernel.readings import NamedReadings
from gridspine.things.adapter import Binding, Outcome, Source
from gridspine.things.intake import Intake
from gridspine.things.model import parse_model
from gridspine.things.offence import Offences
from gridspine.things.point import PointTable
from gridspine.things.screen import Screen
from gridspine.things.twin import TwinState

THING, USERNAME, PASSWORD = "urn:dev:ops:32473-meter-2", "meter-two", "correct horse"
NODE_PASSWORD = "of the node"
TOPICS = [Topic(name) for name in ("readings", "held", "quarantine", "events")]
MODEL = {
    "@type": "tm:ThingModel", "id": "urn:example:meter", "title": "Meter", "version": {"model": "1"},
    "properties": {"power": {"gs:readingType": {"unit": "W"}}},
}  # fmt: skip


class DurableNode(FakeNode):
    """A `FakeNode` whose intake is the node's own."""

    def __init__(self, folder: Path, settings: dict[str, Any], port: int) -> None:
        things = [Binding(THING, "Meter", "org", str(MODEL["id"]), {"username": USERNAME})]
        super().__init__(things, settings=settings, secrets={"password": NODE_PASSWORD}, port=port)
        self.add_user(THING, PASSWORD, THING, username=USERNAME)
        self.log = SqliteEventLog(folder / "log", TOPICS)
        self.writer = LogWriter(self.log, asyncio.get_running_loop())
        points = PointTable()
        points.add_model(parse_model(MODEL))
        points.bind(PointBinding(0, THING, "org", str(MODEL["id"]), ("power",), ("W",), 0))
        twins = TwinState()
        twins.grow(1)
        self.highest = -1.0
        self.real = Intake(points, Screen(points), twins, self.writer, Offences(self.clock), self.clock)

    async def intake(self, readings: NamedReadings, source: Source, **options: Any) -> Outcome:
        outcome = await self.real.submit(readings, source, **options)
        self.highest = max(self.highest, float(readings.value.max(initial=-1.0)))
        return outcome


async def main(folder: Path, settings: dict[str, Any], port: int) -> None:
    node = DurableNode(folder, settings, port)
    adapter = MqttAdapter()
    async with node.running(adapter):
        await node.until(lambda: adapter.ready)
        tell(node, adapter)
        while await asyncio.to_thread(sys.stdin.readline):
            tell(node, adapter)
    node.writer.close()
    node.log.close()


def tell(node: DurableNode, adapter: MqttAdapter) -> None:
    assert adapter.counters is not None
    totals = node.real.books.totals
    words = {"port": node.address.get("mqtt", ("", 0))[1], "received": totals.received, "accepted": totals.accepted}
    words |= {"highest": node.highest}
    print(json.dumps(words | {"duplicate": totals.duplicate, "messages": adapter.counters.totals()}), flush=True)


def kept(folder: Path) -> list[float]:
    """Return the values that the log of a dead node has, in order."""
    log = SqliteEventLog(folder / "log", TOPICS)
    try:
        return [
            value
            for partition, (first, end) in enumerate(log.bounds("readings"))
            for record in scan(log, "readings", partition, first, end)
            for value in decode_batch(record.body).value.tolist()
        ]
    finally:
        log.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0))
