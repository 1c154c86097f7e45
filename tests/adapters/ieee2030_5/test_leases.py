"""Leases on a device's own points, as controls; what their device answers."""

from csip_device import device
from csip_utility import CSIP, METER, SEP, XML, href, until, xml


async def controls(http, path):
    for link in xml(await http.get(f"{path}/fsa?l=9")).iter(f"{SEP}DERProgramListLink"):
        for one in xml(await http.get(f"{link.get('href')}?l=9")).iter(f"{SEP}DERProgram"):
            found = xml(await http.get(f"{href(one, 'DERControlListLink')}?l=9"))
            if found.find(f"{SEP}DERControl") is not None:
                return found
    return None


async def command(utility, thing, value, for_s=600):
    body = {"thing": thing, "point": "activePowerLimit", "value": value, "durationS": for_s, "reason": "test"}
    answer = await utility.world.op.post("/commands", json=body)
    assert answer.status_code in {200, 201, 202}, answer.text
    return answer.json()["id"]


async def respond(http, control, lfdi, status):
    subject = control.find(f"{SEP}mRID").text
    body = (
        f'<DERControlResponse xmlns="{SEP[1:-1]}"><createdDateTime>1700000000</createdDateTime>'
        f"<endDeviceLFDI>{lfdi}</endDeviceLFDI><status>{status}</status><subject>{subject}</subject></DERControlResponse>"
    )
    return (await http.post(control.get("replyTo"), content=body, headers=XML)).status_code


async def test_a_lease_is_a_control_that_ends(utility) -> None:
    thing, http, path, issued = await device(utility)
    id_ = await command(utility, thing, 3000)
    found = await until(lambda: controls(http, path))
    control = found.find(f"{SEP}DERControl")
    limit = control.find(f"{SEP}DERControlBase/{CSIP}opModGenLimW")
    assert int(limit.find(f"{SEP}value").text) * 10 ** int(limit.find(f"{SEP}multiplier").text) == 3000
    start, lasts = (int(control.find(f"{SEP}interval/{SEP}{name}").text) for name in ("start", "duration"))
    now_s = utility.world.node.clock.now_us() // 1_000_000
    assert start <= now_s < start + lasts <= now_s + 601

    async def state(wanted):
        said = (await utility.world.op.get(f"/commands/{id_}")).json()
        return said["state"] == wanted or None

    await until(lambda: state("sent"))
    assert await respond(http, control, issued.lfdi, 1) == 201
    await until(lambda: state("acknowledged"))


async def test_malformed_responses_are_refused(utility) -> None:
    thing, http, path, issued = await device(utility)
    await utility.programme(thing, kind="thing")
    programme = (await utility.world.op.get("/programmes")).json()[0]["id"]
    event = await utility.event(programme, {"exportLimitW": 0})
    control = (await until(lambda: controls(http, path))).find(f"{SEP}DERControl")
    assert control.get("responseRequired") == "07", "what people decided, too"
    assert await respond(http, control, "0F423F", 1) == 400
    assert await respond(http, control, issued.lfdi, 15) == 400
    unknown = xml(await http.get(path))  # it has no mRID of a control
    assert unknown.find(f"{SEP}mRID") is None
    assert await respond(http, control, issued.lfdi, 4) == 201
    enrolment = (await utility.world.op.get(f"/programmes/{programme}/enrolments")).json()[0]
    assert [one["event"] for one in enrolment["optOuts"]] == [event]
    assert await respond(http, control, issued.lfdi, 5) == 201
    enrolment = (await utility.world.op.get(f"/programmes/{programme}/enrolments")).json()[0]
    assert enrolment["optOuts"] == []


async def test_one_device_opts_out_for_no_other_of_its_site(utility) -> None:
    thing, http, path, issued = await device(utility)
    other = utility.pki.device("other")
    second = await utility.thing(await utility.known(other, "other"), other.lfdi)
    site = await utility.site(thing, second)
    programme, _ = await utility.programme(site, modes=["generationLimitW"])
    event = await utility.event(programme, {"generationLimitW": 100}, start_s=5, duration_s=900)

    async def events_control():
        found = await controls(http, path)
        return None if found is None else found.find(f"{SEP}DERControl")

    async def opted_out():
        enrolment = (await utility.world.op.get(f"/programmes/{programme}/enrolments")).json()[0]
        return [one["event"] for one in enrolment["optOuts"]]

    control = await until(events_control)
    assert await respond(http, control, issued.lfdi, 4) == 201, "it is kept"
    assert await opted_out() == []
    body = {"title": "House", "things": [thing, second], "guard": thing}
    assert (await utility.world.op.put(f"/sites/{site}", json=body)).status_code == 200
    assert await respond(http, control, issued.lfdi, 4) == 201
    assert await opted_out() == [event], "a guard speaks for its site"
    assert (await utility.world.op.put(f"/sites/{site}", json=body | {"guard": ""})).status_code == 200
    assert await respond(http, control, issued.lfdi, 5) == 201
    assert await opted_out() == [], "what was its own word it takes back"
    assert (
        await utility.world.op.put(f"/sites/{site}", json=body | {"things": [thing], "guard": ""})
    ).status_code == 200
    assert await respond(http, control, issued.lfdi, 4) == 201
    assert await opted_out() == [event], "it is alone"


async def test_what_is_answered_after_the_end_is_kept_and_changes_nothing(utility) -> None:
    thing, http, path, issued = await device(utility)
    programme, _ = await utility.programme(thing, kind="thing")
    event = await utility.event(programme, {"exportLimitW": 100}, start_s=-5, duration_s=9)
    control = (await until(lambda: controls(http, path))).find(f"{SEP}DERControl")

    async def over():
        return await controls(http, path) is None

    await until(over)
    assert [await respond(http, control, issued.lfdi, status) for status in (8, 4, 9, 3)] == [201] * 4
    enrolment = (await utility.world.op.get(f"/programmes/{programme}/enrolments")).json()[0]
    assert enrolment["optOuts"] == [], event


async def test_a_meter_of_its_own_leaves_a_device_its_site_s_voice(utility) -> None:
    thing, http, path, issued = await device(utility)
    known = (await utility.world.op.get("/principals")).json()
    principal = next(one["id"] for one in known if one["name"] == "device")
    meter = await utility.thing(principal, "0" * 40, model=METER, name="urn:example:meter", role="site")
    programme, _ = await utility.programme(await utility.site(thing, meter))
    event = await utility.event(programme, {"exportLimitW": 100})
    control = (await until(lambda: controls(http, path))).find(f"{SEP}DERControl")
    assert await respond(http, control, issued.lfdi, 4) == 201
    enrolment = (await utility.world.op.get(f"/programmes/{programme}/enrolments")).json()[0]
    assert [one["event"] for one in enrolment["optOuts"]] == [event]


async def test_what_a_device_follows_itself_is_told_once(utility) -> None:
    thing, http, path, _ = await device(utility)
    site = await utility.site(thing)
    await utility.programme(site, defaultControl={"exportLimitW": 1500})

    async def leased():
        found = (await utility.world.op.get(f"/commands?thing={thing}")).json()
        return [one for one in found if one["state"] in {"sent", "acknowledged"}] or None

    await until(lambda: controls_read(http, path))
    await until(leased)
    assert xml(await http.get(f"{path}/fsa?l=9")).get("all") == "1"
    await command(utility, thing, 1000)

    async def both():
        return xml(await http.get(f"{path}/fsa?l=9")).get("all") == "2" or None

    await until(both)


async def controls_read(http, path):
    """Read what there is of controls, as a device does; return whether there was a program."""
    link = xml(await http.get(f"{path}/fsa?l=9")).find(f".//{SEP}DERProgramListLink")
    if link is None:
        return None
    one = xml(await http.get(f"{link.get('href')}?l=9")).find(f"{SEP}DERProgram")
    return xml(await http.get(f"{href(one, 'DERControlListLink')}?l=9")).get("all") == "0" or None
