"""When a utility's server is asked: not in a storm, whoever wakes its follower and whatever becomes of the clock."""

import asyncio
import contextlib
from types import SimpleNamespace

import pytest

from gridspine.adapters.ieee2030_5.client import utility
from gridspine.adapters.ieee2030_5.client.connection import Access, Failed
from gridspine.adapters.ieee2030_5.client.end_device import Upstream
from gridspine.adapters.ieee2030_5.client.follower import Follower
from gridspine.adapters.ieee2030_5.client.mirror import Mirror
from gridspine.adapters.ieee2030_5.client.record import ProgramRecord, Record
from gridspine.adapters.ieee2030_5.client.utility import Client, Utility, follow_utilities
from gridspine.adapters.ieee2030_5.client.walk import Walk
from gridspine.adapters.ieee2030_5.wire import SEP, Element, decode
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.errors import Forbidden, NotFound, Unavailable
from gridspine.kernel.time import US
from gridspine.things.adapter import Binding

DEVICES = ("AA", "BB", "CC")


class Context:
    """A context in which nobody is known; ``asked`` counts how often it was asked who the client is."""

    def __init__(self):
        self.clock, self.store, self.trace, self.asked = VirtualClock(), None, SimpleNamespace(on=False), 0
        self.on_asked = lambda: None

    async def authorise(self, *_given):
        self.asked += 1
        self.on_asked()

    async def bindings_changed(self):
        await asyncio.Event().wait()


@pytest.fixture
def context(monkeypatch):
    monkeypatch.setattr(utility, "_client", lambda _access: (Client(b"", "AB"), None))
    monkeypatch.setattr(utility, "Connection", lambda *_given: SimpleNamespace(close=nothing))
    return Context()


async def nothing():
    return


@contextlib.asynccontextmanager
async def running(work):
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def turns(many=2_000):
    for _ in range(many):
        await asyncio.sleep(0)


def followed(context):
    made = Utility(context, None, "grid", Access("https://a.example/dcap", "", "", ""), 1)
    made._followers["a"] = SimpleNamespace(next_us=context.clock.now_us() - 60 * US)
    return made


async def test_what_was_due_long_ago_makes_nobody_ask_in_a_storm(context) -> None:
    async with running(followed(context).run()):
        await _until_asked(context)
        for _ in range(120):
            await context.clock.advance(1.0)
        assert 2 <= context.asked <= 20, "it waits longer and longer"


async def test_a_server_that_wakes_its_follower_without_end_is_left_alone_a_moment(context) -> None:
    one = followed(context)
    context.on_asked = one.wake.set
    async with running(one.run()):
        await _until_asked(context)
        await turns()
        assert context.asked == 1
        await context.clock.advance(1.1)
        assert context.asked == 2, "but woken it is, then"


async def test_what_nobody_thought_of_ends_neither_the_others_nor_what_is_served(context) -> None:
    def broken():
        raise KeyError("rate")

    context.on_asked = broken
    controls = SimpleNamespace(changes=lambda: _never())
    access = Access("https://a.example/dcap", "", "", "")
    async with running(follow_utilities(context, controls, {"a": access, "b": access}, 1)) as task:
        await _until_asked(context, 2)
        for _ in range(30):
            await context.clock.advance(1.0)
            await asyncio.sleep(0.01)  # files are read beside the loop
        assert context.asked >= 4
        assert not task.done()


class Server:
    """A server of three EndDevices; ``refused`` says how it refuses to show a resource."""

    host, path = "a.example", "/dcap"

    def __init__(self):
        self.asked, self.refused, self.at = [], {}, ""

    async def get(self, href):
        path = href.partition("?")[0]
        self.asked.append(path)
        if path in self.refused:
            raise self.refused[path]
        devices = "".join(
            f'<EndDevice href="/e/{one}"><lFDI>{20 * one}</lFDI>'
            f'<FunctionSetAssignmentsListLink href="{self.at}/fsa/{one}"/></EndDevice>'
            for one in DEVICES
        )  # fmt: skip
        head, said = {
            "/dcap": ("DeviceCapability", '<EndDeviceListLink href="/edev"/>'),
            "/edev": ('EndDeviceList all="3"', devices),
        }.get(path, ('FunctionSetAssignmentsList all="0"', ""))
        return decode(f'<{head} pollRate="900" xmlns="{SEP}">{said}</{head.partition(" ")[0]}>'.encode())


class Three:
    """Looks at three EndDevices once, at each call."""

    def __init__(self, context, server):
        controls = SimpleNamespace(of=lambda _source: SimpleNamespace(source=SimpleNamespace(organisation="o")))
        self.utility = Utility(context, controls, "grid", Access("https://a.example", "", "", ""), 1)
        self.walk = Walk(server, context.clock)

    async def __call__(self):
        return await self.utility._tried(Client(b"", "AB"), self.walk)


@pytest.fixture
def three(context):
    async def authorise(*_given):
        return SimpleNamespace(organisation="o")

    async def none(*_given):
        return None

    async def items():
        return []

    context.authorise, context.store = authorise, SimpleNamespace(items=items, get=none, put=none)
    connection = {"utility": "grid", "thing": "urn:example:d"}
    context.bindings = lambda: [
        Binding(f"urn:example:{one}", one, "o", "m", {**connection, "lfdi": 20 * one}) for one in DEVICES
    ]
    server = Server()
    return server, Three(context, server)


@pytest.mark.parametrize("error", [NotFound("404"), Failed("500"), Forbidden("403")])
async def test_what_one_end_device_is_refused_keeps_no_other_from_being_read(context, three, error) -> None:
    server, look = three
    server.refused["/fsa/AA"] = error
    assert await look() == ""
    assert {"/fsa/BB", "/fsa/CC"} <= set(server.asked)
    server.asked.clear()
    await context.clock.advance(30)
    assert await look() == ""
    assert server.asked == ["/fsa/AA"], "what is known of the others stays so"


async def test_what_the_server_moved_is_found_again_at_once(three) -> None:
    server, look = three
    assert await look() == ""
    server.at, server.refused["/fsa/AA"] = "/moved", NotFound("404")
    look.walk.renew("/fsa/AA")
    assert await look() == ""
    assert server.asked[-3:] == [f"/moved/fsa/{one}" for one in ("AA", "BB", "CC")]


@pytest.mark.parametrize(("path", "error"), [
    ("/fsa/AA", Unavailable("nobody answers")), ("/edev", NotFound("404")), ("/dcap", Failed("500")),
])  # fmt: skip
async def test_a_server_that_is_away_is_not_asked_once_for_each_end_device(three, path, error) -> None:
    server, look = three
    server.refused[path] = error
    assert error.detail in await look()
    assert server.asked.count(path) == 1
    assert not {"/fsa/BB", "/fsa/CC"} & set(server.asked)


async def test_what_is_said_of_the_der_is_said_each_hour_though_the_clock_was_set_back() -> None:
    clock, asked = VirtualClock(), []

    async def children(*given):
        asked.append(given)
        return ()

    walk = SimpleNamespace(children=children, connection=None, offset_us=0)
    one = Follower(clock, None, walk, "urn:example:link", Upstream("grid"), "AB", 1)
    device = Element("EndDevice", {})
    for step_s in (0, 0, -86_400):
        await one._describe(None, device)
        clock.step_wall(step_s)
    assert len(asked) == 1
    await clock.advance(3_600)
    await one._describe(None, device)
    assert len(asked) == 2


def test_readings_go_on_though_the_clock_was_set_back() -> None:
    clock = VirtualClock()
    mirror = Mirror(None, clock, None, Upstream("grid", mirror=("activePower",), post_s=300), 1)
    record = Record(mirror=ProgramRecord("p"), posted_us=clock.now_us())
    assert mirror.settled(record) is record
    clock.step_wall(-120)
    assert mirror.settled(record) is record, "what it posted is not posted again"
    clock.step_wall(-365 * 86_400)
    assert mirror.due_us(record) > clock.now_us() + 86_400 * US
    after = mirror.settled(record)
    assert clock.now_us() < mirror.due_us(after) <= clock.now_us() + 330 * US
    assert mirror.settled(after) is after


async def _until_asked(context, many=1):
    async with asyncio.timeout(40):
        while context.asked < many:
            await asyncio.sleep(0.001)
    await turns(50)


async def _never():
    await asyncio.Event().wait()
    yield
