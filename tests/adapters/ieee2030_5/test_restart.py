"""What is kept of the wire beside the node's documents: over a restart, and until a device is gone."""

from csip_device import device, path_of
from csip_utility import SEP, XML, until, xml

STATUS = """<DERStatus xmlns="urn:ieee:std:2030.5:ns"><genConnectStatus><dateTime>1700000000</dateTime><value>07</value>
  </genConnectStatus><readingTime>1700000000</readingTime></DERStatus>"""


async def test_what_devices_said_survives_a_restart(utility) -> None:
    _, http, path, issued = await device(utility)
    assert (await http.get(f"{path}/der/1/ders")).status_code == 404
    assert (await http.put(f"{path}/der/1/ders", content=STATUS, headers=XML)).status_code == 204
    point = "<csipaus:ConnectionPoint xmlns:csipaus='https://csipaus.org/ns'><csipaus:connectionPointId>NMI1"
    point += "</csipaus:connectionPointId></csipaus:ConnectionPoint>"
    assert (await http.put(f"{path}/cp", content=point, headers=XML)).status_code == 201
    await utility.restart()
    http = await utility.client(issued)
    assert await until(lambda: path_of(http)) == path
    assert xml(await http.get(f"{path}/der/1/ders")).find(f"{SEP}genConnectStatus/{SEP}value").text == "07"
    assert "NMI1" in (await http.get(f"{path}/cp")).text


async def test_nothing_is_kept_of_a_device_that_is_taken_out(utility) -> None:
    thing, http, path, issued = await device(utility)
    await http.put(f"{path}/der/1/ders", content=STATUS, headers=XML)
    assert (await utility.world.op.delete(f"/things/{thing}")).status_code == 204

    async def gone():
        return (await http.get(path)).status_code in {403, 404}

    await until(gone)
    principal = await utility.known(issued)
    await utility.thing(principal, issued.lfdi, name="urn:example:again")
    assert await until(lambda: path_of(http)) == path
    assert (await http.get(f"{path}/der/1/ders")).status_code == 404


async def test_an_announced_device_waits_for_somebody(utility) -> None:
    issued = utility.pki.device("new")
    principal = await utility.known(issued)
    http = await utility.client(issued)
    from gridspine.adapters.ieee2030_5.identity import sfdi_of

    def body(lfdi):
        return (
            f'<EndDevice xmlns="urn:ieee:std:2030.5:ns"><lFDI>{lfdi}</lFDI><sFDI>{sfdi_of(lfdi)}</sFDI>'
            "<changedTime>1</changedTime></EndDevice>"
        )

    assert (await http.post("/edev", content=body("A" * 40), headers=XML)).status_code == 403
    made = await http.post("/edev", content=body(issued.lfdi), headers=XML)
    assert made.status_code == 201
    assert (await http.post("/edev", content=body(issued.lfdi), headers=XML)).status_code == 409
    own = xml(await http.get(made.headers["location"]))
    assert own.find(f"{SEP}DERListLink") is None
    await utility.thing(principal, issued.lfdi)

    async def registered():
        found = xml(await http.get(made.headers["location"]))
        return found.find(f"{SEP}DERListLink")

    await until(registered)
    assert xml(await http.get("/edev?l=9")).get("all") == "1"
