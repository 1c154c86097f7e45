"""The VTN: registration, events, opts and reports of VENs with certificates, over TLS, and after a restart."""

import asyncio

import msgspec
import pytest

from gridspine.adapters.openadr2 import message as m
from gridspine.adapters.openadr2 import message_report as r
from gridspine.adapters.openadr2 import wire
from gridspine.apps.node.adapters import HostedContext
from gridspine.kernel.time import US

pytestmark = pytest.mark.asyncio(loop_scope="module")
WATTS = m.Item(kind="power:powerReal", units="W", scale="k")
SAMPLING = r.Sampling(min_us=US, max_us=30 * US)


def description(rid, resource="", item=WATTS, type_="usage", **more):
    source = m.Target(resource_ids=(resource,)) if resource else None
    return r.Description(
        rid=rid, source=source, type=type_, item=item, reading_type="Direct Read", sampling=SAMPLING, **more
    )


async def test_a_ven_registers_again_and_no_more(vtn):
    ven = await vtn.ven()
    asked = await ven.say(m.QueryRegistration(request_id="q1"))
    assert (asked.vtn_id, asked.registration_id, asked.poll_us) == ("GRIDSPINE", "", 10 * US)
    for before in (await ven.poll(), await ven.say(m.RequestEvent(request_id="e", ven_id=ven.id))):
        assert before.response.code == 463
    first = await ven.register()
    again = await ven.say(
        m.CreatePartyRegistration(request_id="r1", ven_id=ven.id, registration_id=first.registration_id)
    )
    assert again.registration_id == first.registration_id
    assert (await ven.say(m.QueryRegistration(request_id="q2"))).registration_id == first.registration_id
    await vtn.restart()
    ven.http = await vtn.client(ven.issued)
    assert (await ven.poll()).response.code == 200
    wrong = await ven.say(m.CancelPartyRegistration(request_id="c", registration_id="other", ven_id=ven.id))
    assert wrong.response.code == 452
    gone = await ven.say(
        m.CancelPartyRegistration(request_id="c", registration_id=first.registration_id, ven_id=ven.id)
    )
    assert (gone.response.code, gone.registration_id) == (200, first.registration_id)
    assert (await ven.poll()).response.code == 463


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"registration_id": "another's"}, 452),
        ({"ven_id": "nobody"}, 452),
        ({"profile": "2.0a"}, 459),
        ({"transport": "xmpp"}, 459),
        ({"http_pull": False, "transport_address": "https://ven.example"}, 459),
    ],
)
async def test_a_registration_that_cannot_be_is_refused(vtn, said, code):
    ven = await vtn.ven()
    made = await ven.say(m.CreatePartyRegistration(request_id="r", **said))
    assert (made.response.code, made.registration_id, made.response.request_id) == (code, "", "r")


async def test_anothers_certificate_opens_nothing(vtn):
    one, other = await vtn.ven(), await vtn.ven()
    registered = await one.register()
    await other.register()
    programme, _ = await vtn.enrolled(one.thing)
    await vtn.publish(programme, (60, 600, {"control": {"targetW": 1000}}))
    (event,) = await one.events()
    name = m.QualifiedEvent(event_id=event.descriptor.event_id, modification_number=0)
    for said in (
        m.Poll(ven_id=one.id),
        m.RequestEvent(request_id="x", ven_id=one.id),
        m.CreatePartyRegistration(request_id="x", ven_id=one.id, registration_id=registered.registration_id),
        m.CancelPartyRegistration(request_id="x", ven_id=one.id, registration_id=registered.registration_id),
        m.CancelOpt(request_id="x", opt_id="o", ven_id=one.id),
        r.UpdateReport(request_id="x", ven_id=one.id),
    ):
        answers = [await other.say(said), await other.say(_nobodys(said))]
        assert [each.response.code for each in answers] == [452, 452]
        assert answers[0].response.description.replace(one.id, "nobody") == answers[1].response.description
    # under its own name another's event is none of it
    assert await other.events() == []
    foreign = m.EventResponse(request_id="x", event=name, opt="optOut")
    said = m.CreatedEvent(response=m.Response(request_id="x"), responses=(foreign,), ven_id=other.id)
    assert (await other.say(said)).response.code == 452
    stranger = vtn.pki.device("stranger")
    other.http = await vtn.client(stranger)
    assert (await other.poll()).response.code == 463
    # Nothing of what a stranger says is read.
    answer = await other.post("OadrPoll", b"<broken")
    assert b"463" in answer.content


async def test_what_others_do_has_nobody_prove_itself_again(vtn, monkeypatch):
    one, other = await vtn.ven(), await vtn.ven()
    await one.register()
    await other.register()
    asked = []
    authorise = HostedContext.authorise

    async def counted(self, *args):
        asked.append(args)
        return await authorise(self, *args)

    monkeypatch.setattr(HostedContext, "authorise", counted)
    programme, _ = await vtn.enrolled(one.thing)
    await vtn.publish(programme, (60, 600, {"control": {"targetW": 1000}}))
    for _ in range(3):
        await one.poll()
        assert (await other.poll()).response.code == 200
    assert asked == []


def _nobodys(said):
    return msgspec.structs.replace(said, ven_id="nobody")


async def test_events_are_told_answered_and_cancelled(vtn):
    ven = await vtn.ven()
    await ven.register()
    programme, _ = await vtn.enrolled(ven.thing, title="Peaks", targets=["north"])
    assert (await ven.poll()).response.code == 200
    id_ = await vtn.publish(
        programme, (60, 660, {"control": {"importLimitW": 2500}}), (660, 1260, {"control": {"importLimitW": 1000}}),
        priority=4, randomiseStartS=30,
    )  # fmt: skip
    told = await _until_told(ven)
    (event,) = (one.event for one in told.events)
    said = event.descriptor
    assert said.event_id == id_.removeprefix("urn:uuid:")
    assert (said.modification_number, said.status, said.priority) == (0, "far", 5)
    assert (event.period.duration_us, event.period.start_after_us) == (1200 * US, 30 * US)
    (signal,) = event.signals
    assert (signal.name, signal.type, signal.item.units) == ("x-IMPORT_CAPACITY_LIMIT", "setpoint", "W")
    assert [(one.duration_us, one.value) for one in signal.intervals] == [(600 * US, 2500.0), (600 * US, 1000.0)]
    assert event.target.ven_ids == (ven.id,)
    # told once, until it was not answered for long; then answered
    assert isinstance(await ven.poll(), m.Answer)
    assert (await ven.answer(event, number=7)).response.code == 450
    assert (await ven.answer(event, "optOut")).response.code == 200
    assert [one["event"] for one in await vtn.opts(programme)] == [id_]
    assert (await ven.answer(event, "optIn")).response.code == 200
    assert await vtn.opts(programme) == []
    # what a VEN cannot do it takes no part in
    assert (await ven.answer(event, "optIn", code=460)).response.code == 200
    assert "460" in (await vtn.opts(programme))[0]["reason"]
    await ven.answer(event, "optIn")
    # a modification has its number, also after a restart
    newer = await vtn.publish(programme, (90, 690, {"control": {"importLimitW": 3000}}), supersedes=id_)
    told = await _until_told(ven)
    (event,) = (one.event for one in told.events)
    assert (event.descriptor.event_id, event.descriptor.modification_number) == (id_.removeprefix("urn:uuid:"), 1)
    assert (await ven.answer(event)).response.code == 200
    await vtn.restart()
    ven.http = await vtn.client(ven.issued)
    assert isinstance(await ven.poll(), m.Answer)
    (event,) = await ven.events()
    assert (event.descriptor.event_id, event.descriptor.modification_number) == (id_.removeprefix("urn:uuid:"), 1)
    answer = await vtn.world.op.post(f"/programmes/{programme}/events/{newer}/cancel", json={"reason": "over"})
    assert answer.status_code in {200, 201}, answer.text
    told = await _until_told(ven)
    (event,) = (one.event for one in told.events)
    assert (event.descriptor.status, event.descriptor.modification_number) == ("cancelled", 2)
    assert (await ven.answer(event)).response.code == 200
    assert await ven.events() == []


async def _until_told(ven):
    async with asyncio.timeout(40):
        while not isinstance(told := await ven.poll(), m.DistributeEvent):
            await asyncio.sleep(0.02)
    return told


async def test_signals_inform_and_gaps_make_events(vtn):
    ven = await vtn.ven()
    await ven.register()
    signals = [
        {"payloadType": "PRICE", "units": "KWH", "currency": "EUR"}, {"payloadType": "SIMPLE"},
        {"payloadType": "GHG", "units": "G_KWH"}, {"payloadType": "NOTE"},
    ]  # fmt: skip
    programme, _ = await vtn.enrolled(ven.thing, signals=signals)
    told = [
        [{"type": "PRICE", "values": [-0.05]}, {"type": "SIMPLE", "values": [2]}],
        [{"type": "GHG", "values": [120]}],
        [{"type": "NOTE", "values": ["hello"]}],
    ]
    times = ((-10, 60), (60, 120), (200, 300))
    await vtn.publish(programme, *((a, b, {"signals": said}) for (a, b), said in zip(times, told, strict=True)))
    first, second = await ven.events()
    assert second.descriptor.event_id == f"{first.descriptor.event_id}-1"
    assert (first.descriptor.status, second.descriptor.status) == ("active", "far")
    price, simple = first.signals
    assert (price.name, price.type, price.item.kind, price.item.units) == (
        "ELECTRICITY_PRICE", "price", "oadr:currencyPerKWh", "EUR",
    )  # fmt: skip
    assert (price.intervals[0].value, price.current) == (-0.05, -0.05)
    assert (simple.name, simple.type, simple.item, simple.current) == ("SIMPLE", "level", None, 2.0)
    assert (second.signals[0].name, second.signals[0].item.units) == ("x-GHG", "G_KWH")


async def test_opting_out_of_times_and_events(vtn):
    ven = await vtn.ven()
    await ven.register()
    programme, _ = await vtn.enrolled(ven.thing, descriptionUrl="https://utility.example/peaks")
    id_ = await vtn.publish(programme, (60, 660, {"control": {"importLimitW": 2500}}))
    (event,) = await ven.events()
    now_us = vtn.world.node.clock.now_us() // US * US
    out = m.CreateOpt(
        opt_id="o1", opt="optOut", reason="x-schedule", market_context="https://utility.example/peaks", ven_id=ven.id,
        available=(m.Available(start_us=now_us + 3600 * US, duration_us=600 * US),), created_us=now_us, request_id="1",
    )  # fmt: skip
    for _ in range(2):  # a repeat changes nothing
        assert (await ven.say(out)).response.code == 200
    (opt,) = await vtn.opts(programme)
    assert opt["reason"] == "OpenADR 2.0b: x-schedule"
    name = m.QualifiedEvent(event_id=event.descriptor.event_id, modification_number=0)
    of = m.CreateOpt(
        opt_id="o2", opt="optOut", reason="economic", ven_id=ven.id, created_us=now_us, request_id="2", event=name
    )
    assert (await ven.say(of)).response.code == 200
    assert {one.get("event") for one in await vtn.opts(programme)} >= {id_}
    await vtn.restart()
    ven.http = await vtn.client(ven.issued)
    for name in ("o1", "o2"):
        gone = await ven.say(m.CancelOpt(request_id="3", opt_id=name, ven_id=ven.id))
        assert (gone.response.code, gone.opt_id) == (200, name)
    assert await vtn.opts(programme) == []
    # what lies in times that are opted out of is told no more, until it does not
    away = msgspec.structs.replace(out, opt_id="o4", available=(m.Available(start_us=now_us, duration_us=3600 * US),))
    assert (await ven.say(away)).response.code == 200
    assert await ven.events() == []
    assert (await ven.say(m.CancelOpt(request_id="5", opt_id="o4", ven_id=ven.id))).response.code == 200
    assert [one.descriptor.event_id for one in await ven.events()] == [event.descriptor.event_id]
    again = await ven.say(m.CancelOpt(request_id="3", opt_id="o1", ven_id=ven.id))
    assert again.response.code == 452
    into = m.CreateOpt(
        opt_id="o3", opt="optIn", reason="x-schedule", ven_id=ven.id, available=out.available, created_us=now_us,
        request_id="4",
    )  # fmt: skip
    assert (await ven.say(into)).response.code == 451


async def test_one_ven_opts_out_for_no_other_of_its_site(vtn):
    ven, other = await vtn.ven(), await vtn.ven()
    for one in (ven, other):
        await one.register()
    house = {"title": "House", "things": [ven.thing, other.thing]}
    site = await vtn.site(*house["things"])
    programme, _ = await vtn.programme(site, modes=["importLimitW"])
    id_ = await vtn.publish(programme, (60, 660, {"control": {"importLimitW": 2500}}))
    (event,) = await ven.events()
    now_us = vtn.world.node.clock.now_us() // US * US
    times = m.CreateOpt(
        opt_id="o1", opt="optOut", reason="x-schedule", ven_id=ven.id, created_us=now_us, request_id="1",
        available=(m.Available(start_us=now_us, duration_us=3600 * US),),
    )  # fmt: skip

    async def opts_out():
        assert (await ven.answer(event, "optOut")).response.code == 200
        assert (await ven.say(times)).response.code == 200
        found = await vtn.opts(programme)
        assert (await ven.say(m.CancelOpt(request_id="2", opt_id="o1", ven_id=ven.id))).response.code == 200
        return sorted(one.get("event") or "" for one in found)

    assert await opts_out() == [], "it is noted"
    assert [one.descriptor.event_id for one in await other.events()] == [event.descriptor.event_id]
    answer = await vtn.world.op.put(f"/sites/{site}", json=house | {"guard": ven.thing})
    assert answer.status_code == 200, answer.text
    assert await opts_out() == ["", id_], "a guard speaks for its site"
    assert (await ven.answer(event, "optIn")).response.code == 200
    assert await vtn.opts(programme) == []


async def test_reports_become_readings(vtn):
    ven = await vtn.ven(points={"odd": "voltage"})
    heat = await vtn.own(ven.id, ven.principal, thing="urn:example:heat", role="resource", resourceID="heat-pump")
    await ven.register()
    energy = m.Item(kind="power:energyReal", units="Wh", scale="k")
    volts = m.Item(kind="power:voltage", units="V")
    offered = (
        description("p"), description("h", "heat-pump"), description("e", item=energy, type_="reading"),
        description("u", item=energy, type_="usage"), description("odd", item=volts),
        description("none", item=m.Item(kind="oadr:customUnit", units="beans", description="beans")),
    )  # fmt: skip
    async with asyncio.timeout(40):  # until the resource is served
        while len((asked := (await ven.offer(*offered)).requests[0]).specifier.wanted) < 4:
            await asyncio.sleep(0.02)
    assert [one.rid for one in asked.specifier.wanted] == ["p", "h", "e", "odd"]
    assert asked.specifier.granularity_us == 2 * US
    now_us = vtn.world.node.clock.now_us() // US * US
    rows = [
        ("p", now_us, 1.5, "Quality Good - Non Specific"), ("h", now_us, -0.25, ""), ("e", now_us, 12.5, ""),
        ("odd", now_us, 231.0, "Quality Uncertain - Sub Normal"), ("none", now_us, 3.0, ""),
    ]  # fmt: skip
    assert (await ven.report(asked.request_id, *rows)).response.code == 200
    assert (await vtn.value(ven.thing, "activePower")) == 1500.0
    assert (await vtn.value(ven.thing, "activeEnergyImport")) == 12500.0
    assert (await vtn.value(ven.thing, "voltage")) == 231.0
    assert (await vtn.value(heat, "activePower")) == -250.0
    unknown = await ven.report("none-such", rows[0])
    assert unknown.response.code == 452
    await vtn.restart()
    ven.http = await vtn.client(ven.issued)
    later = ("p", now_us + US, 2.0, "")
    assert (await ven.report(asked.request_id, later)).response.code == 200
    assert (await ven.say(r.CreateReport(request_id="c", requests=(asked,), ven_id=ven.id))).response.code == 461


async def test_what_is_no_message_is_refused(vtn):
    ven = await vtn.ven()
    await ven.register()
    poll = wire.write(m.Poll(ven_id=ven.id))
    for service, body, headers, status, code in (
        ("OadrPoll", b"{}", {}, 400, 459),
        ("OadrPoll", poll, {"content-type": "application/json"}, 415, 459),
        ("OadrPoll", b"<a>" + b" " * (1 << 20) + b"</a>", {}, 413, 459),
        ("OadrPull", poll, {}, 404, 459),
        ("EiEvent", poll, {}, 200, 459),
        ("OadrPoll", poll.replace(b"venID", b"vanID"), {}, 200, 454),
        ("OadrPoll", b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + poll[39:], {}, 200, 454),
    ):
        answer = await ven.post(service, body, **headers)
        assert (answer.status_code, wire.read(answer.content).response.code) == (status, code), (service, answer.text)
    assert (await ven.http.get("/OpenADR2/Simple/2.0b/OadrPoll")).status_code == 404
