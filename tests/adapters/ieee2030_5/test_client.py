"""A node as client of another node's utility server, over mutual TLS: what the utility says, the other follows."""

import asyncio
import itertools
from types import SimpleNamespace

import pytest
from csip_home import LINK, METER_ID, Home, registered, responses
from csip_utility import METER, SEP, until, xml

from gridspine.adapters.ieee2030_5.client import connection as client_connection
from gridspine.adapters.ieee2030_5.client.utility import Client, Utility
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.errors import Overloaded, Unavailable


@pytest.fixture
async def home(utility, tmp_path):
    made = Home(utility, tmp_path / "home")
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


async def test_a_utilitys_words_are_followed(utility, home) -> None:
    thing = await registered(utility, home)
    site = await utility.site(thing)
    programme, _ = await utility.programme(site, defaultControl={"exportLimitW": 1500}, primacy=3)
    event = await utility.event(programme, {"exportLimitW": 0, "rampS": 30})
    await home.settle()

    (own,) = await until(home.events)
    assert own["intervals"][0]["control"] == {"exportLimitW": 0, "rampS": 30}
    (mirrored,) = await home.programmes()
    assert (mirrored["primacy"], mirrored["defaultControl"]) == (3, {"exportLimitW": 1500})

    async def answered(*wanted):
        found = [status for _, status in await responses(utility, home)]
        return set(wanted) <= set(found) or None

    await until(lambda: answered(1, 2))
    await until(lambda: home.says(serverReached=1, controlsHeld=1))
    assert (await utility.world.op.post(f"/programmes/{programme}/events/{event}/cancel", json={})).status_code == 200

    async def over():
        return [one for one in await home.events() if one["status"] == "cancelled"] or None

    await until(over)
    await until(lambda: answered(6))
    assert (await utility.world.op.get(f"/things/{thing}")).status_code == 200
    point = xml(await (await utility.client(home.issued)).get("/edev?l=9")).find(f"{SEP}EndDevice").get("href")
    assert "NMI7" in (await (await utility.client(home.issued)).get(f"{point}/cp")).text


async def test_a_program_that_is_none_stops_no_other_and_what_stands_of_it_goes_on(utility, home, monkeypatch) -> None:
    thing = await registered(utility, home)
    for primacy, limit in ((3, "importLimitW"), (5, "exportLimitW")):
        programme, _ = await utility.programme(thing, kind="thing", primacy=primacy)
        event = await utility.event(programme, {limit: 100.0 * primacy})
    await home.settle()

    async def both():
        found = await home.events()
        return len(found or ()) == 2 or None

    await until(both)
    said = client_connection.read_body

    async def spoiled(*given):
        return (await said(*given)).replace(b"<primacy>3</primacy>", b"")

    monkeypatch.setattr(client_connection, "read_body", spoiled)
    assert (await utility.world.op.post(f"/programmes/{programme}/events/{event}/cancel", json={})).status_code == 200

    async def heard():
        return any(one["status"] == "cancelled" for one in await home.events()) or None

    await until(heard)
    await until(lambda: home.says(serverReached=1, controlsHeld=1))
    states = {next(iter(one["intervals"][0]["control"])): one["status"] for one in await home.events()}
    assert states == {"importLimitW": "active", "exportLimitW": "cancelled"}

    async def answered():
        return 6 in [status for _, status in await responses(utility, home)] or None

    await until(answered)
    assert sorted(status for _, status in await responses(utility, home)) == [1, 1, 2, 2, 6], "one is cancelled"

    async def timeless(*given):
        return (await said(*given)).replace(b"<interval>", b"<never>").replace(b"</interval>", b"</never>")

    monkeypatch.setattr(client_connection, "read_body", timeless)
    await until(lambda: home.says(serverReached=1, controlsHeld=1, controlsUnreadable=2))
    states = {next(iter(one["intervals"][0]["control"])): one["status"] for one in await home.events()}
    assert states == {"importLimitW": "active", "exportLimitW": "cancelled"}, "what cannot be read is not cancelled"
    assert len(await responses(utility, home)) == 5


async def test_of_two_programs_that_overlap_the_better_holds_and_then_the_other_again(utility, home) -> None:
    thing = await registered(utility, home)
    usual, _ = await utility.programme(thing, kind="thing", primacy=9)
    emergency, _ = await utility.programme(thing, kind="thing", primacy=1)
    await utility.event(usual, {"exportLimitW": 500}, title="Usual")
    await home.settle()

    async def held(limit):
        first, *_ = (await home.world.op.get(f"/sites/{home.site}/limits")).json()
        return first["tightest"].get("exportLimitW") == limit or None

    await until(lambda: held(500))
    better = await utility.event(emergency, {"exportLimitW": 2000}, title="Emergency")
    await until(lambda: held(2000))
    await until(lambda: home.says(controlsListed=2, controlsHeld=1))
    answer = await utility.world.op.post(f"/programmes/{emergency}/events/{better}/cancel", json={})
    assert answer.status_code == 200, answer.text
    await until(lambda: held(500))
    await until(lambda: home.says(controlsListed=2, controlsHeld=1))

    async def told():
        said: dict[str, list[int]] = {}
        for subject, status in await responses(utility, home):
            said.setdefault(subject, []).append(status)
        return sorted(said.values()) == [[1, 2, 6], [1, 2, 7]] or None

    await until(told)


async def test_an_end_device_whose_documents_are_none_stops_no_other(monkeypatch) -> None:
    looked = []

    class Device:
        def __init__(self, thing, error=None):
            self.thing, self.error = thing, error

        async def look(self, _port, *, away):
            looked.append((self.thing, away))
            if self.error is not None:
                raise self.error

    async def nothing(*_given):
        return SimpleNamespace(organisation="o")

    async def kept(_key):
        return None

    monkeypatch.setattr(Utility, "_rebind", nothing)
    context = SimpleNamespace(store=SimpleNamespace(get=kept), clock=VirtualClock(), authorise=nothing)
    access = client_connection.Access("https://a.example/dcap", "", "", "")
    made, walk = (
        Utility(context, SimpleNamespace(of=lambda _: None), "grid", access, 1),
        SimpleNamespace(watched={}, connection=None),
    )

    async def tried(*devices):
        looked.clear()
        made._followers = {one.thing: one for one in devices}
        return await made._tried(Client(b"", ""), walk), list(looked)

    broken = Device("a", Overloaded("too many"))
    assert await tried(broken, Device("b")) == ("", [("a", False), ("b", False)])
    unthought = Device("a", KeyError("rate"))
    assert await tried(unthought, Device("b")) == ("", [("a", False), ("b", False)])
    assert await tried(Device("a", Unavailable("gone")), Device("b")) == ("gone", [("a", False), ("b", True)])
    assert await tried(broken) == ("too many", [("a", False)]), "where none can be followed it is the server"


@pytest.mark.slow
async def test_what_was_said_holds_while_the_utility_is_away(utility, home) -> None:
    thing = await registered(utility, home)
    programme, _ = await utility.programme(thing, kind="thing", defaultControl={"importLimitW": 9000})
    await utility.event(programme, {"importLimitW": 2000}, start_s=2, duration_s=10)
    await home.settle()
    await until(home.events)
    await utility.stop()

    async def held(limit):
        answer = await home.world.op.get(f"/sites/{home.site}/limits")
        assert answer.status_code == 200, answer.text
        first = answer.json()[0] if isinstance(answer.json(), list) else answer.json()
        return limit in str(first) or None

    await until(lambda: held("2000"))
    await until(lambda: held("9000"))

    await until(lambda: home.says(serverReached=0))
    await utility.start()


@pytest.mark.slow
async def test_a_stop_in_between_makes_nothing_twice(utility, home) -> None:
    thing = await registered(utility, home)
    programme, _ = await utility.programme(thing, kind="thing")
    await utility.event(programme, {"generationLimitW": 500})
    await home.settle()
    await until(home.events)
    await home.stop()
    await home.start()

    await until(lambda: home.says(serverReached=1))
    assert len(await home.events()) == 1
    assert (await home.world.op.delete(f"/things/{LINK}")).status_code == 204

    async def ended():
        return not await home.programmes() or None

    await until(ended)
    assert await home.events() is None


async def test_an_owner_opts_out_and_the_utility_is_told(utility, home) -> None:
    thing = await registered(utility, home)
    programme, _ = await utility.programme(thing, kind="thing")
    await utility.event(programme, {"generationLimitW": 500})
    await home.settle()
    (event,) = await until(home.events)
    path = f"/programmes/{event['programme']}/enrolments"
    (enrolment,) = (await home.world.op.get(path)).json()
    answer = await home.world.op.post(f"{path}/{enrolment['id']}/opt-out", json={"event": event["id"]})
    assert answer.status_code == 200, answer.text

    async def held():
        found = (await home.world.op.get(f"/sites/{home.site}/limits")).json()
        return not any("generationLimitW" in str(one["tightest"]) for one in found) or None

    await until(held)
    await until(lambda: home.says(controlsListed=1, controlsHeld=0))
    assert (await utility.world.op.delete(f"/programmes/{programme}")).status_code == 204
    await until(lambda: home.says(controlsListed=0))


async def test_another_pin_is_another_server_and_a_lost_certificate_ends_it(utility, home) -> None:
    thing = await registered(utility, home)
    programme, _ = await utility.programme(thing, kind="thing")
    principal = await home.settle(pin=222220)
    await until(lambda: home.says(serverReached=1))
    assert await home.programmes() == []
    headers = {"content-type": "application/merge-patch+json"}
    patch = {"gs:connection": {"utility": "grid", "site": home.site, "pin": 111115}}
    answer = await home.world.op.patch(f"/things/{LINK}", json=patch, headers=headers)
    assert answer.status_code == 204, answer.text

    async def followed():
        return await home.programmes() or None

    await until(followed)
    answer = await home.world.op.post(f"/principals/{principal}/deactivate", json={})
    assert answer.status_code == 200, answer.text
    await until(lambda: home.says(serverReached=0))
    await utility.event(programme, {"generationLimitW": 500})
    await until(lambda: home.says(controlsListed=0))
    assert await home.events() is None


@pytest.mark.slow
async def test_readings_are_mirrored_and_those_it_missed(utility, home, monkeypatch) -> None:
    monkeypatch.setattr("gridspine.adapters.ieee2030_5.client.mirror.SETTLE_S", 3)
    principal = await utility.known(home.issued)
    thing = await utility.thing(principal, home.issued.lfdi)
    await utility.thing(principal, home.issued.lfdi, model=METER, name="urn:example:seen", role="site")
    await home.stop()
    await home.start(archive=True)
    await home.settle(mirror=["activePower", "activeEnergyImport"], postS=10, meter=METER_ID)
    await until(lambda: home.says(serverReached=1))
    sending = asyncio.create_task(_measuring(home))
    try:

        async def mirrored():
            found = (await utility.world.op.get("/things/urn:example:seen/properties")).json()
            points = {one["name"]: one["value"] for one in found}
            power_w, energy_wh = points["activePower"], points["activeEnergyImport"]
            return (power_w is not None and -1_300 <= power_w <= -1_100 and energy_wh == 5000) or None

        await until(mirrored, 45)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    assert (await utility.world.op.get(f"/things/{thing}")).status_code == 200


async def _measuring(home):
    for power_w in itertools.cycle((-1_100, -1_300)):  # what does not change is not read anew
        now_s = home.world.node.clock.now_us() / 1e6
        for name, value in (("activePower", power_w), ("activeEnergyImport", 5000)):
            await home.world.send(f"{METER_ID}/{name}", [value], begin_s=now_s)
        await asyncio.sleep(1)
