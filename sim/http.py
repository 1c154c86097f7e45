"""Clients of the node's HTTP application, without sockets: one request, and one stream of events."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import msgspec

_PEER = ("127.0.0.1", 40_000)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the node answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body's content."""
        return msgspec.json.decode(self.body)


def _scope(method: str, target: str, headers: Mapping[str, str]) -> dict[str, Any]:
    path, _, query = target.partition("?")
    given = {"host": "localhost:8600"} | dict(headers)
    return {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": method,
        "scheme": "http", "path": unquote(path), "raw_path": path.encode(), "query_string": query.encode(),
        "root_path": "", "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "client": _PEER, "server": ("127.0.0.1", 8600), "state": {}, "extensions": {},
    }  # fmt: skip


async def request(
    app: Any,
    method: str,
    target: str,
    *,
    token: str = "",
    body: bytes = b"",
    kind: str = "",
    answered: Callable[[Answer], None] = lambda _: None,
) -> Answer:
    """Ask the node once and return its answer; ``answered`` hears it as the node gives it. Nothing is lost here."""
    headers = {"content-length": str(len(body))}
    if token:
        headers["authorization"] = f"Bearer {token}"
    if kind:
        headers["content-type"] = kind
    if kind == "application/senml+json; backfill":
        headers |= {"content-type": "application/senml+json", "backfill": "true"}
    asked = False
    status = 0
    given: dict[str, str] = {}
    parts: list[bytes] = []

    async def receive() -> dict[str, Any]:
        nonlocal asked
        if asked:
            await asyncio.get_running_loop().create_future()  # the client stays
        asked = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status, given
        if message["type"] == "http.response.start":
            status = message["status"]
            given = {name.decode().lower(): value.decode() for name, value in message["headers"]}
        else:
            parts.append(message.get("body", b""))
            if not message.get("more_body"):
                answered(Answer(status, given, b"".join(parts)))

    await app(_scope(method, target, headers), receive, send)
    return Answer(status, given, b"".join(parts))


@dataclass(eq=False)
class Listener:
    """A client of an event stream: ``heard`` gets each event's name, data and id as it is *handed out*.

    While ``stalled`` it takes nothing: the node's send waits. ``gone`` is set by `leave`.
    """

    heard: Callable[[str, bytes, str], None]
    status: int = 0
    answer: bytes = b""
    stalled: bool = False
    _moved: asyncio.Event = field(default_factory=asyncio.Event)
    _gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def follow(self, app: Any, target: str, token: str) -> None:
        """Follow until the stream ends or the client leaves."""
        sent = False

        async def receive() -> dict[str, Any]:
            nonlocal sent
            if not sent:
                sent = True
                return {"type": "http.request", "body": b"", "more_body": False}
            await self._gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                return
            while self.stalled and not self._gone.is_set():
                self._moved.clear()
                await self._moved.wait()
            if self._gone.is_set():
                return
            if self.status == 200:
                self._take(message.get("body", b""))
            else:
                self.answer += message.get("body", b"")

        await app(_scope("GET", target, {"authorization": f"Bearer {token}"}), receive, send)

    def stall(self) -> None:
        """Take nothing from now on."""
        self.stalled = True

    def go_on(self) -> None:
        """Take again."""
        self.stalled = False
        self._moved.set()

    def leave(self) -> None:
        """Hang up."""
        self._gone.set()
        self._moved.set()

    def _take(self, chunk: bytes) -> None:
        name = data = id_ = b""
        for line in chunk.split(b"\n"):
            field_, _, value = line.partition(b": ")
            match field_:
                case b"event":
                    name = value
                case b"data":
                    data = value
                case b"id":
                    id_ = value
        if name:
            self.heard(name.decode(), data, id_.decode())
