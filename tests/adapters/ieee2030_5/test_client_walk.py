"""A server's tree, read: lists that change while they are read, links that are none, clocks that are set."""

import ssl

import pytest

from gridspine.adapters.ieee2030_5 import wire
from gridspine.adapters.ieee2030_5.client.connection import Access, Connection
from gridspine.adapters.ieee2030_5.client.walk import PAGE, TRIES, Walk
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import US


class Server:
    """Answers as `Connection` does; ``devices`` are LFDIs, ``between`` is called after each page of them."""

    host, path = "a.example", "/dcap"

    def __init__(self, clock):
        self.clock, self.devices, self.asked, self.ahead_us = clock, [], [], 0
        self.between, self.list_, self.page, self.named = lambda: None, "/edev", PAGE, True

    async def get(self, href):
        self.asked.append(href)
        path, _, query = href.partition("?")
        if path == "/dcap":
            said = f'<EndDeviceListLink href="{self.list_}"/><TimeLink href="/tm"/>'
            return self.document('DeviceCapability pollRate="900"', said)
        if path == "/tm":
            return self.document("Time", f"<currentTime>{(self.clock.now_us() + self.ahead_us) // US}</currentTime>")
        start = int(query.partition("s=")[2].partition("&")[0])
        shown = "".join(map(self.device, self.devices[start : start + self.page]))
        page = self.document(f'EndDeviceList all="{len(self.devices)}" pollRate="900" subscribable="1"', shown)
        self.between()
        return page

    def device(self, lfdi):
        named = f' href="/edev/{lfdi}"' if self.named else ""
        return f"<EndDevice{named}><lFDI>{lfdi}</lFDI></EndDevice>"

    def document(self, head, said):
        return wire.decode(f'<{head} xmlns="{wire.SEP}">{said}</{head.partition(" ")[0]}>'.encode())


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def server(clock):
    return Server(clock)


async def test_nothing_is_missed_of_a_list_that_changes_while_it_is_read(server, clock) -> None:
    server.devices = [f"{at:040X}" for at in range(2 * PAGE)]
    changes = iter([lambda: server.devices.pop(0)])
    server.between = lambda: next(changes, lambda: None)()
    walk = Walk(server, clock)
    found = [one.said("lFDI") for one in await walk.end_devices()]
    assert found == [f"{at:040X}" for at in range(1, 2 * PAGE)], "the first of the second page moved to the first"


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("page", [PAGE, 60])
async def test_nothing_is_passed_over_where_one_went_and_one_came(server, clock, named, page) -> None:
    server.devices, server.page, server.named = [f"{at:040X}" for at in range(3 * PAGE)], page, named

    def roll():
        server.devices = [*server.devices[1:], f"{4 * PAGE:040X}"]

    changes = iter([roll, roll])
    server.between = lambda: next(changes, lambda: None)()
    found = [one.said("lFDI") for one in await Walk(server, clock).end_devices()]
    assert found == server.devices, "as many as before, the first of the second page is on the first"


async def test_a_server_that_shows_one_at_a_time_or_fewer_than_it_counts_is_read(server, clock) -> None:
    server.devices, server.page = [f"{at:040X}" for at in range(5)], 1
    assert len(await Walk(server, clock).end_devices()) == 5
    server.page, server.devices = PAGE, [f"{at:040X}" for at in range(2 * PAGE)]
    counted, server.document = server.document, lambda head, said: counted(head.replace('all="200"', 'all="201"'), said)
    assert len(await Walk(server, clock).end_devices()) == 2 * PAGE


async def test_a_list_that_never_stands_still_is_given_up(server, clock) -> None:
    server.devices = [f"{at:040X}" for at in range(2 * PAGE)]
    server.between = lambda: server.devices.pop(0)
    with pytest.raises(Invalid, match="changes whenever it is read"):
        await Walk(server, clock).end_devices()
    assert len(server.asked) <= 2 + 2 * TRIES


async def test_the_servers_time_is_asked_for_anew_when_the_nodes_clock_was_set(server, clock) -> None:
    server.ahead_us = 3_600 * US
    walk = Walk(server, clock)
    await walk.end_devices()
    assert round(walk.offset_us / US) == 3_600
    clock.step_wall(3_600)  # as it should be; the server's is where it was
    server.ahead_us = 0
    await walk.end_devices()
    assert walk.offset_us == 0
    asked = len(server.asked)
    await walk.end_devices()
    assert len(server.asked) == asked, "what was read is good as long as its rate says"


async def test_what_a_server_that_moves_all_the_time_said_is_not_kept(server, clock) -> None:
    walk = Walk(server, clock)
    for at in range(50):
        server.list_ = f"/edev-{at}"
        await walk.end_devices()
        walk.renew(f"/other-{at}")
        await clock.advance(1_000)
        assert walk.due_s > 0
    kept = [len(one) for one in (walk._kept, walk._rates, walk._subscribable, walk._stale)]
    assert max(kept) <= 2, kept


@pytest.mark.parametrize(
    "href",
    ["/a\x7f", "/a\ud800", "//[::1", "https://b.example/a", "//b.example/a", "http://a.example/a", "/" + 3_000 * "a",
     "https://a.example:99999/a", "https://a.example:444/a", "https://a.example\\@b.example/a", "file:///etc/passwd"],
)  # fmt: skip
async def test_a_link_that_leads_nowhere_is_invalid_whatever_is_wrong_with_it(href) -> None:
    connection = Connection(Access("https://a.example/dcap", "", "", ""), ssl.create_default_context())
    try:
        with pytest.raises(Invalid):
            await connection.get(href)
    finally:
        await connection.close()


async def test_a_link_to_the_server_itself_is_followed_however_it_is_written() -> None:
    connection = Connection(Access("https://a.example", "", "", ""), ssl.create_default_context())
    found = {str(connection._url(href)) for href in ("/a", "a", "https://a.example/a", "https://A.example:443/a")}
    assert (found, connection.path) == ({"https://a.example/a"}, "/dcap")
    await connection.close()


@pytest.mark.parametrize("url", ["http://a/dcap", "https://", "https://u@a/", "https://a:99999/", "https://a\x7f/"])
def test_what_is_no_address_of_a_server_is_refused(url) -> None:
    with pytest.raises(Invalid, match="url"):
        Access(url, "", "", "").check("utilities.grid")
