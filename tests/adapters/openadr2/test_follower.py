"""What a node that follows a VTN goes on doing, or no more, where the VTN or the owner says something else."""

import itertools

import pytest
import pytest_asyncio
from openadr2_home import at_home, until

from gridspine.adapters.openadr2 import message as m
from gridspine.adapters.openadr2 import message_report as r
from gridspine.adapters.openadr2 import session
from gridspine.kernel.errors import DiskFull

BATTERY = "https://gridspine.org/models/battery"
NAMES = itertools.count(1)
OVER = {"cancelled", "ended", "superseded"}


class Following:
    """A home that follows a VTN: its battery does what an event of the VTN asks for."""

    def __init__(self, vtn, home, name):
        self.vtn, self.home, self.battery = vtn, home, f"urn:example:battery-{name}"
        self.thing = self.programme = ""

    async def begin(self, **more):
        """Follow, while an event limits import to 1500 W; return when that is commanded."""
        issued, name = self.home.issued, self.home.folder.name
        there = await self.vtn.own(name, await self.vtn.known(issued, name))
        self.programme, _ = await self.vtn.enrolled(there, title=name, descriptionUrl=f"https://u.example/{name}")
        await self.vtn.publish(self.programme, (-5, 3600, {"control": {"importLimitW": 1500}}))
        await self.home.world.op.post("/things", json={"id": self.battery, "title": "Battery", "model": BATTERY})
        site = await self.home.site(self.battery)
        self.thing = await self.home.follow(self.vtn, site, modes=("importLimitW",), **more)
        await until(self.limited)
        return site

    async def connect(self, **said):
        """Let the owner say another connection."""
        connection = {"vtn": f"{self.vtn.url}/OpenADR2/Simple/2.0b", "access": "utility", "pollS": 1, **said}
        body = {"gs:connection": connection}
        headers = {"content-type": "application/merge-patch+json"}
        answer = await self.home.world.op.patch(f"/things/{self.thing}", json=body, headers=headers)
        assert answer.status_code in {200, 204}, answer.text

    async def takes_part(self, *wanted):
        """Whether the enrolments of the home that are active are those ``wanted``, each as subject and modes."""
        (mine,) = await self.home.ask("/programmes")
        found = await self.home.ask(f"/programmes/{mine['id']}/enrolments")
        return [(one["subject"], one["modes"]) for one in found if one["state"] == "active"] == list(wanted)

    async def limited(self):
        """Whether the battery is commanded to take 1500 W at most."""
        return await self.commanded() == [1500]

    async def free(self):
        """Whether the battery is commanded nothing."""
        return not await self.commanded()

    async def commanded(self):
        found = await self.home.ask(f"/commands?thing={self.battery}")
        return [one["value"] for one in found if one["state"] not in OVER]

    async def connected(self):
        return (await self.home.ask(f"/things/{self.thing}/properties/connected"))["value"]


@pytest_asyncio.fixture(loop_scope="module")
async def following(vtn, tmp_path_factory):
    name = f"follower-{next(NAMES)}-"
    async with at_home(vtn, tmp_path_factory.mktemp(name)) as home:
        yield Following(vtn, home, name)


def refuse_events(patch, asked):
    """Let a VTN answer that it cannot tell of its events."""

    async def broken(desk, asker, given):
        asked.append(given)
        raise DiskFull("the disk is full")

    patch.setitem(session.SERVICES["EiEvent"], m.RequestEvent, broken)


def say_nothing(patch, asked):
    """Let a VTN answer nothing at all where it is asked for events."""
    answer = session.App._answer

    async def empty(app, scope, receive):
        if not scope["path"].endswith("EiEvent"):
            return await answer(app, scope, receive)
        asked.append(scope)
        return b""

    patch.setattr(session.App, "_answer", empty)


@pytest.mark.slow
@pytest.mark.parametrize("fail", [refuse_events, say_nothing])
@pytest.mark.asyncio(loop_scope="module")
async def test_an_error_is_not_taken_for_there_being_no_events(following, monkeypatch, fail):
    await following.begin()
    asked = []
    with monkeypatch.context() as patch:
        fail(patch, asked)
        await following.home.stop()
        await following.home.start()  # it asks for all events anew

        async def heard():
            return len(asked) > 1 or not await following.home.events()

        await until(heard)
        assert await following.home.events()
        assert await following.limited()
        assert not await following.connected()
    await until(following.connected)
    assert await following.limited()


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
async def test_a_vtn_that_takes_no_reports_is_followed_all_the_same(following, monkeypatch):
    async def none(desk, asker, given):
        raise DiskFull("the disk is full")

    monkeypatch.setitem(session.SERVICES["EiReport"], r.RegisterReport, none)
    await following.begin(telemetry=following.battery)
    await until(following.connected)


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
async def test_consent_that_is_taken_back_ends_what_runs_also_while_the_vtn_is_away(following):
    site = await following.begin()
    assert await following.takes_part((site, ["importLimitW"]))
    await following.connect(site=site, modes=[])
    await until(following.free)
    await until(lambda: following.takes_part((site, [])))

    async def told(out):
        return bool(await following.vtn.opts(following.programme)) == out

    await until(lambda: told(True))
    await following.connect(site=site, modes=["importLimitW"])
    await until(following.limited)  # an event that is known is read anew
    await until(lambda: told(False))
    await following.vtn.stop()
    await following.connect(modes=["importLimitW"])
    await until(following.free)
    await until(following.takes_part)
    await following.vtn.start()
    await until(following.connected)
    assert await following.free()
