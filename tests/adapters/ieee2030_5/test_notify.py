"""Subscriptions of an aggregator, and who is told what, where."""

import asyncio

import pytest
from csip_utility import SEP, XML, href, serving, until, xml


class Hook:
    """A subscriber's server: the bodies it was sent; ``status`` is what it answers."""

    def __init__(self):
        self.bodies, self.status, self.url = [], 204, ""

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/told"
        return self

    async def __aexit__(self, *_):
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader, writer):
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            size = int(head.partition("content-length:")[2].partition("\r\n")[0])
            self.bodies.append((await reader.readexactly(size)).decode())
            writer.write(f"HTTP/1.1 {self.status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
            await writer.drain()
        finally:
            writer.close()


def asked(resource, uri, limit=10):
    return (
        f'<Subscription xmlns="{SEP[1:-1]}"><subscribedResource>{resource}</subscribedResource><encoding>0</encoding>'
        f"<level>+S1</level><limit>{limit}</limit><notificationURI>{uri}</notificationURI></Subscription>"
    )


async def aggregator(utility):
    """Make an aggregator with a device behind it; return the device's Thing, the client, and both paths."""
    issued, behind = utility.pki.device("aggregator"), utility.pki.device("behind")
    principal = await utility.known(issued)
    await utility.thing(principal, issued.lfdi, name="urn:example:aggregator", role="aggregator", pin=0)
    thing = await utility.thing(principal, behind.lfdi, aggregator=issued.lfdi)
    http = await utility.client(issued)

    async def both():
        found = xml(await http.get("/edev?l=9")).findall(f"{SEP}EndDevice")
        return [one.get("href") for one in found] if len(found) == 2 else None

    return thing, http, *(await until(both))


@pytest.mark.parametrize("allowed", [True, False])
async def test_a_subscriber_is_told_where_the_settings_let_it(tmp_path, allowed) -> None:
    more = {"notify_allow": ["127.0.0.0/8"]} if allowed else {}
    async with serving(tmp_path, **more) as utility, Hook() as hook:
        thing, http, own, path = await aggregator(utility)
        programme, _ = await utility.programme(thing, kind="thing")
        link = href(xml(await http.get(f"{path}/fsa")), "DERProgramListLink")
        target = href(xml(await http.get(link)), "DERControlListLink")
        made = await http.post(f"{own}/sub", content=asked(target, hook.url), headers=XML)
        assert made.status_code == 201, made.text
        again = await http.post(f"{own}/sub", content=asked(target, hook.url), headers=XML)
        assert (again.status_code, again.headers["location"]) == (204, made.headers["location"])
        await utility.event(programme, {"exportLimitW": 750})
        if not allowed:
            await asyncio.sleep(1)
            assert hook.bodies == []
            return

        async def told():
            return hook.bodies or None

        (body,) = await until(told)
        assert f"<subscribedResource>{target}</subscribedResource>" in body
        assert 'xsi:type="DERControlList"' in body
        assert "<value>750</value>" in body
        assert (await http.delete(made.headers["location"])).status_code == 204
        assert (await http.get(made.headers["location"])).status_code == 404


async def test_who_was_away_is_told_what_holds_then(tmp_path) -> None:
    async with serving(tmp_path, notify_allow=["127.0.0.0/8"]) as utility, Hook() as hook:
        thing, http, own, path = await aggregator(utility)
        programme, _ = await utility.programme(thing, kind="thing")
        link = href(xml(await http.get(f"{path}/fsa")), "DERProgramListLink")
        await http.post(f"{own}/sub", content=asked(link, hook.url), headers=XML)
        hook.status = 500
        body = {"title": "Winter", "modes": ["exportLimitW"]}
        assert (await utility.world.op.put(f"/programmes/{programme}", json=body)).status_code == 200

        async def tried():
            return hook.bodies or None

        await until(tried)
        hook.status = 200
        assert (
            await utility.world.op.put(f"/programmes/{programme}", json=body | {"title": "Spring"})
        ).status_code == 200

        async def newest():
            return "Spring" in hook.bodies[-1] or None

        await until(newest)


async def test_what_cannot_be_subscribed_to_is_refused(utility) -> None:
    _, http, own, path = await aggregator(utility)
    for resource, uri in (
        (f"{path}/fsa", "ftp://example.org/"), (f"{path}/fsa", "https://u:p@example.org/"), ("/tm", "https://example.org/"),
        ("/edev/0000000000000000/fsa", "https://example.org/"), ("https://example.org/", "https://example.org/"),
    ):  # fmt: skip
        answer = await http.post(f"{own}/sub", content=asked(resource, uri), headers=XML)
        assert answer.status_code == 400, (resource, uri)
    answer = await http.post(f"{path}/sub", content=asked(f"{path}/fsa", "https://example.org/"), headers=XML)
    assert answer.status_code == 404, "subscriptions are beneath the aggregator's own EndDevice"
