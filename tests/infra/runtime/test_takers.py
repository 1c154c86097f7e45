"""Each taker gets what is put for it, in order; one that lets too much wait begins anew."""

import contextlib

from gridspine.infra.runtime.takers import Takers


async def test_a_taker_gets_what_is_in_force_and_then_what_comes():
    takers: Takers[int] = Takers(3)
    assert not takers.runs("modbus")
    assert not takers.put("modbus", 1), "nobody takes it"
    async with contextlib.aclosing(takers.taken("modbus", lambda: [10, 11])) as taken:
        assert [await anext(taken), await anext(taken)] == [10, 11]
        assert takers.runs("modbus")
        assert takers.put("modbus", 12)
        assert not takers.put("mqtt", 13)
        assert await anext(taken) == 12
    assert not takers.runs("modbus")


async def test_one_that_lets_too_much_wait_begins_anew():
    takers: Takers[int] = Takers(2)
    in_force = [1]
    async with contextlib.aclosing(takers.taken("modbus", lambda: list(in_force))) as taken:
        assert await anext(taken) == 1
        assert [takers.put("modbus", item) for item in (2, 3, 4)] == [True, True, False]
        in_force[:] = [4]
        assert takers.begin_again("modbus")
        assert takers.put("modbus", 5)
        assert [await anext(taken), await anext(taken)] == [4, 5], "what waited was given up"
    assert not takers.begin_again("modbus")


async def test_the_later_of_two_takers_gets_what_comes():
    takers: Takers[int] = Takers(2)
    earlier, later = takers.taken("modbus", lambda: [1]), takers.taken("modbus", lambda: [1])
    assert [await anext(earlier), await anext(later)] == [1, 1]
    assert takers.put("modbus", 2)
    await earlier.aclose()
    assert await anext(later) == 2, "an end of the earlier one leaves the later one's queue"
    await later.aclose()
    assert not takers.runs("modbus")
