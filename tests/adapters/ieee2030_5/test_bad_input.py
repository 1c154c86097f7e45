"""What a client of IEEE 2030.5 may do wrong, or on purpose: certificates, others' names, numbers, repetitions."""

import asyncio
import ssl

import httpx
import pytest
from csip_device import device
from csip_pki import Pki
from csip_utility import SEP, XML, xml

from gridspine.kernel.time import US


def usage_point(lfdi, power=0, mrid="AA00", uom=38, flow=1):
    return f"""<MirrorUsagePoint xmlns="urn:ieee:std:2030.5:ns"><mRID>{mrid}</mRID><roleFlags>0049</roleFlags>
      <serviceCategoryKind>0</serviceCategoryKind><status>1</status><deviceLFDI>{lfdi}</deviceLFDI>
      <MirrorMeterReading><mRID>{mrid[:2]}11</mRID><ReadingType><dataQualifier>{0 if uom == 72 else 2}</dataQualifier>
      <flowDirection>{flow}</flowDirection><kind>37</kind><powerOfTenMultiplier>{power}</powerOfTenMultiplier>
      <uom>{uom}</uom></ReadingType></MirrorMeterReading></MirrorUsagePoint>"""


def reading(value, start_s, mrid="AA11"):
    return f"""<MirrorMeterReadingList xmlns="urn:ieee:std:2030.5:ns"><MirrorMeterReading><mRID>{mrid}</mRID><Reading>
      <timePeriod><duration>5</duration><start>{start_s}</start></timePeriod><value>{value}</value></Reading>
    </MirrorMeterReading></MirrorMeterReadingList>"""


def totals(utility):
    counted = utility.world.node.intake.books.totals
    return {name: getattr(counted, name) for name in ("received", "accepted", "duplicate", "refused")}


async def property_of(utility, thing, name):
    answer = await utility.world.op.get(f"/things/{thing}/properties/{name}")
    return answer.json().get("value") if answer.status_code == 200 else None


async def test_a_certificate_of_nobody_we_trust_and_that_of_another_device(utility, tmp_path) -> None:
    _, http, path, issued = await device(utility)
    forged = Pki(tmp_path / "forged")  # an authority that has the same name, and a device that claims ours
    impostor = forged.device("inverter")
    context = ssl.create_default_context(cafile=str(utility.pki.ca.crt))
    context.load_cert_chain(impostor.crt, impostor.pem)
    async with httpx.AsyncClient(base_url=utility.url, verify=context) as stranger:
        with pytest.raises(httpx.TransportError):
            await stranger.get("/dcap")
    without = ssl.create_default_context(cafile=str(utility.pki.ca.crt))
    async with httpx.AsyncClient(base_url=utility.url, verify=without) as nobody:
        with pytest.raises(httpx.TransportError):
            await nobody.get("/dcap")
    other = utility.pki.device("other")
    await utility.known(other, "other")
    neighbour = await utility.client(other)
    posted = await neighbour.post("/mup", content=usage_point(issued.lfdi), headers=XML)
    assert posted.status_code in {400, 403, 404}, posted.text
    mine = await http.post("/mup", content=usage_point(issued.lfdi), headers=XML)
    assert mine.status_code == 201
    now_s = utility.world.node.clock.now_us() // US
    stolen = await neighbour.post(mine.headers["location"], content=reading(5, now_s - 5), headers=XML)
    assert stolen.status_code == 404
    assert (await http.get(path)).status_code == 200


async def test_numbers_repetitions_and_registers_that_fall(utility) -> None:
    thing, http, _, issued = await device(utility)
    now_s = utility.world.node.clock.now_us() // US
    for power in (127, 128, -129, "x"):
        answer = await http.post("/mup", content=usage_point(issued.lfdi, power, "EE00"), headers=XML)
        assert answer.status_code == 400, (power, answer.text)
    huge = await http.post("/mup", content=usage_point(issued.lfdi, 9), headers=XML)
    assert huge.status_code == 201, huge.text
    answer = await http.post(huge.headers["location"], content=reading(140737488355327, now_s - 5), headers=XML)
    assert totals(utility)["refused"] == 1, answer.text  # 1.4e23 W: no inverter does that
    assert await property_of(utility, thing, "activePower") is None

    made = await http.post("/mup", content=usage_point(issued.lfdi, 0, "DD00", uom=72, flow=19), headers=XML)
    assert made.status_code == 201, made.text
    where = made.headers["location"]
    before = totals(utility)
    for value, at_s in ((5_000, 60), (5_000, 60), (4_000, 30)):
        answer = await http.post(where, content=reading(value, now_s - at_s, "DD11"), headers=XML)
        assert answer.status_code in {201, 204}, answer.text
    changed = {name: count - before[name] for name, count in totals(utility).items()}
    assert changed == {"received": 3, "accepted": 2, "duplicate": 1, "refused": 0}
    fallen = (await utility.world.op.get(f"/things/{thing}/properties/activeEnergyExport")).json()
    assert (fallen["value"], "inconsistent" in fallen["quality"]) == (4_000, True), fallen


async def test_a_document_too_large_and_a_thousand_handshakes_at_once(utility) -> None:
    _, http, path, issued = await device(utility)
    large = usage_point(issued.lfdi).replace("<status>", f"<description>{'x' * 300_000}</description><status>")
    assert (await http.post("/mup", content=large, headers=XML)).status_code == 413
    host, port = utility.url.removeprefix("https://").split(":")

    async def half_open():
        try:
            _, writer = await asyncio.open_connection(host, int(port), local_addr=("127.0.0.2", 0))
        except OSError:
            return None
        writer.write(b"\x16\x03\x01\x02\x00\x01")  # the first bytes of a ClientHello, and no more
        return writer

    strangers = [one for _ in range(10) for one in await asyncio.gather(*(half_open() for _ in range(100)))]
    try:
        again = await utility.client(issued)
        assert xml(await again.get(path)).find(f"{SEP}lFDI").text == issued.lfdi
    finally:
        for writer in filter(None, strangers):
            writer.transport.abort()
