"""Subscriptions at a server that does as it likes: it ends some by itself, moves, or lets none go."""

from collections import Counter

from gridspine.adapters.ieee2030_5.client.subscription import AGAIN_US, RENEWED_US, SOON_US, Subscriptions
from gridspine.adapters.ieee2030_5.client.walk import Watch
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.errors import Unavailable
from gridspine.kernel.time import US

WANTED = {f"/derp/{number}/derc": Watch("DERControlList", "") for number in range(3)}


class Store(dict):
    async def put(self, key, value):
        self[key] = value
        if value is None:
            del self[key]

    async def get(self, key):
        return dict.get(self, key)


class Server:
    """Lists subscriptions by where they are; ``ending`` is called before one is ended."""

    def __init__(self):
        self.kept, self.asked, self.ending = {}, Counter(), lambda href: None

    async def post(self, _list, said):
        href = f"/sub/{self.asked['POST']}"
        self.asked["POST"] += 1
        self.kept[href] = said.document("1.2").decode()
        return href

    async def delete(self, href):
        self.asked["DELETE"] += 1
        self.ending(href)
        del self.kept[href]


def subscriptions(store, uri="https://home:1/notified/grid", clock=None):
    return Subscriptions(clock or VirtualClock(), store, "grid", uri)


async def test_a_server_that_says_so_before_it_has_ended_one_takes_nothing_down() -> None:
    server, store = Server(), Store()
    one = subscriptions(store)
    await one.settle(server, WANTED, "/sub", whole=True)
    resources = dict(zip(server.kept, WANTED, strict=True))
    heard = []
    server.ending = lambda href: heard.append(one.told(resources[href], href, 1))
    await one.settle(server, dict(list(WANTED.items())[:1]), "/sub", whole=True)
    assert len(server.kept) == 1
    assert sorted(heard) == sorted(list(WANTED)[1:])
    await one.end(server)
    assert server.kept == {}
    assert store == {}


async def test_those_to_another_address_are_ended_and_asked_for_anew() -> None:
    server, store = Server(), Store()
    await subscriptions(store).settle(server, WANTED, "/sub", whole=True)
    moved = subscriptions(store, "https://home:2/notified/grid")
    await moved.settle(server, WANTED, "/sub", whole=True)
    assert len(server.kept) == len(WANTED)
    assert all("https://home:2/" in one for one in server.kept.values())
    await moved.settle(server, WANTED, "/sub", whole=True)
    assert server.asked == {"POST": 2 * len(WANTED), "DELETE": len(WANTED)}


async def test_a_server_that_lets_none_go_is_asked_again_later() -> None:
    def refuse(href):
        raise Unavailable(href)

    server, store, clock = Server(), Store(), VirtualClock()
    await subscriptions(store, clock=clock).settle(server, WANTED, "/sub", whole=True)
    server.ending = refuse
    nobody = subscriptions(store, "", clock)
    await nobody.end(server)
    await nobody.end(server)
    assert server.asked["DELETE"] == 1
    server.ending = lambda href: None
    await clock.advance(SOON_US / US)
    await nobody.end(server)
    assert server.kept == {}
    assert store == {}


async def test_a_clock_that_is_set_back_holds_nothing_up() -> None:
    server, store, clock = Server(), Store(), VirtualClock()
    one = subscriptions(store, clock=clock)
    await one.settle(server, WANTED, "/sub", whole=True)
    first = next(iter(WANTED))
    assert one.told(first, next(iter(server.kept)), 1) == first
    clock.step_wall(-365 * 86_400)
    await clock.advance(AGAIN_US / US)
    await one.settle(server, WANTED, "/sub", whole=True)
    assert server.asked["POST"] == 2 * len(WANTED), "the one that ended, and those whose time lies a year ahead"
    await one.settle(server, WANTED, "/sub", whole=True)
    assert server.asked["POST"] == 2 * len(WANTED)
    await clock.advance(RENEWED_US / US)
    await one.settle(server, WANTED, "/sub", whole=True)
    assert server.asked["POST"] == 3 * len(WANTED)
