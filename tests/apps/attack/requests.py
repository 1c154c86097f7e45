"""For each row of the table a request that would do something, were it let in."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from joserfc.jwk import OKPKey
from matrix_programmes import bodies as bodies_of_programmes
from matrix_programmes import fresh as fresh_of_programmes
from matrix_programmes import scene as scene_of_programmes
from running_node import BATTERY, METER, SENML, World

from gridspine.apps.cli.keys import new_key
from gridspine.infra.identity import jws
from gridspine.kernel.time import format_rfc3339
from gridspine.things.behaviour import SIGNATURE_TYPE, Behaviour, digest_of

METER_ID, BATTERY_ID = "urn:example:s", "urn:example:battery"
EDGE_BATTERY_ID = "urn:example:edge-battery"
RULE = {
    "name": "scene", "outputs": [f"{EDGE_BATTERY_ID}/activePowerSetpoint"],
    "text": "def control(inputs, state, now_s):\n    return None\n",
}  # fmt: skip
TITLE, VALUE = "Quellenweg-31", 987654.25
FOREVER = "2100-01-01T00:00:00Z"
CONTRACT = {"licence": "x", "purposes": ["a"]}
INCIDENT = {"subject": "s", "owner": "o", "deadline": FOREVER, "evidence": "e"}

DESCRIBED: dict[str, Any] = {
    "@context": "https://www.w3.org/2022/wot/td/v1.1", "title": TITLE, "security": "none",
    "securityDefinitions": {"none": {"scheme": "nosec"}},
    "properties": {"a": {"type": "number", "unit": "W", "forms": [{"href": "http://192.0.2.1/a"}]}},
}  # fmt: skip
ANNOUNCEMENT = {"make": "Acme", "model": "Solar 5", "thingModel": METER}


class Sent(NamedTuple):
    """A request: its path with what fills it, query, body and headers."""

    path: str
    params: dict[str, str]
    json: Any  # or a text, sent as it is
    headers: dict[str, str]


class Scene:
    """A node with one of everything, all of it the own organisation's; and, for who is let in, fresh ones to act on."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ids: dict[str, str] = {}

    async def set(self) -> None:
        """Make one of everything."""
        world = self.world
        world.node.identity.directory.add_organisation("third", "Third")
        for organisation in ("brightfield", "third"):  # each has something of its own to list
            _, http = world.client(organisation, "operator")
            await http.post("/things", json={"title": "T", "model": METER})
        await world.op.post("/things", json={"id": METER_ID, "title": TITLE, "model": METER})
        await world.thing(BATTERY_ID, BATTERY, adapter="none")
        await world.send(f"{METER_ID}/activeEnergyImport", [VALUE])
        await world.op.post("/readings", json=[{"n": f"{BATTERY_ID}/stateOfCharge", "v": 5000}], headers=SENML)
        self.product = await world.product(f"{METER_ID}/activeEnergyImport")
        self.grant = await world.grant(self.product)
        command = (await world.op.post("/commands", json=self.command())).json()["id"]
        events = (await world.op.get("/receipts", params={"subject": self.grant})).json()
        await self.behaviour()
        refused = await world.co.get(f"/things/{METER_ID}")
        victim, _ = world.client("northside-networks", "operator")
        self.ids = {
            "thing_id": METER_ID, "transaction_id": "t1",
            "name": "activeEnergyImport", "command_id": command, "product_id": self.product,
            "grant_id": self.grant, "incident_id": await self.incident(), "event_id": events[0]["id"],
            "principal_id": victim, "decision_id": refused.json()["decision"], "key": "session", "kid": "k" * 43,
            "certificate": "c" * 43, "behaviour": "scene", "version": "1.0.0", "verb": "stop",
            "invocation": "i" * 32, "tag_id": f"urn:uuid:{uuid.UUID(int=7)}", "language": "cim",
            "kind": "thing_created", "adapter": "modbus", "template": "eastron-sdm120",
            "attachment_id": await self.attachment(),
            "report_id": (await world.op.post(f"/things/{METER_ID}/commissioning", json={})).json()["id"],
            "edge_id": await self.edge(), "rule": "scene", "ensemble_id": await self.ensemble(),
            **(await self._fresh_waiting()), **(await scene_of_programmes(world, TITLE)),
        }  # fmt: skip

    async def edge(self) -> str:
        """Let an edge serve a battery by a rule that has two versions; return its principal."""
        world = self.world
        edge, _ = world.client("northside-networks", "device", kind="device")
        connection = {"edge": edge, "adapter": "modbus"}
        await world.thing(EDGE_BATTERY_ID, BATTERY, adapter="edge", connection=connection, devices=[edge])
        for _ in range(2):
            answer = await world.op.post(f"/edges/{edge}/rules", json=RULE)
            assert answer.status_code == 201, answer.text
        return edge

    async def ensemble(self) -> str:
        """Save an ensemble."""
        answer = await self.world.op.post("/ensembles", json={"title": TITLE, "criteria": {}})
        return str(answer.json()["id"])

    async def behaviour(self) -> None:
        """Publish a behaviour that does nothing, and deploy it."""
        world, key = self.world, new_key()
        jwk = jws.public_jwk(key.as_dict(private=False))
        world.node.identity.directory.add_key(world.op_id, jwk)
        text = "def on_reading(twin, state):\n    return None\n"
        package = Behaviour(name="scene", version="1.0.0", model=METER, text=text, listens=("voltage",))
        body = msgspec.json.encode(package).decode()
        signature = jws.sign({"typ": SIGNATURE_TYPE}, {"digest": digest_of(body)}, key)
        answer = await world.op.post("/behaviours", json={"package": body, "signature": signature})
        assert answer.status_code == 201, answer.text
        await world.op.post("/behaviours/scene/deployment", json={"version": "1.0.0", "share": 1})

    def command(self) -> dict[str, Any]:
        """Return an order that is accepted."""
        return {"thing": BATTERY_ID, "point": "activePowerSetpoint", "value": 1000, "durationS": 600}

    async def incident(self) -> str:
        """Open an incident."""
        body = INCIDENT | {"subject": str(uuid.uuid4()), "title": TITLE}
        return str((await self.world.op.post("/incidents", json=body)).json()["id"])

    async def fresh(self, path: str) -> dict[str, str]:
        """Return ids of new things for a request that will change them."""
        ids = dict(self.ids)
        if "{grant_id}/" in path:
            asked = {"product": self.product, "purpose": "b", "until": FOREVER}
            ids["grant_id"] = (await self.world.co.post("/grants", json=asked)).json()["id"]
            if not path.endswith(("/approve", "/refuse")):
                await self.world.op.post(f"/grants/{ids['grant_id']}/approve")
            if path.endswith("/resume"):
                await self.world.op.post(f"/grants/{ids['grant_id']}/suspend")
        if "{incident_id}" in path:
            ids["incident_id"] = await self.incident()
        if "{principal_id}" in path:
            ids |= self._fresh_principal(path)
        ids |= await self._fresh_control(path)
        ids |= await fresh_of_programmes(self.world, path, ids)
        if path.endswith("/form"):
            ids["thing_id"] = await self.world.thing(f"urn:uuid:{uuid.uuid4()}")
        if path.startswith("/behaviours/{behaviour}/"):
            await self.world.op.post("/behaviours/scene/stop")
            if path.endswith("/{verb}"):
                await self.world.op.post("/behaviours/scene/deployment", json={"version": "1.0.0", "share": 1})
        ids |= await self._fresh_life(path)
        if path.endswith(("/cancel", "/{invocation}")):
            ids["command_id"] = (await self.world.op.post("/commands", json=self.command())).json()["id"]
        return ids

    async def attachment(self) -> str:
        """Attach a file to the meter."""
        path, params = f"/things/{METER_ID}/attachments", {"name": f"{uuid.uuid4().hex}.json"}
        return str((await self.world.op.post(path, params=params, json={"a": uuid.uuid4().hex})).json()["id"])

    async def _fresh_life(self, path: str) -> dict[str, str]:
        if path.endswith("{attachment_id}/remove"):
            return {"thing_id": METER_ID, "attachment_id": await self.attachment()}
        waits = any(name in path for name in ("{transfer_id}", "{announcement_id}", "{voucher_id}"))
        return await self._fresh_waiting() if waits else {}

    async def _fresh_waiting(self) -> dict[str, str]:
        """Make an offer, an announcement and a voucher that nobody answered yet."""
        op = self.world.op
        thing = (await op.post("/things", json={"title": "T", "model": METER})).json()["id"]
        offer = await op.post(f"/things/{thing}/transfers", json={"to": "brightfield", "why": "w"})
        said = await op.post("/announcements", json=ANNOUNCEMENT | {"serial": uuid.uuid4().hex})
        voucher = await op.post("/vouchers", json={})
        return {
            "transfer_id": offer.json()["id"], "announcement_id": said.json()["id"], "voucher_id": voucher.json()["id"],
        }  # fmt: skip

    def _exchange(self) -> dict[str, Any]:
        """Return an exchange of the meter, of now."""
        points = self.world.node.things.model(self.world.node.things.get(METER_ID)).points
        readings = {point.name: 1.0 for point in points if point.reading_type.kind == "register"}
        at = format_rfc3339(self.world.node.clock.now_us())
        return {"at": at, "oldSerial": "a", "newSerial": "b", "final": readings, "first": readings, "why": "w"}

    async def _fresh_control(self, path: str) -> dict[str, str]:
        """Return a Thing to take in hand, with what hangs on it; or a command that waits for a second person."""
        op, ids = self.world.op, dict[str, str]()
        if path.endswith("/{ensemble_id}"):
            ids["ensemble_id"] = await self.ensemble()
        if path.endswith(("/{thing_id}", "/local", "/remote", "/tags", "/remove")):
            ids["thing_id"] = await self.world.thing(f"urn:uuid:{uuid.uuid4()}")
        if path.endswith("/remote"):
            await op.post(f"/things/{ids['thing_id']}/local", json={"reason": "r"})
        if path.endswith("/remove"):
            ids["tag_id"] = (await op.post(f"/things/{ids['thing_id']}/tags", json={"reason": "r"})).json()["id"]
        if path.endswith("/approval"):
            ids["command_id"] = (await op.post("/commands", json=self.command() | {"value": 3000})).json()["id"]
        return ids

    def _fresh_principal(self, path: str) -> dict[str, str]:
        identity, name = self.world.node.identity, uuid.uuid4().hex
        if path.endswith("/password"):
            password = "correct horse battery"
            return {"principal_id": identity.users.add("northside-networks", name, password, ("operator",)).id}
        kind = "device" if path.endswith("/device-password") else "application"
        made = identity.directory.add_principal("northside-networks", kind, name, ("auditor",))
        if path.endswith("/reactivate"):
            identity.directory.deactivate(made.id)
        key = OKPKey.generate_key("Ed25519", auto_kid=True)
        identity.directory.add_key(made.id, dict(key.as_dict(private=False)))
        pem = identity.authority.issue(made, csr().encode())
        der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
        from gridspine.infra.identity.certificate import thumbprint

        return {"principal_id": made.id, "kid": str(key.kid), "certificate": thumbprint(der)}

    def request(self, method: str, path: str, ids: dict[str, str]) -> Sent:
        """Return the request for a row, acting on ``ids``."""
        if _acts(method, path) and ids["thing_id"] == METER_ID:  # nothing of a meter can be written
            ids = ids | {"thing_id": BATTERY_ID, "name": "activePowerSetpoint"}
        if "/actions/" in path and ids["thing_id"] == METER_ID:
            invocation = ids["command_id"].removeprefix("urn:uuid:")
            ids = ids | {"thing_id": BATTERY_ID, "name": "hold", "invocation": invocation}
        if "/events/" in path:
            ids = ids | {"name": "alarm"}
        filled = path
        for name, value in ids.items():
            filled = filled.replace(f"{{{name}}}", value)
        params = {
            "/commands": {"thing": ids["thing_id"]} if method == "GET" else {},
            "/receipts": {"subject": ids["grant_id"]},
            "/search/jsonpath": {"query": "$[*].title"},
            "/search/sparql": {"query": "ASK {}"} if method == "GET" else {},
            "/things/{thing_id}/attachments": {"name": "file.json"} if method == "POST" else {},
            "/quarantine/release": {"principal": ids["principal_id"]},
        }.get(path, {})
        if path.endswith("/next"):
            params = {"waitS": "0"}
        if path.startswith("/products/{product_id}/") and not path.endswith("/query"):
            params = {"purpose": "a"}
        return Sent(filled, params, self._body(method, path, ids), _media(method, path))

    def _body(self, method: str, path: str, ids: dict[str, str]) -> Any:
        if path == "/things/{thing_id}":
            return {"PUT": DESCRIBED | {"id": ids["thing_id"]}, "PATCH": {"title": "x"}}.get(method)
        if method not in {"POST", "PUT"}:
            return None
        bodies: dict[str, Any] = bodies_of_programmes(ids) | {
            "/readings": [{"n": f"{METER_ID}/voltage", "v": 230}],
            "/things": {"title": "T", "model": METER},
            "/things/batch": [{"title": "T", "model": METER}],
            "/models": thing_model(),
            "/templates/{template}/things": {"title": "T", "at": "tcp://192.0.2.7/1"},
            "/models/fill": {"thingModel": thing_model() | DESCRIBED | {"@type": "tm:ThingModel"}},
            "/things/{thing_id}/properties/{name}/value": 1000,
            "/things/{thing_id}/values": {"activePowerSetpoint": 1000},
            "/things/{thing_id}/actions/{name}": {"property": "activePowerSetpoint", "value": 900, "durationS": 60},
            "/tickets": {"href": f"/things/{METER_ID}/values/observe"},
            "/commands": self.command() | {"thing": ids.get("other_thing", BATTERY_ID)},
            "/commands/batch": [self.command() | {"thing": ids.get("other_thing", BATTERY_ID)}],
            "/commands/{command_id}/approval": {"batch": True},
            "/things/{thing_id}/local": {"reason": "r"},
            "/things/{thing_id}/remote": {"reason": "r"},
            "/things/{thing_id}/tags": {"reason": "r"},
            "/things/{thing_id}/tags/{tag_id}/remove": {"reason": "r"},
            "/things/{thing_id}/form": {"form": "emulator", "external": True},
            "/things/form": {"form": "emulator", "external": True, "things": [ids["thing_id"]]},
            "/behaviours": {"package": "{}", "signature": "s"},
            "/behaviours/{behaviour}/deployment": {"version": "1.0.0"},
            "/all-stop": {"reason": "r"},
            "/edge/report": {"clockUs": 0},
            "/ensembles": {"title": "E", "criteria": {}},
            "/ensembles/gather": {},
            "/search/sparql": "ASK {}",
            "/edges/{edge_id}/rules": RULE,
            "/products": {"title": "P", "points": [f"{METER_ID}/voltage"], "contract": CONTRACT},
            "/products/{product_id}/query": {"sql": "select 1 as one", "purpose": "a"},
            "/grants": {"product": ids["product_id"], "purpose": "a", "until": FOREVER},
            "/alarms/acknowledge": {"point": f"{ids['thing_id']}/activeEnergyImport", "kind": "high"},
            "/incidents": INCIDENT | {"title": "x"},
            "/incidents/{incident_id}/note": {"text": "t"},
            "/incidents/{incident_id}/close": {"text": "t"},
            "/query": {"sql": "select 1 as one"},
            "/things/{thing_id}/lifecycle": {"to": "suspended", "why": "w"},
            "/things/{thing_id}/meter-exchanges": self._exchange(),
            "/things/{thing_id}/history": {"what": "serviced", "words": "w"},
            "/things/{thing_id}/commissioning": {},
            "/things/{thing_id}/attachments": {"a": uuid.uuid4().hex},
            "/things/{thing_id}/transfers": {"to": "brightfield", "why": "w"},
            "/transfers/{transfer_id}/refuse": {"why": "w"},
            "/announcements": ANNOUNCEMENT | {"serial": uuid.uuid4().hex},
            "/announcements/{announcement_id}/reject": {"why": "w"},
            "/vouchers": {},
            "/adapters/{adapter}/trace": {},
            "/organisations": {"id": f"o{uuid.uuid4().hex}", "name": "O"},
            "/principals": {
                "kind": "application", "name": "n", "roles": ["operator"], "organisation": "northside-networks",
            },
            "/principals/{principal_id}/roles": {"roles": ["auditor"]},
            "/principals/{principal_id}/password": {"password": "another horse battery"},
            "/principals/{principal_id}/certificates": {"csr": csr()},
            "/principals/{principal_id}/known-certificates": {"certificate": certificate()},
            "/principals/{principal_id}/keys": {
                "jwk": public_jwk(),
            },
        }  # fmt: skip
        return bodies.get(path)


def thing_model() -> dict[str, Any]:
    """Return a Thing Model that nobody registered yet."""
    properties = {"a": {"type": "number", "gs:readingType": {"unit": "W"}}}
    return {
        "@context": DESCRIBED["@context"], "@type": "tm:ThingModel", "id": f"urn:uuid:{uuid.uuid4()}", "title": "M",
        "properties": properties,
    }  # fmt: skip


def _media(method: str, path: str) -> dict[str, str]:
    if method == "PATCH":
        return {"content-type": "application/merge-patch+json"}
    if method == "POST" and path == "/search/sparql":
        return {"content-type": "application/sparql-query"}
    return SENML if path == "/readings" else {}


def _acts(method: str, path: str) -> bool:
    """Whether a request changes what a Thing does."""
    return method == "PUT" and path.endswith(("/value", "/values"))


def csr() -> str:
    """Return a certificate request."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "c")])
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(name)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
        .decode()
    )


def certificate() -> str:
    """Return a certificate of an authority that nobody knows."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "c")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number()).not_valid_before(now).not_valid_after(now + timedelta(1))
    return made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def public_jwk() -> dict[str, str]:
    """Return a new public key."""
    members = OKPKey.generate_key("Ed25519").as_dict(private=False)
    return {name: str(value) for name, value in members.items() if name != "kid"}
