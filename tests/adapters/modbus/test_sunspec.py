"""SunSpec is found wherever a device has it, and its chain is walked to the end."""

from typing import Any

import pytest
from modbus_bench import binding

from gridspine.adapters.modbus.address import parse_address
from gridspine.adapters.modbus.session import Refused, Session, Silent
from gridspine.adapters.modbus.sunspec import discover
from gridspine.infra.runtime.clock import SystemClock
from gridspine.kernel.errors import Invalid


@pytest.mark.parametrize("base", [0, 40000, 50000])
async def test_chain_is_found_at_every_base(start_device: Any, base: int):
    device = start_device("inverter", "--base", str(base))
    session = Session(parse_address(binding("inverter", device.port).connection).endpoint, SystemClock())
    chain = await discover(lambda at, count: session.read(1, at, count))
    await session.close()
    assert chain.base == base
    assert [instance.id for instance in chain.models] == [1, 701, 702, 704]


@pytest.mark.parametrize(("kind", "ids"), [("inverter", [1, 103, 120, 121, 123]), ("battery", [1, 103, 124, 802])])
async def test_older_models_are_walked_too(start_device: Any, kind: str, ids: list[int]):
    device = start_device(kind, "--legacy")
    session = Session(parse_address(binding(kind, device.port).connection).endpoint, SystemClock())
    chain = await discover(lambda at, count: session.read(1, at, count))
    await session.close()
    assert [instance.id for instance in chain.models] == ids


class Memory:
    """Holding registers from address 0, refusing what is beyond them."""

    def __init__(self, *words: int) -> None:
        self.words = words

    async def read(self, address: int, count: int) -> tuple[int, ...]:
        if address + count > len(self.words):
            raise Refused(2)
        return self.words[address : address + count]


async def test_a_chain_that_stops_at_an_illegal_address_is_taken_as_ended():
    chain = await discover(Memory(0x5375, 0x6E53, 1, 1, 7).read)
    assert [(model.id, model.address, model.length) for model in chain.models] == [(1, 2, 1)]


async def test_no_marker_says_so():
    with pytest.raises(Invalid, match="no SunSpec marker"):
        await discover(Memory(*[0] * 10).read)


async def test_a_chain_without_end_is_refused():
    async def endless(address: int, count: int) -> tuple[int, ...]:
        return (0x5375, 0x6E53) if address == 0 else (64000, 0)

    with pytest.raises(Invalid, match="no end"):
        await discover(endless, [0])


async def test_a_silent_device_is_not_taken_for_another_kind():
    async def silent(address: int, count: int) -> tuple[int, ...]:
        raise Silent("nothing")

    with pytest.raises(Silent):
        await discover(silent)
