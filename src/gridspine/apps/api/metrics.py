"""``GET /metrics``: the node's figures for Prometheus, read when it asks; nothing is counted twice on the hot path.

Names say their unit; ``_total`` counts since the start. What is timed is timed once a batch or commit.
"""

import platform
from collections.abc import Iterator
from shutil import disk_usage
from typing import Any

from litestar import Request, Response, get
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from gridspine import __version__
from gridspine.apps.api.dependency import TheNode
from gridspine.apps.node.checks import certificates
from gridspine.apps.node.condition import SEVERITY
from gridspine.apps.node.node import Node
from gridspine.apps.node.quotas import NAMES
from gridspine.infra.archive.published import read_published
from gridspine.infra.log.topics import READINGS
from gridspine.infra.log.writer import LIMITS, Priority
from gridspine.kernel.time import US

_Values = list[tuple[tuple[str, ...], float]]


@get("/metrics", summary="Metrics for Prometheus", tags=["node"], media_type="text/plain")
async def metrics(request: Request[Any, Any, Any], node: TheNode) -> Response[bytes]:
    """Return the node's metrics in Prometheus text format."""
    node.authority.on_node(request.user, "metrics.read")
    return Response(exposition(node), media_type=CONTENT_TYPE_LATEST)


def exposition(node: Node) -> bytes:
    """Return all metrics of ``node`` as Prometheus reads them."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(node))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


class _Collector:
    def __init__(self, node: Node) -> None:
        self._node = node

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families."""
        yield from _readings(self._node)
        yield from _log(self._node)
        yield from _health(self._node)
        yield from _standing(self._node)
        yield from _agents(self._node)


def _gauge(name: str, text: str, labels: tuple[str, ...], values: _Values) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for label, value in values:
        family.add_metric(label, value)
    return family


def _counter(name: str, text: str, labels: tuple[str, ...], values: _Values) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=labels)
    for label, value in values:
        family.add_metric(label, value)
    return family


def _readings(node: Node) -> Iterator[Metric]:
    totals = node.intake.books.totals
    verdicts: _Values = [((verdict,), getattr(totals, verdict)) for verdict in totals.__slots__]
    yield _counter("gridspine_readings", "Readings by what became of them", ("verdict",), verdicts)
    yield _counter("gridspine_stored_readings", "Readings the log took", (), [((), node.stored)])
    yield _counter("gridspine_delivered_readings", "Readings handed to subscribers", (), [((), node.hub.delivered)])
    waiting: _Values = [((one.name.lower(),), node.writer.waiting(one)) for one in Priority]
    yield _gauge("gridspine_writer_waiting", "Readings and records that wait for the writer", ("priority",), waiting)
    limits: _Values = [((one.name.lower(),), LIMITS[one]) for one in Priority]
    yield _gauge("gridspine_writer_limit", "Readings and records that may wait at most", ("priority",), limits)
    submit = HistogramMetricFamily(
        "gridspine_submit_seconds", "From a batch's submission until it was durable", labels=["door"]
    )
    for door, histogram in sorted(node.meter.submit.items()):
        submit.add_metric([door], histogram.cumulative(), histogram.sum)
    yield submit


def _log(node: Node) -> Iterator[Metric]:
    commit = HistogramMetricFamily("gridspine_commit_seconds", "One group commit of the log")
    commit.add_metric([], node.meter.commit.cumulative(), node.meter.commit.sum)
    yield commit
    bounds = list(enumerate(node.log.bounds(READINGS)))
    yield _gauge("gridspine_log_first_offset", "Oldest offset kept of topic readings", ("partition",),
                 [((str(partition),), first) for partition, (first, _) in bounds])  # fmt: skip
    yield _gauge("gridspine_log_next_offset", "Next offset of topic readings", ("partition",),
                 [((str(partition),), following) for partition, (_, following) in bounds])  # fmt: skip
    published = read_published(node.paths.archive)
    archived: _Values = [((str(partition),), following) for partition, following in sorted(published.offsets.items())]
    yield _gauge("gridspine_archive_next_offset", "Next offset to archive", ("partition",), archived)
    yield _gauge("gridspine_archive_written_timestamp_seconds", "When the archive wrote last; 0: never", (),
                 [((), published.time_us / US)])  # fmt: skip


def _health(node: Node) -> Iterator[Metric]:
    parts: _Values = [((one.finding.part,), SEVERITY[one.finding.state]) for one in node.conditions.all]
    yield _gauge("gridspine_part_state", "How a part does: 0 ok, 1 warn, 2 fail", ("part",), parts)
    tasks = node.supervisor.states()
    yield _gauge("gridspine_task_failures", "Failures in a row of each task", ("task",),
                 [((task.name,), task.failures) for task in tasks])  # fmt: skip
    yield _counter("gridspine_task_restarts", "Restarts of each task", ("task",),
                   [((task.name,), task.restarts) for task in tasks])  # fmt: skip
    met: _Values = [((quota,), node.quotas.refused[quota]) for quota in NAMES]  # a rate needs the zeros as well
    yield _counter("gridspine_quota_refusals", "Requests refused for a quota", ("quota",), met)
    yield _counter("gridspine_limit_refusals", "Requests answered by 429 for their rate or for failures before them",
                   ("limit",), _limited(node))  # fmt: skip
    disk = disk_usage(node.paths.root)
    yield _gauge("gridspine_disk_free_bytes", "Room left where the data is", (), [((), disk.free)])
    yield _gauge("gridspine_disk_size_bytes", "Size of the disk the data is on", (), [((), disk.total)])
    yield _gauge(
        "gridspine_disk_full", "1 while readings are refused for want of room", (), [((), int(node.room.full))]
    )
    yield _gauge("gridspine_clock_step_seconds", "The last step of the wall clock that was noticed", (),
                 [((), node.clock_watch.step_us / US)])  # fmt: skip
    ends: _Values = [((name,), ends_us / US) for name, ends_us in certificates(node.paths.keys).items()]
    text = "When the node's own certificates end"
    yield _gauge("gridspine_certificate_end_timestamp_seconds", text, ("certificate",), ends)
    yield _gauge("gridspine_build_info", "Always 1", ("version", "python"),
                 [((__version__, platform.python_version()), 1)])  # fmt: skip


def _limited(node: Node) -> _Values:
    """Return refusals by limit: a principal's rate of requests, failed proofs and failed sign-ins of an address."""
    identity = node.identity
    return [
        (("rate",), identity.rate.refused),
        (("failures",), identity.failures.refused),
        (("sign-in",), identity.users.addresses.refused),
    ]


def _standing(node: Node) -> Iterator[Metric]:
    gauges = (
        ("gridspine_things", "Things registered", node.points.thing_count),
        ("gridspine_points", "Points numbered", len(node.points)),
        ("gridspine_streams", "Live streams open", node.hub.subscriptions),
        ("gridspine_ledger_leaves", "Leaves of the ledger", node.ledger.size),
        ("gridspine_quarantined_sources", "Sources in quarantine", len(node.offences.quarantined_principals())),
        ("gridspine_active_alarms", "Alarms whose condition lasts", len(node.alarms.table.alarms(active=True))),
        ("gridspine_stopped", "1 while all set-points are stopped", int(node.commands.commander.stopped is not None)),
    )
    for name, text, value in gauges:
        yield _gauge(name, text, (), [((), value)])


def _agents(node: Node) -> Iterator[Metric]:
    """Yield how behaviours do since their version was let out, and how many twins are emulated."""
    health = sorted(node.agents.watch.health.items())
    yield _counter("gridspine_agent_calls", "Calls of a behaviour's functions", ("behaviour",),
                   [((name,), one.calls) for name, one in health])  # fmt: skip
    yield _counter("gridspine_agent_faults", "Calls that ended in a fault", ("behaviour",),
                   [((name,), one.faults) for name, one in health])  # fmt: skip
    emulated = sum(form.form == "emulator" for form in node.forms.forms)
    yield _gauge("gridspine_emulated_twins", "Twins in emulator form", (), [((), emulated)])
    yield _gauge("gridspine_agents_waiting", "Agents awake that wait to be run", (), [((), node.agents.waiting)])
