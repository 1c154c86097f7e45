"""Notifications by MQTT: a client of the node's broker hears what it may see, by its own topics, and nothing else."""

import asyncio
import contextlib
import itertools
import json
from types import SimpleNamespace

import pytest
import pytest_asyncio
from mqtt_device import device
from openadr3_said import event, made
from openadr3_said import program as program_of
from openadr3_serving import serving
from running_node import until

from gridspine.adapters.openadr3.notifier import Notifier
from gridspine.adapters.openadr3.settings import Settings
from gridspine.kernel.errors import Invalid
from gridspine.testing.node import FakeNode

TOPICS = "/notifiers/mqtt/topics"
NUMBERS = itertools.count()
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def both(tmp_path_factory):
    """A VTN whose node has a broker, and the broker's address."""
    async with serving(tmp_path_factory.mktemp("node") / "data", more={"mqtt": {}}) as vtn:
        await until(lambda: "mqtt.mqtt" in vtn.world.node.adapters.listening)
        yield vtn, vtn.world.node.adapters.listening["mqtt.mqtt"]


async def program(bl, **more):
    return await program_of(bl, f"P{next(NUMBERS)}", **more)


def token_of(http):
    return http.headers["authorization"].removeprefix("Bearer ")


async def topics(http, *path):
    answer = await http.get("/".join((TOPICS, *path)))
    assert answer.status_code == 200, answer.text
    return answer.json()["topics"]


@contextlib.asynccontextmanager
async def reading(address, http, *filters, username="", qos=1, client_id="reader", granted=None, clean=True):
    """Yield a paho client that subscribed as it was granted."""
    more = {"client_id": client_id, "subscribe": filters, "qos": qos, "clean": clean}
    with device(address, username or http.id, token_of(http), **more) as it:
        await until(lambda: len(it.granted) == len(filters) or it.refused)
        assert it.granted == (granted or [qos] * len(filters))
        yield it


def told(it):
    found = [(topic.split("/", 2)[2], json.loads(body)) for topic, body in it.got]
    return [(topic, one["objectType"], one["operation"], one["object"]["id"]) for topic, one in found]


async def test_what_is_told_of_broker_and_topics(both) -> None:
    vtn, (host, port) = both
    bl, ven = await vtn.client("operator"), await vtn.client("owner")
    assert (await ven.get("/notifiers")).json()["MQTT"] == {
        "URIS": [f"mqtt://{host}:{port}"], "serialization": "JSON",
        "authentication": {"method": "OAUTH2_BEARER_TOKEN", "username": "{clientID}"},
    }  # fmt: skip
    found = await topics(ven, "programs")
    assert found == {
        name: f"openadr3/{ven.id}/programs/{verb}"
        for name, verb in (("CREATE", "create"), ("UPDATE", "update"), ("DELETE", "delete"), ("ALL", "+"))
    }
    of, hidden = await program(bl), await program(bl, targets=["secret"])
    assert set(await topics(ven, "programs", of["id"])) == {"UPDATE", "DELETE", "ALL"}
    assert (await ven.get(f"{TOPICS}/programs/{hidden['id']}")).status_code == 404
    assert (await ven.get(f"{TOPICS}/programs/{hidden['id']}/events")).status_code == 404
    for name in ("events", "reports", "subscriptions", "vens", "resources"):
        assert (await ven.get(f"{TOPICS}/{name}")).status_code == 403
        assert (await topics(bl, name))["ALL"] == f"openadr3/{bl.id}/{name}/+"
    own = await made(ven, "/vens", {"objectType": "VEN_VEN_REQUEST", "venName": f"v{next(NUMBERS)}"})
    other = await vtn.client("owner")
    for path in (f"vens/{own['id']}", *(f"vens/{own['id']}/{one}" for one in ("events", "programs", "resources"))):
        assert (await ven.get(f"{TOPICS}/{path}")).status_code == 200
        assert (await other.get(f"{TOPICS}/{path}")).status_code == 404


async def test_changes_of_events_arrive_in_order_at_who_may_see_them(both) -> None:
    vtn, address = both
    bl, ven, other = await vtn.client("operator"), await vtn.client("owner"), await vtn.client("owner")
    body = {"objectType": "BL_VEN_REQUEST", "clientID": ven.id, "venName": f"v{next(NUMBERS)}", "targets": ["north"]}
    known = await made(bl, "/vens", body)
    of = await program(bl)
    events = await topics(ven, "programs", of["id"], "events")
    aimed = await topics(ven, "vens", known["id"], "events")
    every, others = await topics(bl, "events"), await topics(other, "programs", of["id"], "events")
    async with (
        reading(address, ven, events["ALL"], aimed["CREATE"]) as mine,
        reading(address, other, others["CREATE"], others["UPDATE"], others["DELETE"]) as theirs,
        reading(address, bl, every["ALL"], qos=0) as all_,
    ):
        one = await made(bl, "/events", event(of, targets=["north"]))
        assert (await bl.put(f"/events/{one['id']}", json=event(of, targets=["north"], eventName="L"))).is_success
        assert (await bl.delete(f"/events/{one['id']}")).is_success
        two = await made(bl, "/events", event(of))
        at = f"programs/{of['id']}/events"
        await until(lambda: len(mine.got) >= 5 and len(theirs.got) >= 1 and len(all_.got) >= 4)
        assert sorted(told(mine)) == sorted([
            (f"{at}/create", "EVENT", "CREATE", one["id"]),
            (f"vens/{known['id']}/events/create", "EVENT", "CREATE", one["id"]),
            (f"{at}/update", "EVENT", "UPDATE", one["id"]), (f"{at}/delete", "EVENT", "DELETE", one["id"]),
            (f"{at}/create", "EVENT", "CREATE", two["id"]),
        ])  # fmt: skip
        assert [what for _, _, what, _ in told(mine) if what != "CREATE"] == ["UPDATE", "DELETE"]
        assert told(theirs) == [(f"{at}/create", "EVENT", "CREATE", two["id"])]
        assert [(what, id_) for _, _, what, id_ in told(all_)] == [
            ("CREATE", one["id"]), ("UPDATE", one["id"]), ("DELETE", one["id"]), ("CREATE", two["id"]),
        ]  # fmt: skip
        assert json.loads(all_.got[0][1])["object"] == one


async def test_objects_of_clients_and_what_others_made_are_told(both) -> None:
    vtn, address = both
    bl, ven = await vtn.client("operator"), await vtn.client("owner")
    own = await made(ven, "/vens", {"objectType": "VEN_VEN_REQUEST", "venName": f"v{next(NUMBERS)}"})
    names = [(await topics(bl, one))["ALL"] for one in ("programs", "reports", "subscriptions", "vens", "resources")]
    mine = [(await topics(ven, "vens", own["id"]))["ALL"], (await topics(ven, "vens", own["id"], "resources"))["ALL"]]
    async with reading(address, bl, *names) as all_, reading(address, ven, *mine) as some:
        native = await made(vtn.world.op, "/programmes", {"title": f"N{next(NUMBERS)}"})
        resource = {"objectType": "VEN_RESOURCE_REQUEST", "resourceName": "r", "venID": own["id"]}
        part = {"objects": ["EVENT"], "operations": ["READ"], "callbackUrl": "http://127.0.0.1:9/", "bearerToken": "s3"}
        added = await made(ven, "/resources", resource)
        wish = await made(ven, "/subscriptions", {"clientName": "c", "objectOperations": [part]})
        upon = await made(bl, "/events", event({"id": native["id"].removeprefix("urn:uuid:")}))
        said = [{"resourceName": "r", "intervals": [{"id": 0, "payloads": [{"type": "USAGE", "values": [1.5]}]}]}]
        report = await made(ven, "/reports", {"eventID": upon["id"], "clientName": "v", "resources": said})
        assert (await ven.delete(f"/vens/{own['id']}")).is_success
        await until(lambda: len(all_.got) >= 6 and len(some.got) >= 3)
        assert {(kind, what) for _, kind, what, _ in told(all_)} >= {
            ("PROGRAM", "CREATE"), ("RESOURCE", "CREATE"), ("SUBSCRIPTION", "CREATE"), ("REPORT", "CREATE"),
            ("RESOURCE", "DELETE"), ("VEN", "DELETE"),
        }  # fmt: skip
        assert {id_ for *_, id_ in told(all_)} >= {added["id"], wish["id"], report["id"], own["id"]}
        assert not any(b"s3" in body for _, body in all_.got)
        assert {(kind, what) for _, kind, what, _ in told(some)} == {
            ("RESOURCE", "CREATE"), ("RESOURCE", "DELETE"), ("VEN", "DELETE")
        }  # fmt: skip


async def test_nobody_reads_what_is_not_its_own_nor_writes_anything(both) -> None:
    vtn, address = both
    bl, ven, other = await vtn.client("operator"), await vtn.client("owner"), await vtn.client("owner")
    of, hidden = await program(bl), await program(bl, targets=["secret"])
    wanted = (
        f"openadr3/{ven.id}/programs/+", "#", "openadr3/#", "openadr3/+/programs/+", f"openadr3/{ven.id}/#",
        f"openadr3/{other.id}/events/+", f"openadr3/{other.id}/programs/{hidden['id']}/events/+",
        f"openadr3/{other.id}/programs/+/events/create", f"openadr3/{other.id}/programs/read", "openadr3",
    )  # fmt: skip
    async with reading(address, other, *wanted, granted=[0x80] * len(wanted)):
        pass
    mine = (await topics(ven, "programs", of["id"], "events"))["ALL"]
    async with reading(address, ven, mine) as it:
        it.publish(mine.replace("+", "create"), b'{"objectType":"EVENT"}')
        await until(lambda: it.disconnected)
        assert it.got == []
    with device(address, other.id, token_of(ven), client_id="thief") as thief:
        await until(lambda: thief.refused)


async def test_a_new_password_ends_what_the_old_one_opened(both) -> None:
    vtn, address = both
    bl, ven = await vtn.client("operator"), await vtn.client("owner")
    of = await program(bl)
    mine = (await topics(ven, "programs", of["id"], "events"))["ALL"]
    async with reading(address, ven, mine) as it:
        await made(bl, "/events", event(of))
        await until(lambda: len(it.got) == 1)
        await asyncio.to_thread(vtn.world.node.identity.new_device_password, ven.id)
        await until(lambda: it.disconnected and it.refused)
        await made(bl, "/events", event(of))
        assert len(it.got) == 1


async def test_a_session_that_is_away_is_told_when_it_is_back(both) -> None:
    vtn, address = both
    bl, ven = await vtn.client("operator"), await vtn.client("owner")
    of = await program(bl)
    mine = (await topics(ven, "programs", of["id"], "events"))["ALL"]
    async with reading(address, ven, mine, clean=False):
        pass
    one = await made(bl, "/events", event(of))
    with device(address, ven.id, token_of(ven), client_id="reader") as it:
        await until(lambda: it.got)
        assert [id_ for *_, id_ in told(it)] == [one["id"]]
        assert it.session_present == [True]


@pytest.mark.parametrize(
    ("at", "tls", "mqtt", "host", "told_of"),
    [
        (("127.0.0.1", 1883), False, (), "vtn.example.org", ["mqtt://127.0.0.1:1883"]),
        (("0.0.0.0", 8883), True, (), "vtn.example.org", ["mqtts://vtn.example.org:8883"]),
        (("::", 8883), True, (), "[2001:db8::1]", ["mqtts://[2001:db8::1]:8883"]),
        (("::1", 1883), False, (), "", ["mqtt://[::1]:1883"]),
        (("0.0.0.0", 8883), True, ("mqtts://b.example.org",), "", ["mqtts://b.example.org"]),
    ],
)
async def test_where_the_broker_is_told_to_be(at, tls, mqtt, host, told_of) -> None:
    vtn, node = SimpleNamespace(told=[]), FakeNode()
    Notifier(vtn, node, Settings(mqtt=mqtt))
    assert vtn.brokers(host) == []
    with node.notices.serve(SimpleNamespace(listens_at=at, tls=tls)):
        assert vtn.brokers(host) == told_of


@pytest.mark.parametrize("uri", ["https://b", "mqtts://b/path", "mqtts://u:p@b", "b:8883", "mqtts://"])
async def test_a_setting_that_is_no_broker_is_refused(uri) -> None:
    with pytest.raises(Invalid):
        Notifier(SimpleNamespace(told=[]), FakeNode(), Settings(mqtt=(uri,)))
