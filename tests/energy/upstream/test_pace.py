"""When a server that is followed is asked, by a clock that the test moves."""

import asyncio
import contextlib
from types import SimpleNamespace

import pytest

from gridspine.energy.upstream.pace import LONGEST_S, REST_S, Pace
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.errors import Overloaded, Unavailable
from gridspine.kernel.time import US

POLL_S = 60.0


class Server:
    """Says ``answers`` one after the other, then that all is well; notes when it was asked [s]."""

    def __init__(self, *answers):
        self.clock, self.answers, self.times, self.connected, self.due_us = VirtualClock(), list(answers), [], [], 0
        self.began_us = self.clock.now_us()
        context = SimpleNamespace(
            clock=self.clock, trace=lambda *_, **__: None, intake=self._intake, source_of=lambda thing: thing
        )
        binding = SimpleNamespace(thing="urn:example:ven", points={"connected": 1})
        self.pace = Pace(context, binding, "https://vtn.example")

    async def _intake(self, readings, _source):
        self.connected.append(int(readings.value[0]))

    async def once(self):
        self.times.append((self.clock.now_us() - self.began_us) / US)
        said = self.answers.pop(0) if self.answers else ""
        if isinstance(said, Exception):
            raise said
        if self.clock.now_us() >= self.due_us:
            self.due_us = 0
        return said

    async def after(self, seconds):
        """Let time pass in small steps: who wakes has its turns before the next."""
        for _ in range(round(seconds) + 1):
            for _ in range(20):
                await asyncio.sleep(0)
            await self.clock.advance(1 if seconds else 0)

    @contextlib.asynccontextmanager
    async def followed(self):
        task = asyncio.create_task(self.pace.run(self.once, lambda: POLL_S, lambda: self.due_us))
        await self.after(0)
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def test_it_is_asked_at_its_rate_and_at_once_when_woken():
    server = Server("one event cannot be kept")
    async with server.followed():
        await server.after(124)
        server.pace.wake()
        await server.after(1)
    assert [round(time_s) for time_s in server.times] == [0, 60, 120, 125]
    assert set(server.connected) == {1}


async def test_one_that_does_not_answer_is_asked_more_seldom_also_where_something_is_due():
    server = Server(*[Unavailable("away")] * 9)
    server.due_us = server.began_us
    async with server.followed():
        await server.after(1_900)
    pauses_s = [b - a for a, b in zip(server.times[:9], server.times[1:10], strict=True)]
    for attempt, pause_s in enumerate(pauses_s):
        whole_s = min(LONGEST_S, 5.0 * 2**attempt)
        assert whole_s / 2 <= pause_s <= whole_s + 2, attempt
    assert server.connected[:10] == [0] * 9 + [1]


async def test_it_is_left_alone_for_as_long_as_it_says():
    server = Server(Overloaded("less is to be asked", retry_after_s=200))
    async with server.followed():
        await server.after(270)
    assert [round(time_s) for time_s in server.times] == [0, 200, 260]


async def test_what_is_due_before_comes_first():
    server = Server()
    server.due_us = server.began_us + 20 * US
    async with server.followed():
        await server.after(30)
    assert [round(time_s) for time_s in server.times] == [0, 20]


async def test_one_that_tells_of_changes_all_the_time_is_not_asked_without_a_rest():
    server = Server()
    async with server.followed():
        for _ in range(20):
            server.pace.wake()
            await server.after(0)
        assert server.times == [0]
        await server.clock.advance(REST_S)
        await server.after(0)
    assert server.times == [0, REST_S]


@pytest.mark.parametrize(
    ("said", "rest_s"), [(Unavailable("away"), (2, 6)), (Overloaded("later", retry_after_s=200), (200, 201))]
)
async def test_one_that_does_not_answer_is_left_alone_also_where_it_tells_of_changes(said, rest_s):
    server = Server(said)
    async with server.followed():
        for _ in range(202):
            server.pace.wake()
            await server.after(1)
    least_s, most_s = rest_s
    assert least_s <= server.times[1] <= most_s
