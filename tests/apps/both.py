"""One node behind two servers, so that what the fast lane says can be held beside what the framework says."""

import asyncio
import contextlib
import re

from running_node import World

from gridspine.apps.api.app import allowed_hosts, framework
from gridspine.apps.api.head import HeadAsGet
from gridspine.apps.api.safe import SafeHeaders
from gridspine.apps.node.serve import bind, serve

BROWSERS = (b"content-security-policy", b"cross-origin-resource-policy", b"referrer-policy")
"""Headers for browsers, which the lane leaves out; in which order headers come says nothing."""


class Both:
    """One node behind two servers: with the fast lane, and by the framework alone."""

    def __init__(self, world, plain):
        self.world, self.ports = world, (world.running.port, plain.port)
        self.taken = []

    async def ask(self, *lines, body=b""):
        """Send the same bytes to both; return both answers without what differs by its nature."""
        answers = []
        for port in self.ports:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = [*lines] if any(line.startswith("Host") for line in lines) else [*lines, "Host: 127.0.0.1"]
            writer.write("\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body)
            answers.append(await whole(reader, head=lines[0].startswith("HEAD")))
            writer.close()
        return [_same(answer, sized=not lines[0].startswith("HEAD")) for answer in answers]


@contextlib.asynccontextmanager
async def both_ways(folder, settings=None):
    """Start a node, and a second server of it without lanes."""
    world = await World.start(folder, settings)
    node = world.node
    plain = await serve(
        allowed_hosts(node, SafeHeaders(HeadAsGet(framework(node)))), bind("127.0.0.1", 0), http=node.settings.http
    )
    try:
        yield Both(world, plain)
    finally:
        await plain.stop()
        await world.stop()


async def whole(reader, *, head=False):
    """Read one answer to its end."""
    got = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
    size = re.search(rb"content-length: (\d+)", got)
    return got + (await reader.readexactly(int(size[1])) if size and not head else b"")


def token(http):
    """Return the line of a request's head that says who asks."""
    return f"Authorization: {http.headers['authorization']}"


def _same(answer, *, sized):
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *headers = head.split(b"\r\n")
    headers = sorted(header for header in headers if not header.startswith(BROWSERS))
    answer = b"\r\n".join([status, *headers]) + b"\r\n\r\n" + body
    answer = re.sub(rb"date: [^\r]*", b"date: -", answer)
    answer = re.sub(rb'"ageS":[0-9.]+', b'"ageS":0', answer)
    answer = re.sub(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", b"-", answer)
    aged = b"ageS" in answer or not sized  # of a HEAD the size alone tells of an age
    return re.sub(rb"content-length: \d+", b"content-length: -", answer) if aged else answer


def noted(monkeypatch, lane):
    """Tell of each request that ``lane`` is asked about from now on whether it took it."""
    told = []
    original = lane.__call__

    def note(self, target, scope):
        found = original(self, target, scope)
        told.append(found is not None)
        return found

    monkeypatch.setattr(lane, "__call__", note)
    return told
