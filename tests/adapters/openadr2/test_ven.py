"""The node as a VEN, of a VTN that is another node: events become its own, its answers and reports go back."""

import msgspec
import pytest
import pytest_asyncio
from csip_utility import METER
from hypothesis import given, settings
from openadr2_home import at_home, until
from openadr2_said import of_struct

from gridspine.adapters.openadr2 import message as m
from gridspine.adapters.openadr2.client.connection import access_of, read_connection
from gridspine.adapters.openadr2.client.plan import plan_of
from gridspine.adapters.openadr2.settings import Access
from gridspine.energy.programme import Programme
from gridspine.energy.programme_event import ProgrammeEvent
from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import US


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(vtn, tmp_path_factory):
    async with at_home(vtn, tmp_path_factory.mktemp("home")) as made:
        yield made


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
async def test_a_node_takes_part_in_anothers_programmes(vtn, home):
    principal = await vtn.known(home.issued, "home")
    there = await vtn.own("home", principal)
    programme, _ = await vtn.enrolled(
        there, title="Peaks", descriptionUrl="https://utility.example/peaks",
        signals=[{"payloadType": "PRICE", "units": "KWH", "currency": "EUR"}],
    )  # fmt: skip
    first = await vtn.publish(
        programme, (60, 120, {"control": {"targetW": -1500}, "signals": [{"type": "PRICE", "values": [0.25]}]}),
        randomiseStartS=10,
    )  # fmt: skip
    meter = {"id": "urn:example:meter", "title": "Meter", "model": METER}
    assert (await home.world.op.post("/things", json=meter)).status_code == 201
    site = await home.site("urn:example:meter")
    thing = await home.follow(vtn, site, telemetry="urn:example:meter")
    ((title, event),) = await until(home.events)
    assert title == "https://utility.example/peaks"
    (interval,) = event["intervals"]
    assert (interval["control"], interval["signals"]) == (
        {"targetW": -1500.0}, [{"type": "PRICE", "values": [0.25]}],
    )  # fmt: skip
    assert event["randomiseStartS"] == 10

    async def connected():
        return (await home.ask(f"/things/{thing}/properties/connected"))["value"]

    await until(connected)

    # the VTN has its answer; who opts out at home later is out there, too
    async def opted(out):
        return bool(await vtn.opts(programme)) == out

    (mine,) = await home.ask("/programmes")
    (enrolment,) = await home.ask(f"/programmes/{mine['id']}/enrolments")
    assert (enrolment["state"], enrolment["subject"]) == ("active", site)
    assert await opted(False)
    path = f"/programmes/{mine['id']}/enrolments/{enrolment['id']}"
    await _answered(vtn, "home", 0)
    assert (await home.world.op.post(f"{path}/opt-out", json={"event": event["id"]})).status_code in {200, 201}
    await until(lambda: opted(True))
    assert (await home.world.op.post(f"{path}/opt-in", json={"event": event["id"]})).status_code in {200, 201}
    await until(lambda: opted(False))

    # what was asked for at registration is told, from the history of who takes part
    async def metered():
        at_s = home.world.node.clock.now_us() / US
        await home.world.send("urn:example:meter/activePower", [1234.0], begin_s=at_s)
        return await vtn.reported(there, "activePower") == 1234.0

    await until(metered)
    await _gone_and_back(vtn, home, (programme, first, thing, event["id"]))


async def _gone_and_back(vtn, home, ids):
    programme, first, thing, before = ids

    async def connected():
        return (await home.ask(f"/things/{thing}/properties/connected"))["value"]

    # what it became while the node was away is what it is; both know each other again
    await home.stop()
    newer = await vtn.publish(programme, (90, 150, {"control": {"targetW": 500}}), supersedes=first)
    await vtn.restart()
    await home.start()

    async def changed():
        found = [one for _, one in await home.events()]
        values = [each["control"]["targetW"] for one in found for each in one["intervals"]]
        return found if values == [500.0] else []

    (after,) = await until(changed)
    assert after["supersedes"] == before
    await _answered(vtn, "home", 1)

    # while the VTN is gone what it said stands, and it is told when it is back
    await vtn.stop()

    async def away():
        return not await connected()

    await until(away)
    assert await changed()
    await vtn.start()
    await vtn.world.op.post(f"/programmes/{programme}/events/{newer}/cancel", json={"reason": "over"})
    await until(connected)

    async def gone():
        return not await home.events()

    await until(gone)


async def _answered(vtn, ven_id, number):
    async def answered():
        raw = await vtn.context.store.get(f"ven/{ven_id}")
        kept = msgspec.msgpack.decode(raw) if raw else {}
        return any(one["number"] == number for one in kept.get("answered", {}).values())

    await until(answered)


@settings(max_examples=100, deadline=None)
@given(of_struct(m.EiEvent))
def test_any_event_comes_to_one_that_the_node_takes_or_to_nothing(event):
    plan = plan_of(event, ["targetW"], 0)
    if not plan.parts:
        return
    programme = Programme(id="p", organisation="o", title="P", modes=("targetW",), signals=plan.signals)
    made = ProgrammeEvent(
        id="e", programme="p", organisation="o", title="E", intervals=plan.parts, randomise_start_s=plan.chance_s
    )
    made.check(programme, 0)


def _event(*signals, test="false", duration_s=100):
    descriptor = m.Descriptor(
        event_id="e", modification_number=0, market_context="urn:m", created_us=0, status="far", test=test
    )
    period = m.ActivePeriod(start_us=1_000 * US, duration_us=duration_s * US)
    return m.EiEvent(descriptor=descriptor, period=period, signals=signals)


def _signal(name, *values, type_="setpoint", kind="power:powerReal", scale="k", units="W"):
    intervals = tuple(m.SignalInterval(duration_us=lasts * US, value=value) for lasts, value in values)
    return m.Signal(
        intervals=intervals, name=name, type=type_, id="0", item=m.Item(kind=kind, units=units, scale=scale)
    )


def test_signals_with_intervals_of_their_own_are_laid_over_each_other():
    price = _signal("ELECTRICITY_PRICE", (60, 0.2), (40, 0.3), type_="price", kind="oadr:currencyPerKWh", units="EUR",
                    scale="none")  # fmt: skip
    plan = plan_of(_event(_signal("LOAD_DISPATCH", (30, 2.5), (0, 1.0)), price), ["targetW"], 0)
    told = [
        (one.from_us // US - 1_000, one.until_us // US - 1_000, one.control.target_w, one.signals[0].values)
        for one in plan.parts
    ]
    assert told == [(0, 30, 2500.0, (0.2,)), (30, 60, 1000.0, (0.2,)), (60, 100, 1000.0, (0.3,))]
    assert [(one.payload_type, one.units, one.currency) for one in plan.signals] == [("PRICE", "KWH", "EUR")]
    assert (plan.commands, plan.unmet) == (True, False)


@pytest.mark.parametrize(
    ("event", "modes", "commands", "unmet"),
    [
        (_event(_signal("LOAD_DISPATCH", (0, 1.0))), [], True, True),
        (_event(_signal("LOAD_DISPATCH", (0, 1.0)), test="true"), ["targetW"], False, False),
        (_event(_signal("LOAD_DISPATCH", (0, 1.0), type_="delta")), ["targetW"], False, False),
        (_event(_signal("LOAD_DISPATCH", (0, 1.0), kind="oadr:customUnit")), ["targetW"], False, False),
        (_event(_signal("x-IMPORT_CAPACITY_LIMIT", (0, -1.0))), ["importLimitW"], False, False),
        (_event(_signal("x-IMPORT_CAPACITY_LIMIT", (0, 1.0)), duration_s=0), ["importLimitW"], True, False),
    ],
)
def test_only_what_is_consented_to_is_done(event, modes, commands, unmet):
    plan = plan_of(event, modes, 0)
    assert (plan.commands, plan.unmet) == (commands, unmet)
    assert [bool(one.control.modes) for one in plan.parts] == [commands and not unmet]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"vtn": "http://vtn.example"}, "https"),
        ({"site": "s", "thing": "t"}, "one of them"),
        ({"modes": ["fly"]}, "none"),
        ({"pollS": 0.5}, "pollS"),
        ({"access": "other"}, "has no 'other'"),
        ({"vtn": "https://elsewhere.example"}, "origins"),
    ],
)
def test_a_connection_that_may_not_be_is_refused(more, words):
    access = Access("c", ("https://vtn.example",), ("northside",))
    with pytest.raises(Invalid, match=words):
        given = read_connection({"vtn": "https://vtn.example/x", "access": "utility", **more})
        access_of(given, {"utility": access}, "northside")
    with pytest.raises(Invalid, match="for this organisation"):
        access_of(read_connection({"vtn": "https://vtn.example", "access": "utility"}), {"utility": access}, "other")
