"""A stranger's Thing, from its description to readings of its own device: by the whole node, over real sockets."""

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from running_node import METER, World, settings_for

from gridspine.infra.runtime.settings import Adapters, Quotas

TD = {"content-type": "application/td+json"}
PATCH = {"content-type": "application/merge-patch+json"}


class Heater(BaseHTTPRequestHandler):
    """Answers /power with 1.5, and /old with 7."""

    def do_GET(self):
        body = {"/power": b"1.5", "/energy": b"7000"}.get(self.path, b"null")
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        return


@pytest.fixture
def device():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Heater)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def described(base, **properties):
    found = properties or {"power": {"type": "number", "unit": "kW"}}
    return {
        "@context": "https://www.w3.org/2022/wot/td/v1.1", "title": "Heater", "base": f"{base}/",
        "securityDefinitions": {"none": {"scheme": "nosec"}}, "security": "none",
        "properties": {name: {**one, "forms": [{"href": name}]} for name, one in found.items()},
    }  # fmt: skip


@pytest.fixture
async def world(tmp_path):
    adapters = Adapters(allow=["wot_http"], settings={"wot_http": {"allow": ["127.0.0.0/8"]}})
    made = await World.start(tmp_path / "data", settings_for(adapters=adapters))
    yield made
    await made.stop()


async def reported(world, point):
    for _ in range(400):
        answer = (await world.op.get(f"/things/{point.replace('/', '/properties/')}")).json()
        if answer.get("value") is not None:
            return answer
        await asyncio.sleep(0.05)
    raise AssertionError(answer)


async def quicken(world, id_):
    """Let a Thing be polled every second."""
    connection = dict(world.node.things.get(id_).connection) | {"intervalS": 1}
    answer = await world.op.patch(f"/things/{id_}", content=json.dumps({"gs:connection": connection}), headers=PATCH)
    assert answer.status_code == 204, answer.text


async def test_a_described_thing_is_polled_and_follows_its_description(world, device):
    id_ = "urn:example:heater"
    body = described(device) | {"id": id_}
    assert (await world.op.put(f"/things/{id_}", content=json.dumps(body), headers=TD)).status_code == 201
    report = (await world.op.get(f"/things/{id_}/report")).json()
    assert (report["adapter"], report["working"], report["left"]) == ("wot_http", ["power"], [])
    await quicken(world, id_)
    assert (await reported(world, f"{id_}/power"))["value"] == 1.5
    product = await world.product(f"{id_}/power")
    first = world.node.things.get(id_)
    changed = described(device, power={"type": "number", "unit": "kW"}, energy={"type": "number", "unit": "Wh"})
    answer = await world.op.put(f"/things/{id_}", content=json.dumps(changed | {"id": id_}), headers=TD)
    assert answer.status_code == 204, answer.text
    await quicken(world, id_)
    assert (await reported(world, f"{id_}/energy"))["value"] == 7000
    second = world.node.things.get(id_)
    assert second.first != first.first
    assert second.former[0].first == first.first
    await world.grant(product)
    records, _ = await world.pull_all(product)
    assert len(records) >= 2, "what was read before and after is one product's"
    assert world.node.points.place(first.first)[0] == id_
    assert (await world.op.delete(f"/things/{id_}")).status_code == 204


async def test_who_may_not_say_where_to_connect_has_its_things_described_only(world, device):
    _, http = world.client("brightfield", "operator")
    answer = await http.post("/things", content=json.dumps(described(device)), headers=TD)
    assert answer.status_code == 201
    report = answer.json()
    assert (report["adapter"], report["working"], report["points"]) == ("", [], ["power"])
    assert "node.connect" in report["left"][0]["reason"]
    patch = json.dumps({"gs:adapter": "wot_http", "gs:connection": {"forms": {"power": {"href": device}}}})
    assert (await http.patch(f"/things/{report['id']}", content=patch, headers=PATCH)).status_code == 403
    assert world.node.things.get(report["id"]).adapter == ""


async def test_the_nodes_own_description_comes_back_unharmed(world):
    """Read, then put: the Thing keeps its model, numbers and connection, and asks no address of the node's own."""
    id_ = await world.thing("urn:example:own", adapter="none", connection={"a": 1})
    before = world.node.things.get(id_)
    document = (await world.op.get(f"/things/{id_}")).json()
    answer = await world.op.put(f"/things/{id_}", content=json.dumps(document), headers=TD)
    assert answer.status_code == 204, answer.text
    after = world.node.things.get(id_)
    assert (after.model, after.first, after.adapter, after.connection) == (METER, before.first, "none", {"a": 1})
    assert after.described


async def test_models_are_registered_and_filled_in(world, device):
    model = {
        "@context": "https://www.w3.org/2022/wot/td/v1.1", "@type": "tm:ThingModel", "id": "urn:example:model:h",
        "title": "Heater", "securityDefinitions": {"none": {"scheme": "nosec"}}, "security": "none",
        "properties": {"power": {
            "type": "number", "unit": "kW", "gs:readingType": {"unit": "kW"}, "forms": [{"href": "{{BASE}}/power"}],
        }},
    }  # fmt: skip
    assert (await world.op.post("/models", json=model)).status_code == 201
    assert (await world.op.post("/models", json=model | {"title": "Other"})).status_code == 409
    assert "urn:example:model:h" in [one["id"] for one in (await world.op.get("/models")).json()]
    assert "urn:example:model:h" not in (await world.co.get("/models")).text
    whole = await world.op.get("/models", params={"id": "urn:example:model:h"})
    assert whole.json() == model
    assert (await world.co.get("/models", params={"id": "urn:example:model:h"})).status_code == 404
    asked = {"thingModel": "urn:example:model:h", "placeholders": {"BASE": device}}
    document = (await world.op.post("/models/fill", json=asked)).json()
    answer = await world.op.post("/things", content=json.dumps(document), headers=TD)
    assert (answer.json()["model"], answer.json()["working"]) == ("urn:example:model:h", ["power"])
    missing = await world.op.post("/models/fill", json=asked | {"placeholders": {}})
    assert missing.json()["validationErrors"][0]["field"] == "properties.power.forms.0.href"
    assert (await world.co.post("/models/fill", json=asked)).status_code == 404
    odd = {"id": "urn:gridspine:model:sha256-x"}, {"properties": {}}
    for wrong in ({}, {"@type": "tm:ThingModel"}, *(model | one for one in odd)):
        assert (await world.op.post("/models", json=wrong)).status_code == 400


async def test_descriptions_count_against_the_quota(tmp_path):
    made = await World.start(tmp_path / "data", settings_for(quotas=Quotas(things=2)))
    for status in (201, 201, 429):
        answer = await made.op.post("/things", content=json.dumps(described("http://192.0.2.1")), headers=TD)
        assert answer.status_code == status
    first = made.node.things.list("northside-networks")[0].id
    assert (await made.op.delete(f"/things/{first}")).status_code == 204
    answer = await made.op.post("/things", content=json.dumps(described("http://192.0.2.1")), headers=TD)
    assert answer.status_code == 201
    await made.stop()


async def test_alarms_end_with_the_points_they_are_of(world):
    """Nobody sends readings of a Thing that is retired: nothing else would ever end its alarms."""
    id_ = await world.thing("urn:example:alarmed")
    await world.send(f"{id_}/activePower", [20_000.0])
    alarms = world.node.alarms.table.alarms
    while not list(alarms(active=True)):
        await asyncio.sleep(0.02)
    assert (await world.op.delete(f"/things/{id_}")).status_code == 204
    while list(alarms(active=True)):
        await asyncio.sleep(0.02)
    assert [one.active for one in alarms()] == [False], "it waits for somebody to have seen it"
