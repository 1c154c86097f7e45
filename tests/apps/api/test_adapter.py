"""The trace of an adapter's wire: for operators of the node's own organisation, for a time, without secrets."""

import asyncio

import pytest
import pytest_asyncio
from running_node import World, settings_for

from gridspine.apps.cli import adapter as cli
from gridspine.infra.runtime.settings import Adapters

pytestmark = pytest.mark.asyncio(loop_scope="module")
PATH = "/adapters/modbus/trace"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory):
    made = await World.start(tmp_path_factory.mktemp("trace") / "data", settings_for(adapters=Adapters(["modbus"])))
    yield made
    await made.stop()


async def test_an_operator_sees_what_is_said_while_the_trace_is_on(world):
    wire = world.node.adapters.wire_trace("modbus")
    wire("out", b"\x00\x01", peer="before")
    on = (await world.op.post(PATH, json={"forS": 60, "peer": "meter"})).json()
    assert (on["adapter"], on["on"], on["lines"]) == ("modbus", True, [])
    assert 0 < on["leftS"] <= 60
    wire("out", b"\x00\x01\xff", peer="meter-1")
    wire("in", '{"password": "hunter2", "n": 1}', peer="meter-1")
    wire("in", "not asked for", peer="other")
    found = (await world.op.get(PATH)).json()
    assert [(one["direction"], one["peer"], one["text"]) for one in found["lines"]] == [
        ("out", "meter-1", "00 01 ff"), ("in", "meter-1", '{"password": "(hidden)", "n": 1}'),
    ]  # fmt: skip
    assert len((await world.op.get(PATH, params={"after": found["lines"][0]["number"]})).json()["lines"]) == 1
    assert (await world.op.delete(PATH)).status_code == 204
    wire("in", "after", peer="meter-1")
    off = (await world.op.get(PATH)).json()
    assert (off["on"], off["leftS"], off["lines"]) == (False, 0, [])


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_nobody_else_may(world, method):
    others = [
        world.client("northside-networks", "administrator", "owner", "auditor")[1],
        world.client("northside-networks", "operator", kind="device")[1],
        world.client("brightfield", "operator", "administrator")[1],
    ]
    for http in others:
        for path in (PATH, "/adapters/none/trace"):
            answer = await http.request(method, path, json={} if method == "POST" else None)
            assert answer.status_code == 403, answer.text


@pytest.mark.parametrize("body", [{"forS": 0}, {"forS": 1e9}, {"peer": "x" * 201}, {"for": 1}, []])
async def test_a_wish_that_cannot_be_is_told(world, body):
    assert (await world.op.post(PATH, json=body)).status_code == 400


async def test_an_adapter_that_does_not_run_is_told(world):
    answer = await world.op.post("/adapters/mqtt/trace", json={})
    assert answer.status_code == 404
    assert "adapters.allow names modbus" in answer.json()["detail"]


async def test_the_command_line_prints_it(world, capsys, monkeypatch):
    monkeypatch.setattr(cli, "_LOOK_S", 0.05)
    wire = world.node.adapters.wire_trace("modbus")

    async def talk():
        while not wire.on:
            await asyncio.sleep(0.01)
        wire("in", "two\nlines \x1b[31m", peer="meter-1")

    talking = asyncio.ensure_future(talk())
    looking = asyncio.ensure_future(cli._look_for(world.op, PATH, 0.5, ""))
    await asyncio.gather(talking, looking)
    out = capsys.readouterr().out
    assert "meter-1 < two\n    lines \\x1b[31m\n" in out
    assert not wire.on
