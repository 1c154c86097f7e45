"""One follower for each Thing that says so, as Things come, change and go."""

import asyncio
from types import SimpleNamespace

import pytest

from gridspine.energy.upstream import followers
from gridspine.energy.upstream.followers import Followers
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.errors import Invalid


class One:
    """A follower that fails at first, where it is told to."""

    def __init__(self, name, notes):
        self.name, self.notes, self.fails = name, notes, name == "fails"

    async def run(self):
        self.notes.append(f"{self.name} runs")
        if self.fails:
            self.fails = False
            raise RuntimeError("what a server said was not foreseen")
        await asyncio.get_running_loop().create_future()

    def read_soon(self):
        self.notes.append(f"{self.name} asks")

    async def close(self):
        self.notes.append(f"{self.name} ends")


class Node:
    """Bindings that a test changes."""

    def __init__(self):
        self.clock, self.things, self.notes, self.changed = VirtualClock(), {}, [], asyncio.Event()
        self.followers = Followers(self, lambda one: "vtn" in one.connection, self.make)

    def bindings(self):
        return [
            SimpleNamespace(thing=thing, connection=said, organisation=thing.partition("_")[0])
            for thing, said in self.things.items()
        ]

    async def bindings_changed(self):
        await self.changed.wait()
        self.changed.clear()

    async def make(self, binding):
        if binding.connection["vtn"] == "wrong":
            raise Invalid("vtn: an https address is needed")
        return One(binding.connection["vtn"], self.notes)

    async def bind(self, **things):
        self.things = {thing: {"vtn": vtn} if vtn else {} for thing, vtn in things.items()}
        self.changed.set()
        for _ in range(10):
            await asyncio.sleep(0)
        said, self.notes[:] = list(self.notes), []
        return said


@pytest.fixture
async def node():
    found = Node()
    task = asyncio.create_task(found.followers.run())
    yield found
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not list(found.followers)


async def test_followers_come_change_and_go_with_their_things(node):
    assert await node.bind(a="north", b="", c="wrong") == ["north runs"]
    assert await node.bind(a="north", b="south") == ["south runs"]
    assert await node.bind(a="east", b="south") == ["north ends", "east runs"], "never two of one Thing"
    assert (node.followers.read_soon("b"), node.followers.read_soon("c")) == (True, False)
    assert await node.bind(b="south") == ["south asks", "east ends"]


async def test_what_one_server_says_ends_no_other(node):
    assert await node.bind(a="fails", b="north") == ["fails runs", "north runs"]
    await node.clock.advance(10)
    assert await node.bind(a="fails", b="north") == ["fails runs"], "it began anew"


async def test_no_more_are_followed_than_there_is_room_for(node, monkeypatch):
    monkeypatch.setattr(followers, "MOST", 2)
    assert await node.bind(a="1", b="2", c="3") == ["1 runs", "2 runs"]
    assert await node.bind(a="1", c="3") == ["2 ends", "3 runs"]


async def test_no_organisation_has_all_that_are_followed(node, monkeypatch):
    monkeypatch.setattr(followers, "MOST", 10)
    many = {f"one_{number}": str(number) for number in range(20)}
    assert len(await node.bind(**many)) == 8, "four fifths"
    assert await node.bind(**many, two_a="north") == ["north runs"]
    assert await node.bind(**many, two_a="north", two_b="south", three_a="east") == ["south runs"], "there are ten"
