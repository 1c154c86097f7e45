"""Host names the node answers for."""

import socket

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost:9", "LOCALHOST", "[::1]:80", "node.example", "Node.Example.:8443"]
)
def test_known_hosts_pass(node, host: str) -> None:
    with node.serve() as url:
        assert httpx.get(f"{url}/jwks", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "node.example.evil.example", "127.0.0.1.evil.example", "", "[::2]", "localhost@evil.example"],
)
def test_other_hosts_are_misdirected(node, host: str) -> None:
    with node.serve() as url:
        answer = httpx.get(f"{url}/jwks", headers={"Host": host})
    assert answer.status_code == 421, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"].endswith("/misdirected")


def test_two_host_headers_are_misdirected(node) -> None:
    with node.serve() as url, socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as connection:
        connection.sendall(b"GET /jwks HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert connection.makefile("rb").readline().split()[1] in (b"400", b"421")


def test_a_websocket_is_misdirected_too(node) -> None:
    with node.serve() as url:
        connection = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])))
        with pytest.raises(InvalidStatus) as caught, connect("ws://evil.example/socket", sock=connection):
            pass
    assert caught.value.response.status_code == 421
