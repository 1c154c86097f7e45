"""A device and an aggregator against the whole node, over mutual TLS."""

from csip_device import device
from csip_utility import CSIP, SEP, XML, href, xml


async def test_a_device_finds_its_resources(utility) -> None:
    _, http, path, issued = await device(utility)
    capability = xml(await http.get("/dcap"))
    assert href(capability, "EndDeviceListLink") == "/edev"
    listed = xml(await http.get("/edev"))
    assert (listed.get("all"), listed.get("results")) == ("1", "1")
    own = xml(await http.get(path))
    assert own.find(f"{SEP}lFDI").text == issued.lfdi
    assert xml(await http.get(href(own, "RegistrationLink"))).find(f"{SEP}pIN").text == "111115"
    assert (await http.get(f"{path}/cp")).status_code == 200
    assert (await http.get("/edev/0000000000000000")).status_code == 404
    assert (await http.get("/nonesuch")).status_code == 404


async def test_a_control_is_shown_superseded_and_cancelled(utility) -> None:
    thing, http, path, _ = await device(utility)
    site = await utility.site(thing)
    programme, _ = await utility.programme(site, defaultControl={"exportLimitW": 1500})
    event = await utility.event(programme, {"exportLimitW": 100_000, "rampS": 30, "connect": False})

    async def controls():
        found = xml(await http.get(f"{path}/fsa?l=9"))
        programs = [one.get("href") for one in found.iter(f"{SEP}DERProgramListLink")]
        one = xml(await http.get(programs[0] + "?l=9"))
        link = href(one, "DERControlListLink")
        return xml(await http.get(link + "?l=9")) if link else None

    async def statuses():
        return [
            one.find(f"{SEP}EventStatus/{SEP}currentStatus").text for one in (await controls()).iter(f"{SEP}DERControl")
        ]

    assert await statuses() == ["1"]
    control = (await controls()).find(f"{SEP}DERControl/{SEP}DERControlBase")
    limit = control.find(f"{CSIP}opModExpLimW")
    assert int(limit.find(f"{SEP}value").text) * 10 ** int(limit.find(f"{SEP}multiplier").text) == 100_000
    assert control.find(f"{SEP}rampTms").text == "3000"
    assert control.find(f"{SEP}opModConnect").text == "false"
    later = await utility.event(programme, {"exportLimitW": 0, "connect": True, "rampS": 0}, duration_s=900)
    assert await statuses() == ["4", "1"]
    for one in (event, later):
        answer = await utility.world.op.post(f"/programmes/{programme}/events/{one}/cancel", json={"reason": "over"})
        assert answer.status_code == 200, answer.text
    assert await statuses() == ["2", "2"]


async def test_readings_reach_the_thing(utility) -> None:
    thing, http, _, issued = await device(utility)
    point = f"""<MirrorUsagePoint xmlns="urn:ieee:std:2030.5:ns"><mRID>AA00</mRID><roleFlags>0049</roleFlags>
      <serviceCategoryKind>0</serviceCategoryKind><status>1</status><deviceLFDI>{issued.lfdi}</deviceLFDI>
      <MirrorMeterReading><mRID>BB00</mRID><ReadingType><dataQualifier>2</dataQualifier><flowDirection>19</flowDirection>
      <kind>37</kind><powerOfTenMultiplier>1</powerOfTenMultiplier><uom>38</uom></ReadingType></MirrorMeterReading>
    </MirrorUsagePoint>"""
    made = await http.post("/mup", content=point, headers=XML)
    assert made.status_code == 201, made.text
    again = await http.post("/mup", content=point, headers=XML)
    assert (again.status_code, again.headers["location"]) == (204, made.headers["location"])
    now_s = utility.world.node.clock.now_us() // 1_000_000
    reading = f"""<MirrorMeterReadingList xmlns="urn:ieee:std:2030.5:ns"><MirrorMeterReading><mRID>BB00</mRID><Reading>
      <timePeriod><duration>5</duration><start>{now_s - 5}</start></timePeriod><value>321</value></Reading>
    </MirrorMeterReading></MirrorMeterReadingList>"""
    assert (await http.post(made.headers["location"], content=reading, headers=XML)).status_code == 201
    answer = await utility.world.op.get(f"/things/{thing}/properties/activePower")
    assert answer.json() == -3210 or answer.json().get("value") == -3210, answer.text


async def test_nobody_sees_another(utility) -> None:
    _, http, path, _ = await device(utility)
    other = utility.pki.device("other")
    stranger = await utility.client(other)
    assert (await stranger.get("/dcap")).status_code == 403
    await utility.known(other)
    assert xml(await stranger.get("/edev")).get("all") == "0"
    for target in (path, f"{path}/der/1/ders", f"{path}/fsa"):
        assert (await stranger.get(target)).status_code == 404
    put = await stranger.put(f"{path}/der/1/ders", content="<DERStatus xmlns='urn:ieee:std:2030.5:ns'/>", headers=XML)
    assert put.status_code == 404
    assert (await http.get(path)).status_code == 200


async def test_a_usage_point_has_so_many_kinds_and_no_more(utility) -> None:
    _, http, _, issued = await device(utility)
    head = (
        "<mRID>AA01</mRID><roleFlags>0049</roleFlags><serviceCategoryKind>0</serviceCategoryKind><status>1</status>"
        f"<deviceLFDI>{issued.lfdi}</deviceLFDI>"
    )
    body = f'<MirrorUsagePoint xmlns="{SEP[1:-1]}">{head}</MirrorUsagePoint>'
    made = await http.post("/mup", content=body, headers=XML)
    assert made.status_code == 201, made.text

    async def posted(numbers):
        of = (
            f"<MirrorMeterReading><mRID>BB{number:04}</mRID><Reading><value>1</value></Reading><ReadingType>"
            "<powerOfTenMultiplier>0</powerOfTenMultiplier><uom>38</uom></ReadingType></MirrorMeterReading>"
            for number in numbers
        )
        body = f'<MirrorMeterReadingList xmlns="{SEP[1:-1]}">{"".join(of)}</MirrorMeterReadingList>'
        return (await http.post(made.headers["location"], content=body, headers=XML)).status_code

    assert await posted(range(60)) == 201
    assert await posted(range(50, 110)) == 429, "too many, with those that are there"
    assert await posted(range(100)) == 201
