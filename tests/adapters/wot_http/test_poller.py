"""Values picked out of one answer, answers that did not change, and who asks for less: against a real HTTP server."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from adapter_node import FakeNode

from gridspine.adapters.wot_http import adapter
from gridspine.adapters.wot_http.pace import Paces
from gridspine.adapters.wot_http.poller import read_connection
from gridspine.infra.runtime.clock import SystemClock
from gridspine.infra.runtime.web_place import retry_after_s
from gridspine.kernel.errors import Invalid, Overloaded
from gridspine.things.adapter import Binding, ReadRequest

TELEGRAM = b"/ABC5 meter\r\n\r\n1-0:1.7.0(00.033*kW)\r\n1-0:2.7.0(00.676*kW)\r\n!\r\n"


class Cloud(ThreadingHTTPServer):
    """A vendor's cloud: ``body`` with ``tag``; ``statuses`` are answered first, with ``retry_after``."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = json.dumps({"em:0": {"w": -678.2, "on": True}, "wh": [None, 12]}).encode()
        self.tag = ""
        self.statuses: list[int] = []
        self.retry_after = ""
        self.asked: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Cloud

    def do_GET(self) -> None:
        tag = self.headers.get("if-none-match", "")
        self.server.asked.append((self.path, tag))
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        if status == 200 and tag and tag == self.server.tag:
            status = 304
        body = self.server.body if status == 200 else b""
        self.send_response(status)
        if self.server.tag:
            self.send_header("etag", self.server.tag)
        if self.server.retry_after:
            self.send_header("retry-after", self.server.retry_after)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    made = Cloud()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def node_of(cloud: Cloud, **more: Any) -> FakeNode:
    href = f"{cloud.url}/status"
    forms = {
        "power": {"href": href, "unit": "W", "pick": {"plus": ["/em:0/w"], "scale": -1.0}},
        "energy": {"href": href, "unit": "Wh", "pick": {"plus": ["/wh/1"]}},
        "relay": {"href": href, "pick": {"plus": ["/em:0/on"], "codes": {"true": 1, "false": 0}}},
        "absent": {"href": href, "unit": "V", "pick": {"plus": ["/em:0/v"]}},
    }
    connection = {"forms": forms, "intervalS": 1}
    return FakeNode(
        [Binding("urn:x:1", "t", "org", "m", connection)], settings={"allow": ["127.0.0.0/8"], **more}
    )  # fmt: skip


def values(node: FakeNode) -> set[tuple[str, float, str]]:
    return {(one.point.partition("/")[2], one.value, one.unit) for one in node.stored}


async def test_points_of_one_address_are_read_by_one_request(cloud: Cloud) -> None:
    node = node_of(cloud)
    async with node.running(adapter()):
        await node.until(lambda: node.stored)
    assert values(node) == {("power", 678.2, "W"), ("energy", 12.0, "Wh"), ("relay", 1.0, "")}
    assert len({one.observed_us for one in node.stored[:3]}) == 1
    assert len(cloud.asked) <= len(node.stored) // 3 + 1


async def test_a_telegrams_values_are_found_by_obis_code(cloud: Cloud) -> None:
    cloud.body = TELEGRAM
    pick = {"plus": ["/1-0:1.7.0"], "minus": ["/1-0:2.7.0"]}
    form = {"href": f"{cloud.url}/t", "unit": "kW", "form": "telegram", "pick": pick}
    node = node_of(cloud)
    node.set_bindings([Binding("urn:x:1", "t", "org", "m", {"forms": {"power": form}, "intervalS": 1})])
    async with node.running(adapter()):
        await node.until(lambda: node.stored)
    assert [(one.point, round(one.value, 6), one.unit) for one in node.stored[:1]] == [("urn:x:1/power", -0.643, "kW")]


async def test_an_answer_that_did_not_change_is_read_again_and_not_sent_again(cloud: Cloud) -> None:
    cloud.tag = '"v1"'
    node = node_of(cloud)
    async with node.running(adapter()):
        await node.until(lambda: len(node.stored) >= 6)
        assert [tag for _, tag in cloud.asked][:2] == ["", '"v1"']
        assert [one.value for one in node.stored[:3]] == [one.value for one in node.stored[3:6]]
        assert node.stored[3].observed_us > node.stored[0].observed_us
        cloud.body, cloud.tag = cloud.body.replace(b"12", b"13"), '"v2"'
        await node.until(lambda: ("energy", 13.0, "Wh") in values(node))


async def test_who_says_that_too_much_is_asked_is_left_alone(cloud: Cloud) -> None:
    cloud.statuses, cloud.retry_after = [429], "2"
    node = node_of(cloud)
    async with node.running(adapter()):
        await node.until(lambda: node.stored)
        assert len(cloud.asked) == 2
        cloud.statuses, cloud.retry_after = [429], "3600"
        node.reading.put_nowait(ReadRequest("r", "urn:x:1"))
        await node.until(lambda: "r" in node.read)
    assert "too much" in node.read["r"]


async def test_what_a_cloud_allows_in_an_hour_is_spread_over_it(cloud: Cloud) -> None:
    node = node_of(cloud, per_hour={cloud.url: 4})
    async with node.running(adapter()):
        await node.until(lambda: node.stored)
        for at in range(3):  # the next turns are 15 and more minutes away: further than anybody waits
            node.reading.put_nowait(ReadRequest(f"r{at}", "urn:x:1"))
            await node.until(lambda name=f"r{at}": name in node.read)
    assert len(cloud.asked) == 1
    assert all("an hour" in words for words in node.read.values())


async def test_turns_are_given_in_their_order() -> None:
    waited: list[float] = []

    class Still(SystemClock):
        def monotonic_us(self) -> int:
            return 5

        async def sleep(self, seconds: float) -> None:
            waited.append(seconds)
            await asyncio.sleep(0)

    paces = Paces({"https://api.example": 36.0}, Still())
    for _ in range(7):
        await paces.turn("https://api.example/v1/site")
    await paces.turn("https://other.example/")
    assert waited == [100.0, 200.0, 300.0, 400.0, 500.0, 600.0]
    with pytest.raises(Overloaded) as caught:
        await paces.turn("https://api.example:443/")
    assert caught.value.retry_after_s == 101


@pytest.mark.parametrize(
    ("text", "seconds"), [("", 0), ("7", 7), ("Wed, 21 Oct 2026", 0), ("9" * 9, 86_400), ("-1", 0)]
)
def test_a_pause_is_bounded(text: str, seconds: int) -> None:
    assert retry_after_s(text) == seconds


@pytest.mark.parametrize("limit", [0.0, -1.0, 1e12])
def test_a_limit_that_is_none_is_refused(limit: float) -> None:
    with pytest.raises(Invalid, match="per_hour"):
        Paces({"https://api.example": limit}, SystemClock())


@pytest.mark.parametrize("pick", [{"plus": ["w"]}, {"plus": []}, {"scale": 0.0}, {"where": "/w"}])
def test_a_connection_that_cannot_be_is_refused(pick: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        read_connection({"forms": {"power": {"href": "http://192.0.2.1/", "pick": pick}}})
