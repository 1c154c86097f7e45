"""A Thing in other languages at the API: what was reported, read by the parsers of other parties."""

import base64
import math

import pytest
import pytest_asyncio
from running_node import METER, World, running

from gridspine.energy.mapping import LANGUAGES, Document, Emission
from tests.energy.mapping.readers import ieee2030_5, openfmb, sunspec

pytestmark = pytest.mark.asyncio(loop_scope="module")
METER_ID = "urn:dev:ops:32473-thing-7"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory):
    async with running(tmp_path_factory.mktemp("mapping") / "data") as world:
        await world.thing(METER_ID, METER)
        yield world


async def emitted(world: World, language: str) -> tuple[Emission, list]:
    answer = await world.op.get(f"/things/{METER_ID}/mappings/{language}")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["language"] == language
    documents = [
        Document(
            one["name"],
            one["mediaType"],
            base64.b64decode(one["base64"]) if one["text"] is None else one["text"].encode(),
        )
        for one in body["documents"]
    ]
    return Emission(tuple(documents), ()), body["lost"]


async def test_a_thing_that_never_reported_has_no_documents(world):
    await world.thing("urn:example:silent", METER)
    for language in LANGUAGES:
        answer = (await world.op.get(f"/things/urn:example:silent/mappings/{language}")).json()
        assert answer == {"language": language, "documents": [], "lost": []}


async def test_what_was_reported_is_what_others_read(world):
    now_s = world.node.clock.now_us() / 1e6
    await world.send(f"{METER_ID}/activePower", [-1500.0], begin_s=now_s - 5)
    await world.send(f"{METER_ID}/activeEnergyExport", [12_345_678.5], begin_s=now_s - 4)
    emission, lost = await emitted(world, "ieee2030_5")
    read = ieee2030_5.read(emission)
    assert (read["activePower"].value, read["activePower"].unit, read["activePower"].quality) == (-1500, "W", 0)
    assert math.isclose(read["activeEnergyExport"].value, 12_345_678.5)
    assert read["activeEnergyExport"].flow == "export"
    assert lost == []
    emission, lost = await emitted(world, "openfmb")
    name = "metermodule.MeterReadingProfile.meterReading.readingMMXU.W.net"
    assert openfmb.read(emission)[name].value == -1500
    assert lost == [
        {"point": "activeEnergyExport", "what": "the fraction of the register, which is a whole number there"}
    ]
    emission, _ = await emitted(world, "sunspec")
    assert sunspec.read(emission)["203.W"].value == -1500


async def test_a_language_nobody_mapped_is_not_there(world):
    answer = await world.op.get(f"/things/{METER_ID}/mappings/klingon")
    assert answer.status_code == 404
    assert "cim" in answer.json()["detail"]
