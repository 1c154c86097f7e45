"""Another party's models read what the node writes: envoy-schema, which speaks the namespace of CSIP-AUS 1.3."""

import pytest
from csip_device import device
from csip_utility import SEP, serving, xml
from envoy_schema.server.schema.sep2.der import (
    DefaultDERControl,
    DERControlListResponse,
    DERListResponse,
    DERProgramListResponse,
)
from envoy_schema.server.schema.sep2.device_capability import DeviceCapabilityResponse
from envoy_schema.server.schema.sep2.end_device import EndDeviceListResponse, RegistrationResponse
from envoy_schema.server.schema.sep2.function_set_assignments import FunctionSetAssignmentsListResponse
from envoy_schema.server.schema.sep2.time import TimeResponse


@pytest.fixture
async def utility(tmp_path):
    async with serving(tmp_path, csip_aus="1.3", timezone="Australia/Sydney") as made:
        yield made


async def test_it_reads_all_that_a_device_finds(utility) -> None:
    thing, http, path, issued = await device(utility)
    programme, _ = await utility.programme(thing, kind="thing", defaultControl={"importLimitW": 5000})
    chance = {"randomiseStartS": 30, "randomiseKeepsLength": True}
    await utility.event(programme, {"exportLimitW": 1234.5, "energise": True}, **chance)

    async def read(kind, target):
        return kind.from_xml((await http.get(target)).content)

    capability = await read(DeviceCapabilityResponse, "/dcap")
    time = await read(TimeResponse, capability.TimeLink.href)
    assert time.tzOffset == 36_000
    assert {time.dstOffset, time.localTime - time.currentTime - time.tzOffset} <= {0, 3600}
    assert time.dstStartTime
    assert time.dstEndTime
    (own,) = (await read(EndDeviceListResponse, "/edev")).EndDevice
    assert (own.href, own.lFDI) == (path, issued.lfdi)
    assert own.ConnectionPointLink.href == f"{path}/cp"
    assert (await read(RegistrationResponse, own.RegistrationLink.href)).pIN == 111115
    assert (await read(DERListResponse, own.DERListLink.href)).DER_[0].DERStatusLink
    (assigned,) = (
        await read(FunctionSetAssignmentsListResponse, own.FunctionSetAssignmentsListLink.href)
    ).FunctionSetAssignments
    (program,) = (await read(DERProgramListResponse, assigned.DERProgramListLink.href)).DERProgram
    default = await read(DefaultDERControl, program.DefaultDERControlLink.href)
    assert default.DERControlBase_.opModImpLimW.value == 5000
    (control,) = (await read(DERControlListResponse, program.DERControlListLink.href)).DERControl
    limit = control.DERControlBase_.opModExpLimW
    assert (limit.value, limit.multiplier) == (12345, -1)
    assert (control.randomizeStart, control.DERControlBase_.opModEnergize) == (30, True)


async def test_pages_of_a_list(utility) -> None:
    thing, http, path, _ = await device(utility)
    programme, _ = await utility.programme(thing, kind="thing")
    for number in range(5):
        await utility.event(programme, {"exportLimitW": number}, start_s=100 * number + 50, duration_s=50)
    program = xml(await http.get(f"{path}/fsa")).find(f".//{SEP}DERProgramListLink").get("href")
    controls = xml(await http.get(program)).find(f".//{SEP}DERControlListLink")
    assert controls.get("all") == "5"
    target = controls.get("href")

    async def sizes(query):
        found = xml(await http.get(target + query))
        return found.get("all"), found.get("results"), len(found.findall(f"{SEP}DERControl"))

    assert await sizes("") == ("5", "1", 1)
    assert await sizes("?s=3&l=10") == ("5", "2", 2)
    assert await sizes("?s=9&l=10") == ("5", "0", 0)
    assert await sizes("?l=10&a=4102444800") == ("0", "0", 0)
    for bad in ("?s=x", "?l=-1", "?" + "&".join(f"q{number}=1" for number in range(50))):
        assert (await http.get(target + bad)).status_code == 400
    assert (await http.head(target)).content == b""
    assert (await http.patch(target)).status_code == 405
