"""Every device template, from a device made of it to the twin: values, units and signs, by a whole node."""

import asyncio
import contextlib
import hmac
import json
from urllib.parse import urlsplit

import httpx
import msgspec
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from running_node import running, settings_for

from gridspine.apps.emulate.template_device import messages, parameters_of, serve_template, speak
from gridspine.apps.node.adapter_keyring import AdapterKeyring
from gridspine.energy.models import load_models
from gridspine.energy.templates import known_models, load_templates
from gridspine.infra.runtime.settings import Adapters
from gridspine.things.template import HttpTemplate, ModbusTemplate, MqttTemplate
from gridspine.things.template_fill import fill

ORGANISATION = "northside-networks"
LOOPBACK = ["127.0.0.0/8"]


async def until(condition, timeout_s=30.0):
    async with asyncio.timeout(timeout_s):
        while not await condition():
            await asyncio.sleep(0.05)


@contextlib.contextmanager
def publisher(address, username, password):
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="played", protocol=paho.MQTTv311)
    client.username_pw_set(username, password)
    client.connect(*address)
    client.loop_start()
    try:
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


def adapters(origins):
    use = {"origins": origins, "organisations": [ORGANISATION]}
    return Adapters(
        allow=["modbus", "wot_http", "mqtt"],
        settings={
            "modbus": {"allow": LOOPBACK},
            "wot_http": {"allow": LOOPBACK, "secrets": {"cloud": use}},
            "mqtt": {"mqtt": {"port": 0}},
        },
    )


async def registered(world, name, template, at, **more):
    """Register a Thing as its template says, but read at once and every second."""
    secret = "cloud" if isinstance(template, HttpTemplate) and template.http.scheme in {"apikey", "oauth2"} else ""
    made = fill(template, at, parameters_of(template), secret)
    if "token" in made.connection.get("security", {}):  # it is had from the cloud that is played, as who logged in
        token = at + urlsplit(made.connection["security"]["token"]).path
        made.connection["security"]["token"] = token
        keyring = AdapterKeyring(world.node.identity.custody, "wot_http")
        keyring.write("cloud", msgspec.json.encode({"refreshToken": "r", "token": token}))
    connection = made.connection | ({"intervalS": 1} if "intervalS" in made.connection else {})
    thing = f"urn:example:{name}"
    body = {"id": thing, "title": name, "model": made.model, "adapter": made.adapter, "connection": connection}
    answer = await world.op.post("/things", json=body | more)
    assert answer.status_code == 201, answer.text
    return thing


async def shown(world, thing):
    found = (await world.op.get(f"/things/{thing}/properties")).json()
    return {one["name"]: (one["value"], one["unit"]) for one in found if one["value"] is not None}


async def publishing(world, templates):
    """Register a Thing for each device that publishes; return what they must show, who they are and what they say."""
    body = {"kind": "device", "name": "d", "roles": ["device"], "password": True}
    principal = (await world.op.post("/principals", json=body)).json()
    wanted, said = {}, {}
    for name, template in templates.items():
        if isinstance(template, MqttTemplate):
            spoken = speak(template, seed=7)
            thing = await registered(world, name, template, "", devices=[principal["id"]])
            wanted[thing] = {point: one.value for point, one in spoken.items()}
            said |= messages(template, spoken, parameters_of(template))
    return wanted, principal, said


async def asked(stack, templates):
    """Play the devices that are asked."""
    found = {}
    for seed, (name, template) in enumerate(sorted(templates.items())):
        if isinstance(template, ModbusTemplate | HttpTemplate):
            found[name] = await stack.enter_async_context(serve_template(template, seed=seed))
    return found


async def test_every_template_shows_what_its_device_says(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GRIDSPINE_SECRET_WOT_HTTP_CLOUD", "k" * 20)
    templates = load_templates()
    async with contextlib.AsyncExitStack() as stack:
        devices = await asked(stack, templates)
        origins = [one.at for one in devices.values() if one.at.startswith("http")]
        world = await stack.enter_async_context(running(tmp_path / "data", settings_for(adapters=adapters(origins))))
        wanted, principal, said = await publishing(world, templates)
        for name, device in devices.items():
            wanted[await registered(world, name, templates[name], device.at)] = device.values

        async def all_there():
            return all([(await shown(world, thing)).keys() >= values.keys() for thing, values in wanted.items()])

        async def listening():
            return "mqtt.mqtt" in world.node.adapters.listening

        await until(listening)
        with publisher(world.node.adapters.listening["mqtt.mqtt"], principal["id"], principal["password"]) as client:
            for topic, message in said.items():
                client.publish(topic, message, qos=1)
            await until(all_there)
        for thing, values in wanted.items():
            assert await shown(world, thing) == expected(templates[thing.rpartition(":")[2]], values), thing
    assert len(wanted) == len(templates)


def expected(template, values):
    """Return what a Thing must show: values in the units of its class."""
    model = load_models()[template.class_]
    return {
        name: (pytest.approx(value, rel=1e-6), model.point(name).reading_type.unit) for name, value in values.items()
    }


async def test_a_device_is_registered_by_a_template(tmp_path) -> None:
    settings = settings_for(adapters=adapters([]))
    async with running(tmp_path / "data", settings) as world:
        listed = {one["name"]: one for one in (await world.op.get("/templates")).json()}
        assert listed.keys() == load_templates().keys()
        assert listed["eastron-sdm120"]["adapter"] == "modbus"
        whole = (await world.op.get("/templates/tasmota-plug")).json()
        assert whole["points"]["activePower"]["pointer"] == "/ENERGY/Power"
        async with serve_template(load_templates()["eastron-sdm120"], seed=3) as device:
            body = {"title": "Meter", "at": device.at, "id": "urn:example:m"}
            made = await world.op.post("/templates/eastron-sdm120/things", json=body)
            assert made.status_code == 201, made.text
            assert made.json()["adapter"] == "modbus"

            async def there():
                return (await shown(world, "urn:example:m")).get("voltage") is not None

            await until(there)
            assert (await shown(world, "urn:example:m"))["voltage"][0] == pytest.approx(device.values["voltage"])


async def test_what_is_wrong_is_said_field_by_field_and_nothing_is_kept(tmp_path) -> None:
    async with running(tmp_path / "data", settings_for(adapters=adapters([]))) as world:
        for name, body, field in [
            ("eastron-sdm120", {"at": "http://192.0.2.7"}, "at"),
            ("eastron-sdm120", {"at": "tcp://192.0.2.7/1", "secret": "s"}, "secret"),
            ("eastron-sdm120", {"at": "tcp://192.0.2.7/1", "parameters": {"x": "1"}}, "parameters.x"),
            ("tasmota-plug", {}, "parameters.topic"),
            ("tasmota-plug", {"parameters": {"topic": "a/#"}}, "parameters.topic"),
            ("solaredge-cloud", {"parameters": {"site": "7"}}, "secret"),
            ("shelly-pro-3em", {"at": "file:///etc/passwd"}, "at"),
        ]:
            answer = await world.op.post(f"/templates/{name}/things", json={"title": "T", **body})
            assert answer.status_code == 400, answer.text
            assert [one["field"] for one in answer.json()["validationErrors"]] == [field]
        assert (await world.op.post("/templates/no-such/things", json={"title": "T"})).status_code == 404
        # Another organisation may register Things, and not say where the node connects to.
        body = {"title": "T", "at": "tcp://192.0.2.7/1"}
        assert (await world.co.post("/templates/eastron-sdm120/things", json=body)).status_code == 403
        assert (await world.op.get("/things")).json() == []


async def test_the_operators_own_templates_are_found_and_bad_ones_said(tmp_path) -> None:
    async with running(tmp_path / "data", settings_for(adapters=adapters([]))) as world:
        folder = tmp_path / "data" / "templates"
        folder.mkdir()
        text = (
            'protocol = "http"\nmaker = "Acme"\nproduct = "M1"\nclass = "meter"\n[source]\ndocument = "D"\n[points]\n'
            'activePower = { pointer = "/p", unit = "kW", sign = "export_positive" }\n'
            'activeEnergyImport = { pointer = "/i", unit = "Wh" }\n'
            'activeEnergyExport = { pointer = "/e", unit = "Wh" }\n'
        )
        (folder / "acme-m1.toml").write_text(text)
        (folder / "bad.toml").write_text(text.replace("kW", "kg"))
        listed = {one["name"] for one in (await world.op.get("/templates")).json()}
        assert "acme-m1" in listed
        assert "bad" not in listed
        answer = await world.op.get("/templates/bad")
        assert answer.status_code == 404
        assert "points.activePower.unit" in answer.json()["detail"]


def test_each_file_is_small_and_names_its_source() -> None:
    for name, template in load_templates().items():
        assert template.source.document, name
        assert template.source.url.startswith("http"), name
        model = known_models()(template.class_)
        assert json.loads(msgspec.json.encode(model.document)), name


HOOKED = """
protocol = "webhook"
maker = "Acme"
product = "Cloud"
class = "meter"
lacks = ["activeEnergyExport"]
[source]
document = "D"
[webhook]
header = "X-Acme-Signature"
prefix = "sha256="
time = "/at"
time_form = "ms"
[points]
activePower = { pointer = "/p/0", unit = "kW", sign = "export_positive" }
activeEnergyImport = { plus = ["/t1", "/t2"], unit = "kWh" }
"""


async def test_a_vendor_posts_what_a_template_reads(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GRIDSPINE_SECRET_WEBHOOK_ACME", "a secret of some length")
    use = {"acme": {"organisations": [ORGANISATION]}}
    allowed = Adapters(allow=["webhook"], settings={"webhook": {"webhook": {"port": 0}, "secrets": use}})
    async with running(tmp_path / "data", settings_for(adapters=allowed)) as world:
        (tmp_path / "data" / "templates").mkdir()
        (tmp_path / "data" / "templates" / "acme-cloud.toml").write_text(HOOKED)
        body = {"title": "M", "id": "urn:example:m", "secret": "acme"}
        made = await world.op.post("/templates/acme-cloud/things", json=body)
        assert made.status_code == 201, made.text

        async def listening():
            return "webhook.webhook" in world.node.adapters.listening

        await until(listening)
        host, port = world.node.adapters.listening["webhook.webhook"]
        now_ms = world.node.clock.now_us() // 1000
        said = json.dumps({"p": [1.5], "t1": 2, "t2": 3, "at": now_ms}).encode()
        made = str(now_ms // 1000)
        whole = f"POST\n/urn:example:m\n{made}\n".encode() + said
        proof = hmac.new(b"a secret of some length", whole, "sha256").hexdigest()

        async def taken():
            headers = {"x-acme-signature": f"sha256={proof}", "x-timestamp": made}
            async with httpx.AsyncClient(trust_env=False) as vendor:
                answer = await vendor.post(f"http://{host}:{port}/urn:example:m", content=said, headers=headers)
            return answer.status_code == 200

        await until(taken)
        assert await shown(world, "urn:example:m") == {
            "activePower": (pytest.approx(-1500.0), "W"), "activeEnergyImport": (pytest.approx(5000.0), "Wh"),
        }  # fmt: skip
