"""Devices of no standard: read and commanded by the registers of a description, over a real Modbus TCP server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from adapter_node import DictStore, FakeNode
from modbus_bench import THING, relaying
from modbus_bench import order as new_order
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from gridspine.adapters.modbus import adapter
from gridspine.infra.runtime.clock import SystemClock
from gridspine.kernel.errors import Invalid
from gridspine.things.adapter import Binding, ReadRequest

SETTINGS = {"maxBackoffS": 0.2, "allow": ["127.0.0.0/8"]}
HOLDING = {"entity": "holding", "type": "int16"}


@dataclass
class Plc:
    """A Modbus server: ``holding`` and ``input`` registers, ``coil`` and ``discrete`` bits, 32 of each.

    ``refused`` are addresses that it does not have, by function; ``stuck`` are holding registers that keep what they
    have whatever is written.
    """

    holding: list[int] = field(default_factory=lambda: [0] * 32)
    input: list[int] = field(default_factory=lambda: [0] * 32)
    coil: list[int] = field(default_factory=lambda: [0] * 32)
    discrete: list[int] = field(default_factory=lambda: [0] * 32)
    refused: set[tuple[int, int]] = field(default_factory=set)
    stuck: set[int] = field(default_factory=set)
    writes: list[tuple[int, int, list[int]]] = field(default_factory=list)
    port: int = 0

    async def access(
        self, function: int, start: int, address: int, count: int, registers: list[int], values: Any
    ) -> ExcCodes | None:
        if any((function, at) in self.refused for at in range(address, address + count)):
            return ExcCodes.ILLEGAL_ADDRESS
        kind = {1: "coil", 5: "coil", 15: "coil", 2: "discrete", 4: "input"}.get(function, "holding")
        own: list[int] = getattr(self, kind)
        if values:
            self.writes.append((function, address, [int(value) for value in values]))
            for at, value in enumerate(values, address):
                if at not in self.stuck:
                    own[at] = int(value)
            values[:] = [type(value)(own[at]) for at, value in enumerate(values, address)]
        if kind in {"holding", "input"}:
            registers[: len(own)] = own
        else:
            for word in range(2):
                registers[word] = sum(bit << at for at, bit in enumerate(own[16 * word : 16 * word + 16]))
        return None


@contextlib.asynccontextmanager
async def plc() -> AsyncIterator[Plc]:
    made = Plc()
    words = [SimData(0, values=[0] * 32, datatype=DataType.REGISTERS)]
    bits = [SimData(0, values=[False] * 32, datatype=DataType.BITS)]
    device = SimDevice(id=7, simdata=(bits, bits, words, words), action=made.access)
    server = ModbusTcpServer(device, address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    made.port = server.transport.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    try:
        yield made
    finally:
        await server.shutdown()


def binding(port: int, registers: dict[str, Any], **more: Any) -> Binding:
    where = {"host": "127.0.0.1", "port": port, "unit": 7, "intervalS": 0.1, "timeoutS": 1.0}
    return Binding(THING, "t", "org", "m", where | more | {"registers": registers})


def at(address: int, entity: str = "holding", kind: str = "int16", **more: Any) -> dict[str, Any]:
    return {"read": {"entity": entity, "address": address, "type": kind, **more}}


def commanded(address: int = 0, **more: Any) -> dict[str, Any]:
    place = {"entity": "holding", "address": address, "type": "int16", "single": True}
    return {"read": place, "write": place, "held": True, "unit": "W", **more}


def order(value: float | None, seconds: float = 600.0, **more: Any) -> Any:
    return new_order(SystemClock().now_us(), "set", value, seconds, **more)


def states(node: FakeNode) -> list[str]:
    return [state for _, state, _ in node.progressed]


def value(node: FakeNode, name: str) -> float | None:
    return next((one.value for one in reversed(node.stored) if one.point == f"{THING}/{name}"), None)


async def test_each_kind_of_register_is_read_and_neighbours_together() -> None:
    async with plc() as device, relaying({7: device.port}) as relay:
        device.holding[0:5] = [0xFFFF, 0x0001, 0x86A0, 0x4048, 0xF5C3]
        device.input[3], device.discrete[2], device.coil[9] = 2301, 1, 1
        registers = {
            "a": at(0), "b": at(1, kind="uint32") | {"unit": "Wh"}, "c": at(3, kind="float32"),
            "v": at(3, "input", "uint16", factor=0.1) | {"unit": "V"}, "door": at(2, "discrete", "bit"),
            "on": at(9, "coil", "bit"), "off": at(10, "coil", "bit"),
        }  # fmt: skip
        node = FakeNode([binding(relay.port, registers)], settings=SETTINGS)
        async with node.running(adapter()):
            await node.until(lambda: len({one.point for one in node.stored}) == 7)
        found = {one.point.partition("/")[2]: (one.value, one.unit) for one in node.stored}
        assert found["c"][0] == pytest.approx(3.14)
        assert {name: one for name, one in found.items() if name != "c"} == {
            "a": (-1.0, ""), "b": (100_000.0, "Wh"), "v": (230.1, "V"), "door": (1.0, ""), "on": (1.0, ""),
            "off": (0.0, ""),
        }  # fmt: skip
        assert set(relay.requests) == {(7, 3, 0), (7, 4, 3), (7, 2, 2), (7, 1, 9)}
        assert relay.overlaps == 0


async def test_a_register_that_is_not_there_takes_no_other_with_it() -> None:
    async with plc() as device:
        device.holding[4:7], device.refused = [4, 5, 6], {(3, 5)}
        node = FakeNode([binding(device.port, {f"p{n}": at(n) for n in (4, 5, 6)})], settings=SETTINGS)
        async with node.running(adapter()):
            await node.until(lambda: value(node, "p6"))
            assert (value(node, "p4"), value(node, "p5"), value(node, "p6")) == (4.0, None, 6.0)
            node.reading.put_nowait(ReadRequest("now", THING))
            await node.until(lambda: node.read)
            device.refused |= {(3, 4), (3, 6)}
            node.reading.put_nowait(ReadRequest("none", THING))
            await node.until(lambda: "none" in node.read)
    assert node.read["now"] == ""
    assert "illegal data address" in node.read["none"]


async def test_nan_is_no_reading_and_a_silent_device_is_asked_again() -> None:
    async with plc() as device, relaying({7: device.port}) as relay:
        device.holding[0:2], device.holding[2] = [0x7FC0, 0], 8
        registers = {"nan": at(0, kind="float32"), "p": at(2)}
        node = FakeNode([binding(relay.port, registers, timeoutS=0.2)], settings=SETTINGS)
        async with node.running(adapter()):
            await node.until(lambda: value(node, "p") == 8.0)
            relay.cut()
            relay.mute = True
            seen = len(relay.requests)
            await node.until(lambda: len(relay.requests) > seen)
            relay.mute, device.holding[2] = False, 9
            await node.until(lambda: value(node, "p") == 9.0)
    assert value(node, "nan") is None


async def test_addresses_are_those_the_settings_let_it_have() -> None:
    async with plc() as device:
        for settings, words in (({}, "adapters.settings.modbus.allow"), ({"only": ["10.0.0.0/8"]}, "may be connected")):
            node = FakeNode([binding(device.port, {"p": at(0)})], settings=settings)
            async with node.running(adapter()):
                node.reading.put_nowait(ReadRequest("r", THING))
                await node.until(lambda node=node: node.read)  # type: ignore[misc]
            assert words in node.read["r"]
            assert not node.stored
    with pytest.raises(Invalid, match=r"settings\.modbus\.allow"):
        await adapter().run(FakeNode([], settings={"allow": ["nonsense"]}))


async def test_a_lease_is_written_read_back_and_ended_by_who_holds_it() -> None:
    async with plc() as device:
        node = FakeNode([binding(device.port, {"set": commanded()})], settings=SETTINGS)
        async with node.running(adapter()):
            node.order(order(1500.0))
            await node.until(lambda: "acknowledged" in states(node))
            assert (device.holding[0], states(node)) == (1500, ["sent", "acknowledged"])
            await node.until(lambda: value(node, "set") == 1500.0)
            node.order(order(None, fallback=100.0, sequence=2))
            await node.until(lambda: len(states(node)) == 4)
            assert device.holding[0] == 100
        assert states(node)[2:] == ["sent", "acknowledged"], "who let go is told as well"
        assert [(function, values) for function, _, values in device.writes] == [(6, [1500]), (6, [100])]


async def test_a_lease_ends_though_nobody_says_so() -> None:
    async with plc() as device:
        node = FakeNode([binding(device.port, {"set": commanded()})], settings=SETTINGS)
        async with node.running(adapter()):
            node.order(order(1500.0, 0.3))
            await node.until(lambda: device.writes)
            await node.until(lambda: device.holding[0] == 0)
    assert len(device.writes) == 2


async def test_a_restart_repeats_no_write_and_ends_what_ran_out_meanwhile() -> None:
    async with plc() as device:
        store = DictStore()
        things = [binding(device.port, {"set": commanded()})]
        long, short = order(1500.0), order(700.0, 0.5, sequence=2)
        node = FakeNode(things, settings=SETTINGS, store=store)
        async with node.running(adapter()):
            node.order(long)
            await node.until(lambda: "acknowledged" in states(node))
        node = FakeNode(things, settings=SETTINGS, store=store)
        node.order(long)
        async with node.running(adapter()):
            await node.until(lambda: value(node, "set") == 1500.0)
            assert len(device.writes) == 1
            node.order(short)
            await node.until(lambda: device.holding[0] == 700)
        await asyncio.sleep(0.5)
        node = FakeNode(things, settings=SETTINGS, store=store)
        node.order(short)
        async with node.running(adapter()):
            await node.until(lambda: device.holding[0] == 0)
        node = FakeNode(things, settings=SETTINGS, store=store)
        node.order(order(None, sequence=3))
        async with node.running(adapter()):
            await node.until(lambda: node.stored)
    assert [values for *_, values in device.writes] == [[1500], [700], [0]]


async def test_the_device_s_own_timer_is_set_before_the_value() -> None:
    timer = {"entity": "holding", "address": 8, "type": "uint16"}
    async with plc() as device:
        served = commanded(held=False, timer=timer)
        node = FakeNode([binding(device.port, {"set": served})], settings=SETTINGS)
        async with node.running(adapter()):
            node.order(order(1500.0, 100_000.0))
            await node.until(lambda: "acknowledged" in states(node))
        assert device.writes == [(16, 8, [65535]), (6, 0, [1500])]


@pytest.mark.parametrize(
    ("served", "wanted", "words"),
    [
        (commanded(held=False), 1.0, "nobody would end the lease"),
        ({"read": commanded()["read"]}, 1.0, "no register to write"),
        (commanded(), 40_000.0, "does not fit"),
        (commanded(4), 7.0, "did not keep"),
        (commanded(5), 7.0, "refused when writing"),
    ],
)
async def test_what_cannot_be_done_is_rejected_with_its_reason(served: Any, wanted: float, words: str) -> None:
    async with plc() as device:
        device.stuck, device.refused = {4}, {(6, 5)}
        node = FakeNode([binding(device.port, {"set": served})], settings=SETTINGS)
        async with node.running(adapter()):
            node.order(order(wanted))
            await node.until(lambda: "rejected" in states(node))
            held = list(device.writes)
            node.order(order(wanted))
            await node.until(lambda: states(node).count("rejected") == 2)
        assert words in node.progressed[-1][2]
        assert device.writes == held, "a refused write is not repeated"
        assert {values[0] for *_, values in held} <= {7, 0}


async def test_an_order_that_is_rejected_leaves_the_one_before_to_be_ended() -> None:
    async with plc() as device:
        node = FakeNode([binding(device.port, {"set": commanded()})], settings=SETTINGS)
        async with node.running(adapter()):
            node.order(order(1500.0))
            await node.until(lambda: "acknowledged" in states(node))
            node.order(order(40_000.0, sequence=2))
            await node.until(lambda: "rejected" in states(node))
            node.order(order(None, sequence=3))
            await node.until(lambda: device.holding[0] == 0)


async def test_an_order_for_a_device_that_is_away_fails_in_the_end_and_the_one_before_is_ended() -> None:
    async with plc() as device, relaying({7: device.port}) as relay:
        node = FakeNode([binding(relay.port, {"set": commanded()}, timeoutS=0.5)], settings=SETTINGS)
        async with node.running(adapter()):
            node.order(order(1500.0))
            await node.until(lambda: "acknowledged" in states(node))
            relay.mute = True
            node.order(order(700.0, 2.0, sequence=2))
            await node.until(lambda: "failed" in states(node))
            relay.mute = False
            await node.until(lambda: device.holding[0] == 0)
    assert states(node).count("failed") == 1
    assert [values for *_, values in device.writes] == [[1500], [0]]


async def test_points_that_overlap_and_are_refused_are_asked_for_alone_and_no_more() -> None:
    async with plc() as device, relaying({7: device.port}) as relay:
        device.holding[0] = 9
        device.refused = {(3, 1)}
        registers = {"a": at(0), "b": at(0, kind="int32")}
        node = FakeNode([binding(relay.port, registers, intervalS=0.1)], settings=SETTINGS)
        async with node.running(adapter()):
            await node.until(lambda: len(node.stored) > 3)
        assert {one.point for one in node.stored} == {f"{THING}/a"}
