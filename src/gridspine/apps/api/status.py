"""Health, readiness, status and metrics."""

from shutil import disk_usage
from typing import Any

import msgspec
from litestar import Request, Response, get
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from gridspine import __version__
from gridspine.apps.api.authenticate import PUBLIC
from gridspine.apps.api.dependency import TheNode
from gridspine.apps.node.node import Node
from gridspine.infra.archive.published import read_published
from gridspine.infra.log.writer import Priority
from gridspine.kernel.time import format_rfc3339
from gridspine.things.intake import READINGS


class TaskView(msgspec.Struct, frozen=True):
    """How one of the node's tasks is doing."""

    name: str
    running: bool
    failures: int
    error: str


class StatusView(msgspec.Struct, frozen=True, rename="camel"):
    """What the node is and how it is doing; ``wrong`` lists in words what needs somebody."""

    version: str
    organisation: str
    time: str
    demo: bool
    things: int
    points: int
    readings: dict[str, int]
    stored: int
    delivered: int
    streams: int
    disk_full: bool
    tasks: list[TaskView]
    listening: dict[str, str]
    quarantined: list[str]
    wrong: list[str]


@get("/health", opt=PUBLIC, summary="Is the process alive?", tags=["node"])
async def health() -> dict[str, str]:
    """Answer as long as the process does."""
    return {"status": "up"}


@get("/ready", opt=PUBLIC, summary="Does the node take readings?", tags=["node"])
async def ready(node: TheNode) -> Response[dict[str, str]]:
    """Answer 200 when readings are taken, 503 when not."""
    if node.room.full:
        return Response({"status": "disk full"}, status_code=503)
    return Response({"status": "ready"})


@get("/status", summary="What the node is doing, and what is wrong", tags=["node"])
async def status(request: Request[Any, Any, Any], node: TheNode) -> StatusView:
    """Return the node's status; for those who may watch it."""
    node.authority.on_node(request.user, "status.read")
    return status_view(node)


@get("/metrics", summary="Metrics for Prometheus", tags=["node"], media_type="text/plain")
async def metrics(request: Request[Any, Any, Any], node: TheNode) -> Response[bytes]:
    """Return the node's metrics in Prometheus text format."""
    node.authority.on_node(request.user, "metrics.read")
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(node))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def status_view(node: Node) -> StatusView:
    """Return the node's status."""
    tasks = [TaskView(t.name, t.running, t.failures, t.error) for t in node.supervisor.states()]
    wrong = [f"task {t.name} failed {t.failures} times: {t.error}" for t in tasks if t.failures]
    if node.room.full:
        wrong.append("the disk is nearly full: readings are refused until some room is freed")
    quarantined = sorted(node.offences.quarantined_principals())
    wrong += [f"{principal} is quarantined: look at what it sent, then release it" for principal in quarantined]
    totals = node.intake.totals
    return StatusView(
        version=__version__,
        organisation=node.organisation,
        time=format_rfc3339(node.clock.now_us()),
        demo=node.settings.demo,
        things=node.points.thing_count,
        points=len(node.points),
        readings={name: getattr(totals, name) for name in totals.__slots__},
        stored=node.stored,
        delivered=node.hub.delivered,
        streams=node.hub.subscriptions,
        disk_full=node.room.full,
        tasks=tasks,
        listening={name: f"{host}:{port}" for name, (host, port) in node.adapters.listening.items()},
        quarantined=quarantined,
        wrong=wrong,
    )


class _Collector:
    """Reads the node's figures when Prometheus asks; nothing is counted twice on the hot path."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def collect(self) -> list[Metric]:
        """Return the metric families."""
        node = self._node
        readings = CounterMetricFamily("gridspine_readings", "Readings by what became of them", labels=["verdict"])
        for verdict in node.intake.totals.__slots__:
            readings.add_metric([verdict], getattr(node.intake.totals, verdict))
        waiting = GaugeMetricFamily("gridspine_writer_waiting", "Weight waiting for the writer", labels=["priority"])
        for priority in Priority:
            waiting.add_metric([priority.name.lower()], node.writer.waiting(priority))
        delivered = CounterMetricFamily("gridspine_delivered_readings", "Readings handed to subscribers")
        delivered.add_metric([], node.hub.delivered)
        log_size = GaugeMetricFamily("gridspine_log_next_offset", "Next offset of topic readings", labels=["partition"])
        for partition, (_, following) in enumerate(node.log.bounds(READINGS)):
            log_size.add_metric([str(partition)], following)
        gauges = [
            ("gridspine_things", "Things registered", node.points.thing_count),
            ("gridspine_points", "Points numbered", len(node.points)),
            ("gridspine_streams", "Live streams open", node.hub.subscriptions),
            ("gridspine_disk_full", "1 while readings are refused for want of room", int(node.room.full)),
            ("gridspine_ledger_leaves", "Leaves of the ledger", node.ledger.size),
            ("gridspine_quarantined", "Sources in quarantine", len(node.offences.quarantined_principals())),
            ("gridspine_alarms", "Alarms whose condition lasts", len(node.alarms.table.alarms(active=True))),
            ("gridspine_disk_free_bytes", "Room left where the data is", disk_usage(node.paths.root).free),
        ]
        failing = GaugeMetricFamily("gridspine_task_failures", "Failures in a row of each task", labels=["task"])
        for task in node.supervisor.states():
            failing.add_metric([task.name], task.failures)
        archived = GaugeMetricFamily(
            "gridspine_archive_next_offset", "Next offset of topic readings to archive", labels=["partition"]
        )
        for partition, following in sorted(read_published(node.paths.archive).offsets.items()):
            archived.add_metric([str(partition)], following)
        families: list[Metric] = [readings, waiting, delivered, log_size, failing, archived]
        for name, text, value in gauges:
            families.append(GaugeMetricFamily(name, text, value=value))
        return families
