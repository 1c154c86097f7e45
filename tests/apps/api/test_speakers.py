"""Who lets an adapter act as an application that is an owner must be let consent for the owner itself."""

import json

import pytest
from running_node import BATTERY, running

VEN = "https://gridspine.org/models/ven"
NORTH = "northside-networks"
MERGE = {"content-type": "application/merge-patch+json"}


@pytest.mark.parametrize("who", [("operator",), ("operator", "owner")])
async def test_an_operator_consents_for_no_owner_by_a_thing_it_registers(tmp_path, who) -> None:
    async with running(tmp_path) as world:
        owner, _ = world.client(NORTH, "owner", "operator")
        runs, _ = world.client(NORTH, "operator")
        _, asker = world.client(NORTH, *who)
        connection = {"vtn": "https://vtn.example", "clientId": "c", "secret": "s", "thing": "urn:example:b1"}
        body = {"title": "V", "model": VEN, "adapter": "openadr3", "devices": [owner], "connection": connection}
        wanted = 201 if "owner" in who else 403
        assert (await asker.post("/things", json=body)).status_code == wanted
        told = (await asker.post("/things/batch", json=[body])).json()
        assert (told["registered"], told["refused"]) == ((1, 0) if "owner" in who else (0, 1))
        for more in ({"devices": []}, {"devices": [runs]}, {"connection": {}}, {"model": BATTERY, "adapter": ""}):
            assert (await asker.post("/things", json=body | more)).status_code == 201, more

        for first, then in (("connection", {"gs:connection": connection}), ("devices", {"gs:devices": [owner]})):
            id_ = f"urn:example:{first}"
            assert (await asker.post("/things", json=body | {"id": id_, first: type(body[first])()})).status_code == 201
            answer = await asker.patch(f"/things/{id_}", content=json.dumps(then), headers=MERGE)
            assert answer.status_code == (204 if "owner" in who else 403), answer.text

        await world.thing("urn:example:v", VEN, adapter="openadr3", devices=[owner], connection=connection)
        answer = await asker.patch("/things/urn:example:v", content=json.dumps({"title": "W"}), headers=MERGE)
        assert answer.status_code == 204, "what is as it was is no new consent"
