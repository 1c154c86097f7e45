"""Who asks the VTN, and how much is looked at to know it."""

import asyncio
from types import SimpleNamespace

import pytest

from gridspine.adapters.openadr2 import push
from gridspine.adapters.openadr2.book import Book, Registration, VenRecord
from gridspine.adapters.openadr2.desk import Desk
from gridspine.adapters.openadr2.problem import Refused
from gridspine.adapters.openadr2.settings import Push, Settings
from gridspine.energy.followed import Followed
from gridspine.testing.node import FakeNode
from gridspine.things.adapter import Binding

MANY = 300


class Counting(FakeNode):
    """A node that counts what an adapter asks of who speaks for what."""

    asked = authorised = 0

    def may_publish(self, source, thing):
        self.asked += 1
        return super().may_publish(source, thing)

    def things_of(self, source):
        self.asked += 1
        return super().things_of(source)

    async def authorise(self, username, password, certificate_der=None):
        self.authorised += 1
        return await super().authorise(username, password, certificate_der)


def binding(number):
    return Binding(f"urn:{number}", "VEN", "org", "m", {"venID": f"ven-{number}"}, ())


@pytest.fixture
def node():
    made = Counting([binding(number) for number in range(MANY)])
    for number in range(MANY):
        made.certificates[b"%d" % number] = f"device-{number}"
        made.may[f"device-{number}"] = {f"urn:{number}"}
    return made


@pytest.fixture
async def desk(node):
    """The desk of a VTN with many VENs that are pushed to."""
    book = Book(node.store)
    for number in range(MANY):
        at = Registration(f"r{number}", 1, address=f"https://ven{number}.example", certificate=b"%d" % number)
        await book.put_ven(f"ven-{number}", VenRecord(f"urn:{number}", at))
    controls = SimpleNamespace(following=SimpleNamespace(followed=lambda source, thing: Followed()))
    return Desk(node, Settings(push=Push()), book, controls)


async def test_as_things_come_each_ven_that_is_pushed_to_is_looked_at_once(node, desk):
    pusher = push.Pusher(desk, Push())
    async with asyncio.TaskGroup() as group:
        await pusher._look(None, group)
        assert node.authorised == MANY
        node.set_bindings([*node.bindings(), binding(MANY)])
        await desk.rebind()
        node.asked = 0
        await pusher._look(None, group)
    assert node.asked <= 3 * MANY
    assert node.authorised == MANY, "who proved itself before is asked whether that holds, and no more"


async def test_others_are_served_while_vens_are_looked_at(node, desk):
    pusher, turns = push.Pusher(desk, Push()), 0
    async with asyncio.TaskGroup() as group:
        await pusher._look(None, group)
        looking = group.create_task(pusher._look(None, group))
        while not looking.done():
            turns += 1
            await asyncio.sleep(0)
    assert turns >= MANY // push._TURN


async def test_what_somebody_speaks_for_is_known_anew_when_it_may_be_something_else(node, desk):
    asker = await desk.asker(b"1")
    assert [one.id for one in asker.vens] == ["ven-1"]
    node.may["device-1"] = {"urn:1", "urn:2", "urn:elsewhere"}
    assert await desk.asker(b"1") is asker, "nothing said that anything changed"
    await desk.rebind()
    assert [one.id for one in (await desk.asker(b"1")).vens] == ["ven-1", "ven-2"]


async def test_a_certificate_that_is_another_principals_now_is_asked_for_anew(node, desk):
    await desk.asker(b"1")
    node.may["device-1"] = set()
    node.certificates[b"1"] = "device-2"
    assert [one.id for one in (await desk.asker(b"1")).vens] == ["ven-2"]
    del node.certificates[b"1"]
    node.may["device-2"] = set()
    with pytest.raises(Refused, match="not known"):
        await desk.asker(b"1")
