"""Heads of requests, on a real server: nobody is known while one arrives, so they are bounded in size and time."""

import contextlib
import socket
from urllib.parse import urlsplit

import httpx
import pytest

from gridspine.apps.api import connection
from gridspine.apps.api.connection import MAX_HEAD_BYTES, READ_BYTES
from gridspine.apps.cli.signing import SigningAuth


def said(url: str, *parts: bytes) -> bytes:
    """Send ``parts``, then read until the server ends the connection."""
    place = urlsplit(url)
    answer = b""
    ended = contextlib.suppress(ConnectionResetError, BrokenPipeError)  # before it had read all
    with socket.create_connection((place.hostname, place.port), timeout=60) as sock, ended:
        for part in parts:
            sock.sendall(part)
        while more := sock.recv(65536):
            answer += more
    return answer


@pytest.mark.parametrize(
    "begun",
    [
        b"GET /jwks HTTP/1.1\r\nHost: localhost\r\nX: ",
        b"GET /",
        b"GET /jwks HTTP/1.1\r\nHost: localhost\r\n" + b"x" * 40,
    ],
    ids=["value", "address", "name"],
)
def test_a_head_without_an_end_is_refused(node, begun: bytes) -> None:
    with node.serve() as url:
        assert said(url, begun + b"a" * (MAX_HEAD_BYTES + 1)).startswith(b"HTTP/1.1 400")
        assert httpx.get(f"{url}/jwks").status_code == 200


def test_trailers_without_an_end_are_refused(node) -> None:
    head = b"POST /token HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: "
    with node.serve() as url:
        said(url, head, b"a" * (READ_BYTES + MAX_HEAD_BYTES + 1))  # returns, so the connection ended


def test_a_long_body_is_none_of_its_business(node) -> None:
    file = node.client()
    content = b"a" * (20 * MAX_HEAD_BYTES)
    with node.serve() as url, httpx.Client(base_url=url, auth=SigningAuth(file, node=url)) as client:
        for _ in range(2):
            assert client.post("/change", content=content).json()["body"] == len(content)
        pieces = (b"a" for _ in range(MAX_HEAD_BYTES // 4))  # each with five bytes of its own around it
        assert client.post("/change", content=pieces).json()["body"] == MAX_HEAD_BYTES // 4


def test_a_head_that_does_not_come_ends_its_connection(node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_S", 0.3)
    with node.serve() as url:
        assert said(url) == b""
        assert said(url, b"GET /jwks HTTP/1.1\r\nHost: local") == b""
        whole = b"GET /jwks HTTP/1.1\r\nHost: localhost\r\n\r\n"
        assert said(url, whole + b"GET /jwks HTTP/1.1\r\nHo").count(b"HTTP/1.1 200") == 1
