"""Subscriptions of an aggregator, and who is told what, where."""

import asyncio
import itertools
import re
import time
from types import SimpleNamespace

import pytest
from csip_device import path_of
from csip_utility import SEP, XML, href, serving, until, xml
from lxml import etree

from gridspine.adapters.ieee2030_5 import notify
from gridspine.infra.runtime.clock import SystemClock
from gridspine.kernel.time import US
from gridspine.testing.node import FakeNode


class Hook:
    """A subscriber's server: the bodies it was sent; ``status`` is what it answers, 0 for a body without an end."""

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
            if not self.status:
                writer.write(b"HTTP/1.1 200 x\r\ncontent-length: 60000\r\n\r\n")
            while not self.status:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.05)
            writer.write(f"HTTP/1.1 {self.status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


def asked(resource, uri, limit=10, condition=""):
    return (
        f'<Subscription xmlns="{SEP[1:-1]}"><subscribedResource>{resource}</subscribedResource>{condition}'
        f"<encoding>0</encoding><level>+S1</level><limit>{limit}</limit><notificationURI>{uri}</notificationURI></Subscription>"
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


async def test_what_is_no_address_for_notifications_is_refused(utility) -> None:
    _, http, own, _ = await aggregator(utility)
    wrong = ("http://[::1", "http://a:b/", "http://a:99999/", "ftp://a/", "http:///a", "http://u@a/", "http://a/&#127;")
    found = {
        uri: (await http.post(f"{own}/sub", content=asked("/edev", uri), headers=XML)).status_code for uri in wrong
    }
    assert found == dict.fromkeys(wrong, 400)
    assert (await http.post(f"{own}/sub", content=asked("/edev", "http://a:1/"), headers=XML)).status_code == 201


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


async def test_who_was_away_is_told_though_the_clock_was_set_back(tmp_path, monkeypatch) -> None:
    async with serving(tmp_path, notify_allow=["127.0.0.0/8"]) as utility, Hook() as hook:
        thing, http, own, path = await aggregator(utility)
        body = {"title": "Winter", "modes": ["exportLimitW"]}
        programme = (await utility.world.op.post("/programmes", json=body)).json()["id"]
        asks = {"thing": thing, "from": "2020-01-01T00:00:00Z", "until": "2099-01-01T00:00:00Z"}
        assert (await utility.world.op.post(f"/programmes/{programme}/enrolments", json=asks)).status_code == 201

        async def link():
            return href(xml(await http.get(f"{path}/fsa")), "DERProgramListLink")

        await http.post(f"{own}/sub", content=asked(await until(link), hook.url), headers=XML)
        hook.status = 500
        answer = await utility.world.op.put(f"/programmes/{programme}", json=body | {"title": "Spring"})
        assert answer.status_code == 200

        async def told(many=1):
            return len(hook.bodies) >= many or None

        await until(told)
        now_us = SystemClock.now_us
        monkeypatch.setattr(SystemClock, "now_us", lambda self: now_us(self) - 3_600 * US)
        hook.status = 200
        await until(lambda: told(2))
        assert "Spring" in hook.bodies[-1]


async def subscribed(utility, *hooks):
    """Have subscribers told of the controls of a programme; return the programme."""
    thing, http, own, path = await aggregator(utility)
    programme, _ = await utility.programme(thing, kind="thing")
    link = href(xml(await http.get(f"{path}/fsa")), "DERProgramListLink")
    target = href(xml(await http.get(link)), "DERControlListLink")
    for hook in hooks:
        made = await http.post(f"{own}/sub", content=asked(target, hook.url), headers=XML)
        assert made.status_code == 201, made.text
    return programme


@pytest.mark.parametrize("restarted", [False, True])
async def test_who_is_deactivated_is_told_nothing_any_more(tmp_path, restarted) -> None:
    async with serving(tmp_path, notify_allow=["127.0.0.0/8"]) as utility, Hook() as hook, Hook() as other:
        programme = await subscribed(utility, hook)
        issued = utility.pki.device("other")
        second = await utility.thing(await utility.known(issued, "other"), issued.lfdi)
        http = await utility.client(issued)
        path = await until(lambda: path_of(http))
        body = {"thing": second, "until": "2099-01-01T00:00:00Z"}
        answer = await utility.world.op.post(f"/programmes/{programme}/enrolments", json=body)
        assert answer.status_code == 201, answer.text
        link = await until(lambda: assigned(http, path))
        target = href(xml(await http.get(link)), "DERControlListLink")
        assert (await http.post(f"{path}/sub", content=asked(target, other.url), headers=XML)).status_code == 201
        if restarted:
            await utility.restart()
        await utility.event(programme, {"exportLimitW": 1}, start_s=900)
        await until(lambda: told_of(hook, other, value=1))
        known = (await utility.world.op.get("/principals")).json()
        principal = next(one["id"] for one in known if one["name"] == "device")
        assert (await utility.world.op.post(f"/principals/{principal}/deactivate")).status_code in {200, 204}
        await utility.event(programme, {"exportLimitW": 2}, start_s=1800)
        await until(lambda: told_of(other, value=2))
        await utility.event(programme, {"exportLimitW": 3}, start_s=2700)
        await until(lambda: told_of(other, value=3))
        assert not await told_of(hook, value=2)


async def told_of(*hooks, value):
    return all(any(f"<value>{value}</value>" in body for body in one.bodies) for one in hooks) or None


async def assigned(http, path):
    return href(xml(await http.get(f"{path}/fsa?l=9")), "DERProgramListLink")


async def test_who_answers_without_an_end_holds_nobody_up(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(notify, "TIMEOUT_S", 3_600.0)
    async with serving(tmp_path, notify_allow=["127.0.0.0/8"]) as utility, Hook() as endless, Hook() as hook:
        endless.status = 0
        programme = await subscribed(utility, endless, hook)
        for number in (1, 2):
            await utility.event(programme, {"exportLimitW": 1000 * number}, start_s=600 * number)

            async def told(number=number):
                return (hook.bodies and hook.bodies[-1].count("<DERControl ") == number) or None

            await until(told)
        assert len(endless.bodies) == 1
        endless.status = 204


async def test_a_client_with_many_slow_subscriptions_leaves_seats_for_others(monkeypatch) -> None:
    posting, free = [], asyncio.Event()

    async def post(_self, _http, uri, _body):
        posting.append(uri)
        await free.wait()
        return ""

    monkeypatch.setattr(notify.Notifier, "_post", post)
    monkeypatch.setattr(notify, "subscribed", lambda *_: None)
    monkeypatch.setattr(notify.resources, "notification", lambda *_: SimpleNamespace(document=lambda _: b""))
    settings = SimpleNamespace(path="", csip_aus="1.2")
    notifier = notify.Notifier(FakeNode(), settings, SimpleNamespace(changed=asyncio.Event()))
    async with asyncio.TaskGroup() as group, asyncio.timeout(60):
        for client in ["one"] * 40 + ["two"]:
            one = SimpleNamespace(device="d", number="1", uri=client)
            shown = SimpleNamespace(view=SimpleNamespace(lfdi=client), things=())
            group.create_task(notifier._tell(None, shown, one, notify._Told(b""), b"x"))
        while "two" not in posting:
            await asyncio.sleep(0.01)
        assert posting.count("one") == notify.AT_ONCE_OF_ONE
        free.set()
    assert len(posting) == 41


async def test_who_answers_without_an_end_is_told_again(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(notify, "TIMEOUT_S", 1.0)
    monkeypatch.setattr(notify, "FIRST_S", 0.1)
    async with serving(tmp_path, notify_allow=["127.0.0.0/8"]) as utility, Hook() as endless:
        endless.status = 0
        await utility.event(await subscribed(utility, endless), {"exportLimitW": 1000})

        async def again():
            return len(endless.bodies) >= 2 or None

        await until(again)
        endless.status = 204


def between(lower, upper, about=0):
    return (
        f"<Condition><attributeIdentifier>{about}</attributeIdentifier><lowerThreshold>{lower}</lowerThreshold>"
        f"<upperThreshold>{upper}</upperThreshold></Condition>"
    )


POINT = """<MirrorUsagePoint xmlns="urn:ieee:std:2030.5:ns"><mRID>AA01</mRID><roleFlags>0049</roleFlags>
  <serviceCategoryKind>0</serviceCategoryKind><status>1</status><deviceLFDI>{}</deviceLFDI><MirrorMeterReading>
  <mRID>BB01</mRID><ReadingType><flowDirection>1</flowDirection><powerOfTenMultiplier>0</powerOfTenMultiplier>
  <uom>38</uom></ReadingType></MirrorMeterReading></MirrorUsagePoint>"""


async def test_readings_beyond_thresholds_are_told_and_no_others(tmp_path, schema) -> None:
    async with serving(tmp_path, notify_allow=["127.0.0.0/8"]) as utility, Hook() as hook:
        _, http, own, path = await aggregator(utility)
        lfdi = xml(await http.get(path)).find(f"{SEP}lFDI").text
        made = await http.post("/mup", content=POINT.format(lfdi), headers=XML)
        assert made.status_code == 201, made.text
        at = made.headers["location"].replace("/mup/", "/upt/")
        assert href(xml(await http.get("/dcap")), "UsagePointListLink") == "/upt"
        for path in ("/upt?l=9", at, f"{at}/mr?l=9", f"{at}/mr/BB01", f"{at}/mr/BB01/rt", f"{at}/mr/BB01/r"):
            schema.assertValid(etree.fromstring((await http.get(path)).content))
        reading = href(xml(await http.get(f"{at}/mr/BB01")), "ReadingLink")
        assert xml(await http.get(reading)).find(f"{SEP}value") is None, "nothing was posted yet"
        for resource, condition in (
            (reading, between(0, 1, about=1)), (reading, between(2, 1)), ("/edev", between(0, 1)),
            (reading, "<Condition/>"), (f"{at}/mr/BB02/r", between(0, 1)), (at, ""),
        ):  # fmt: skip
            answer = await http.post(f"{own}/sub", content=asked(resource, hook.url, condition=condition), headers=XML)
            assert answer.status_code == 400, (resource, condition)
        body = asked(reading, hook.url, condition=between(-100, 100))
        there = (await http.post(f"{own}/sub", content=body, headers=XML)).headers["location"]
        schema.assertValid(etree.fromstring((await http.get(there)).content))
        times = itertools.count(int(time.time()) - 100)

        async def metered(value):
            period = f"<timePeriod><duration>1</duration><start>{next(times)}</start></timePeriod>"
            body = (
                f'<MirrorMeterReading xmlns="{SEP[1:-1]}"><mRID>BB01</mRID><Reading>{period}<value>{value}</value>'
                "</Reading></MirrorMeterReading>"
            )
            assert (await http.post(made.headers["location"], content=body, headers=XML)).status_code == 201
            assert xml(await http.get(reading)).find(f"{SEP}value").text == str(value)

        async def told(value):
            await metered(value)

            async def arrived():
                return (hook.bodies and f"<value>{value}</value>" in hook.bodies[-1]) or None

            await until(arrived)

        for value in (100, 0, -100):
            await metered(value)
        await told(101)
        await metered(5)
        await told(-101)
        said = [re.search("<value>(.*)</value>", one).group(1) for one in hook.bodies]
        assert said == ["101", "-101"]
        schema.assertValid(etree.fromstring(hook.bodies[0].encode()))
        now = next(times)
        times = itertools.count(now + 1_000_000)
        await metered(6)
        times = itertools.count(now + 1)
        await metered(7)  # its clock is right again
        assert (await http.delete(made.headers["location"])).status_code == 204
        made = await http.post("/mup", content=POINT.format(lfdi), headers=XML)
        reading = f"{made.headers['location'].replace('/mup/', '/upt/')}/mr/BB01/r"
        assert xml(await http.get(reading)).find(f"{SEP}value") is None, "it is another's by now, for all we know"
        assert 'xsi:type="Reading"' in hook.bodies[0]


async def test_whoever_asks_for_no_items_is_told_that_there_is_news_and_of_any_item(tmp_path) -> None:
    async with serving(tmp_path, notify_allow=["127.0.0.0/8"]) as utility, Hook() as hook:
        thing, http, own, path = await aggregator(utility)
        programme, _ = await utility.programme(thing, kind="thing")
        await utility.event(programme, {"exportLimitW": 750})
        link = href(xml(await http.get(f"{path}/fsa")), "DERProgramListLink")
        target = href(xml(await http.get(link)), "DERControlListLink")
        for resource, limit in ((target, 0), (target.rpartition("/")[0] + "/dderc", 0)):
            await http.post(f"{own}/sub", content=asked(resource, hook.url, limit), headers=XML)
        body = {"title": "Summer peaks", "modes": ["exportLimitW"], "defaultControl": {"exportLimitW": 900}}
        await utility.event(programme, {"exportLimitW": 0}, start_s=900)
        assert (await utility.world.op.put(f"/programmes/{programme}", json=body)).status_code == 200

        async def news():
            listed = [one for one in hook.bodies if 'all="2" results="0"' in one or 'results="0" all="2"' in one]
            other = [one for one in hook.bodies if "/dderc<" in one]
            return (listed and other) or None

        *_, default = await until(news)
        assert "<Resource" not in default
        assert not any("DERControlBase" in one for one in hook.bodies)


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
