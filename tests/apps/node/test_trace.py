"""The whole journey of a batch and of a command as spans, in the trace their sender began; and nothing when off."""

import asyncio
import contextlib
import io
import json
import sys
import time

import msgspec
import pytest
import structlog
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gridspine.apps.node.engines import Engines
from gridspine.apps.node.run import start
from gridspine.infra.runtime.logs import configure_logs
from gridspine.infra.runtime.otel import OtelTrace
from gridspine.infra.runtime.settings import Adapters, Settings, Tracing
from gridspine.infra.runtime.trace import NO_TRACE, parse_traceparent
from gridspine.kernel.codecs.senml import decode_senml_json
from gridspine.kernel.errors import Invalid
from gridspine.things.steps import steps_of

running_node = sys.modules["running_node"]
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SENT = f"00-{TRACE}-{SPAN}-01"
UNSAMPLED = f"00-{TRACE}-{SPAN}-00"


class Echo:
    """An adapter whose devices take every order at once; it can hand in readings, too."""

    name = "echo"

    def __init__(self):
        self.orders, self.context = [], None

    async def run(self, context):
        self.context = context
        async for order in context.orders():
            self.orders.append(order)
            if order.value is not None:
                await context.progress(order.command, "acknowledged")


@contextlib.asynccontextmanager
async def traced(folder, sample=0.0):
    """A world with its exporter and its adapter; only what a sender traces is sampled, unless asked otherwise."""
    exporter, echo = InMemorySpanExporter(), Echo()
    trace = OtelTrace(SimpleSpanProcessor(exporter), organisation="n", sample=sample)
    settings = running_node.settings_for(adapters=Adapters(allow=["echo"]))
    engines = Engines(adapters={"echo": lambda: echo}, trace=lambda _: trace)
    world = running_node.World(await start(settings, folder, engines=engines), folder)
    try:
        yield world, exporter, echo
    finally:
        await world.stop()


def tree(spans):
    """Return the spans as nested names, children in the order they began."""
    ids = {span.context.span_id for span in spans}
    below = {}
    for span in sorted(spans, key=lambda one: one.start_time):
        parent = span.parent.span_id if span.parent else 0
        below.setdefault(parent if parent in ids else 0, []).append(span)

    def named(parent):
        return [(span.name, named(span.context.span_id)) for span in below.get(parent, [])]

    return named(0)


async def test_the_journey_of_a_batch(tmp_path):
    async with traced(tmp_path / "data") as (world, exporter, _):
        thing = await world.thing()
        body = [{"n": f"{thing}/activeEnergyImport", "v": at, "t": 1_700_000_000 + at} for at in range(50)]
        headers = running_node.SENML | {"traceparent": SENT}
        answer = await world.op.post("/readings", json=body, headers=headers)
        spans = exporter.get_finished_spans()
    steps = ["names", "screen", "commit", "twin", "handover", "delivery"]
    assert tree(spans) == [("http POST", [(name, []) for name in steps])], "once a batch, whatever it holds"
    (root,) = (span for span in spans if span.name == "http POST")
    assert f"{root.parent.span_id:016x}" == SPAN
    assert {f"{span.context.trace_id:032x}" for span in spans} == {TRACE}
    assert answer.headers["traceparent"] == f"00-{TRACE}-{root.context.span_id:016x}-01"
    assert all(span.end_time >= span.start_time for span in spans)
    assert next(span for span in spans if span.name == "screen").attributes["gridspine.readings"] == 50


async def test_batches_that_are_screened_together_have_each_their_own_steps(tmp_path):
    async with traced(tmp_path / "data", sample=1.0) as (world, exporter, _):
        thing = await world.thing()
        exporter.clear()
        send = [world.send(f"{thing}/activeEnergyImport", [at], begin_s=1_700_000_000 + at) for at in range(20)]
        await asyncio.gather(*send)
        spans = exporter.get_finished_spans()
    roots = tree(spans)
    assert len(roots) == 20
    assert all([name for name, _ in below].count("commit") == 1 for _, below in roots)


async def test_the_journey_of_a_command(tmp_path):
    async with traced(tmp_path / "data") as (world, exporter, echo):
        thing = await world.thing("urn:example:b1", running_node.BATTERY, adapter="echo", connection={})
        command = {"thing": thing, "point": "activePowerSetpoint", "value": 2000, "durationS": 600}
        answer = await world.op.post("/commands", json=command, headers={"traceparent": SENT})
        id_ = answer.json()["id"]
        await running_node.until(lambda: world.node.commands.commander.command(id_).state == "acknowledged")
        await world.op.post(
            "/readings", json=[{"n": f"{thing}/activePower", "v": 2000, "t": time.time()}], headers=running_node.SENML
        )
        await running_node.until(lambda: world.node.commands.commander.command(id_).state == "applied")
        await running_node.until(lambda: any(span.name == "confirmed" for span in exporter.get_finished_spans()))
        spans = exporter.get_finished_spans()
    assert {f"{span.context.trace_id:032x}" for span in spans} == {TRACE}
    ((name, below),) = tree(spans)
    assert name == "http POST"
    # The order is made durable by the request, or by the node's own tick where that comes first: "log" once or twice.
    assert list(dict.fromkeys(step for step, _ in below)) == ["policy", "log", "order", "acknowledged", "confirmed"]
    assert dict(below[-2:]) == {"acknowledged": [("log", [])], "confirmed": [("log", [])]}
    root = next(span for span in spans if span.name == "http POST")
    assert [order.traceparent for order in echo.orders] == [f"00-{TRACE}-{root.context.span_id:016x}-01"]
    assert answer.headers["traceparent"] == echo.orders[0].traceparent


async def test_what_an_adapter_hands_in_is_traced_too(tmp_path):
    async with traced(tmp_path / "data", sample=1.0) as (world, exporter, echo):
        thing = await world.thing("urn:example:b1", running_node.BATTERY, adapter="echo", connection={})
        await running_node.until(lambda: echo.context is not None)
        exporter.clear()
        readings = named(f"{thing}/stateOfCharge")
        await echo.context.intake(readings, echo.context.source_of(thing))
        ((name, below),) = tree(exporter.get_finished_spans())
    assert name == "echo readings"
    assert [step for step, _ in below] == ["names", "screen", "commit", "twin", "handover", "delivery"]


async def test_what_nobody_samples_leaves_no_span(tmp_path):
    async with traced(tmp_path / "data") as (world, exporter, echo):
        thing = await world.thing("urn:example:b1", running_node.BATTERY, adapter="echo", connection={})
        for headers in ({}, {"traceparent": UNSAMPLED}):
            body = [{"n": f"{thing}/stateOfCharge", "v": 50, "t": time.time()}]
            answer = await world.op.post("/readings", json=body, headers=running_node.SENML | headers)
            assert answer.json()["received"] == 1
        command = {"thing": thing, "point": "activePowerSetpoint", "value": 2000, "durationS": 600}
        await world.op.post("/commands", json=command)
        await running_node.until(lambda: bool(echo.orders))
        assert exporter.get_finished_spans() == ()
        assert echo.orders[0].traceparent == ""
        assert answer.headers["traceparent"].startswith(f"00-{TRACE}-")


async def test_off_costs_no_span_and_still_names_the_request(world):
    assert world.node.trace is NO_TRACE
    assert steps_of(NO_TRACE, [object()]) is None
    thing = await world.thing()
    body = [{"n": f"{thing}/activeEnergyImport", "v": 1}]
    answer = await world.op.post("/readings", json=body, headers=running_node.SENML | {"traceparent": SENT})
    assert answer.headers["traceparent"] == SENT
    assert "traceparent" not in (await world.op.post("/readings", json=body, headers=running_node.SENML)).headers


async def test_reads_of_points_are_traced_like_any_request(tmp_path):
    async with traced(tmp_path / "data") as (world, exporter, _):
        path = f"/things/{await world.thing()}/properties"
        exporter.clear()
        answer = await world.op.get(path, headers={"traceparent": SENT})
        assert TRACE in answer.headers["traceparent"]
        assert "traceparent" in (await world.op.get(path)).headers
        (span,) = exporter.get_finished_spans()
        assert span.name == "http GET"
    async with running_node.running(tmp_path / "off") as world:
        path = f"/things/{await world.thing()}/properties"
        answer = await world.op.get(path, headers={"traceparent": SENT})
        assert answer.headers["traceparent"] == SENT


async def test_what_fails_in_a_read_of_points_names_its_request(world, monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    before = structlog.get_config()
    configure_logs("info", as_json=True)
    try:

        def fail(*_, **__):
            raise RuntimeError("planted")

        thing = await world.thing()
        monkeypatch.setattr(world.node.twins, "get", fail)
        for _ in range(2):
            assert (await world.op.get(f"/things/{thing}/properties")).status_code == 500
    finally:
        structlog.configure(**before)
    lines = [json.loads(line) for line in out.getvalue().splitlines() if "planted" in line]
    assert len({line["trace_id"] for line in lines}) == 2


async def test_log_lines_of_a_request_carry_its_trace(world, monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    before = structlog.get_config()
    configure_logs("info", as_json=True)
    try:

        def fail(*_, **__):
            raise RuntimeError("planted")

        monkeypatch.setattr(world.node.access, "products", fail, raising=False)
        monkeypatch.setattr(world.node.commands.commander, "commands", fail)
        thing = await world.thing()
        answer = await world.op.get("/commands", params={"thing": thing}, headers={"traceparent": SENT})
        assert answer.status_code == 500
    finally:
        structlog.configure(**before)
    lines = [json.loads(line) for line in out.getvalue().splitlines() if line.startswith("{")]
    assert [line["trace_id"] for line in lines if "planted" in json.dumps(line)] == [TRACE]


@pytest.mark.parametrize(
    "text", ["", "x", f"01-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01",
             f"00-{TRACE.upper()}-{SPAN}-01", f"{SENT}-more", f"{SENT}\n"],
)  # fmt: skip
def test_what_is_no_traceparent(text):
    assert parse_traceparent(text) is None


def test_a_traceparent():
    assert parse_traceparent(SENT) == (TRACE, SPAN, True)
    assert parse_traceparent(UNSAMPLED) == (TRACE, SPAN, False)


def test_without_the_extra_the_settings_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gridspine.infra.runtime.otel", None)
    assert Engines().trace(Settings()) is NO_TRACE
    with pytest.raises(Invalid, match=r"gridspine\[otel\]"):
        Engines().trace(msgspec.structs.replace(Settings(), tracing=Tracing(enabled=True)))


def named(point):
    """One reading of ``point``, as an adapter hands it in."""
    body = json.dumps([{"n": point, "v": 50, "t": time.time()}]).encode()
    return decode_senml_json(body, now_us=int(time.time() * 1e6), max_items=10)
