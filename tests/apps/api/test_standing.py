"""What a principal may be and do from now on, and the node's own keys: by the API, as an administrator meets it."""

import httpx
import pytest
import pytest_asyncio
from running_node import World, settings_for

from gridspine.infra.ledger.handover import follow
from gridspine.infra.ledger.note import parse_key
from gridspine.infra.ledger.receipt import decode_proof, verify

pytestmark = pytest.mark.asyncio(loop_scope="module")
PASSWORD = "correct horse battery"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory):
    made = await World.start(tmp_path_factory.mktemp("standing") / "data", settings_for())
    yield made
    await made.stop()


async def changed(world, principal: str, what: str, by: httpx.AsyncClient | None = None, **body):
    return await (by or world.op).post(f"/principals/{principal}/{what}", json=body or None)


async def test_roles_are_given_and_taken_at_once(world) -> None:
    id_, http = world.client("northside-networks", "owner")
    assert (await http.get("/metrics")).status_code == 403
    answer = await changed(world, id_, "roles", roles=["operator", "consumer"])
    assert (answer.status_code, answer.json()["roles"]) == (200, ["operator", "consumer"])
    assert (await http.get("/metrics")).status_code == 200
    assert (await changed(world, id_, "roles", roles=["king"])).status_code == 400
    assert (await changed(world, id_, "roles", roles=[])).status_code == 400
    assert (await changed(world, id_, "roles", by=http, roles=["administrator"])).status_code == 403
    assert (await changed(world, id_, "roles", by=world.co, roles=["operator"])).status_code == 404


async def test_a_principal_comes_back_without_what_was_issued_before(world) -> None:
    id_, http = world.client("northside-networks", "auditor")
    assert (await changed(world, id_, "reactivate")).status_code == 409
    assert (await changed(world, id_, "deactivate")).status_code == 200
    assert (await http.get("/things")).status_code == 401
    assert (await changed(world, id_, "reactivate", by=world.co)).status_code == 404
    answer = await changed(world, id_, "reactivate")
    assert (answer.status_code, answer.json()["active"]) == (200, True)
    assert (await http.get("/things")).status_code == 200, "a demo token rests on the principal alone"


async def test_signing_out_everywhere_ends_tokens_and_leaves_keys(world) -> None:
    identity = world.node.identity
    user = identity.users.add("northside-networks", "olga", PASSWORD, ("operator",))
    cookie = identity.sign_in("olga", PASSWORD, "192.0.2.1")
    assert (await changed(world, user.id, "sign-out")).status_code == 200
    headers = {"cookie": f"gridspine={cookie}"}
    assert (await world.nobody.get("/things", headers=headers)).status_code == 401
    headers = {"cookie": f"gridspine={identity.sign_in('olga', PASSWORD, '192.0.2.1')}"}
    assert (await world.nobody.get("/things", headers=headers)).status_code == 200


async def test_a_users_password_is_set_and_the_old_one_ends(world) -> None:
    identity = world.node.identity
    user = identity.users.add("northside-networks", "carla", PASSWORD, ("operator",))
    headers = {"cookie": f"gridspine={identity.sign_in('carla', PASSWORD, '192.0.2.1')}"}
    assert (await changed(world, user.id, "password", password="short")).status_code == 400
    assert (await changed(world, user.id, "password", password="another horse battery")).status_code == 200
    assert (await world.nobody.get("/things", headers=headers)).status_code == 401
    assert identity.sign_in("carla", "another horse battery", "192.0.2.1")
    assert (await changed(world, world.op_id, "password", password=PASSWORD)).status_code == 409


async def test_a_device_password_is_made_anew(world) -> None:
    id_, _ = world.client("northside-networks", "device", kind="device")
    first = (await changed(world, id_, "device-password")).json()["password"]
    caller = world.node.identity.by_password(id_, first)
    second = (await changed(world, id_, "device-password")).json()["password"]
    assert not world.node.identity.holds(caller)
    assert world.node.identity.by_password(id_, second).principal == id_
    application, _ = world.client("northside-networks", "operator")
    secret = (await changed(world, application, "device-password")).json()["password"]
    assert world.node.identity.by_password(application, secret).principal == application
    user, _ = world.client("northside-networks", kind="user")
    assert (await changed(world, user, "device-password")).status_code == 409


async def test_the_last_administrator_stays(world) -> None:
    directory = world.node.identity.directory
    others = [
        p.id for p in directory.principals("northside-networks") if "administrator" in p.roles and p.id != world.op_id
    ]
    for other in others:
        assert (await changed(world, other, "deactivate")).status_code == 200
    assert (await changed(world, world.op_id, "deactivate")).status_code == 409
    assert (await changed(world, world.op_id, "roles", roles=["operator"])).status_code == 409
    for other in others:
        assert (await changed(world, other, "reactivate")).status_code == 200


async def test_every_change_is_in_the_ledger_with_who_made_it(world) -> None:
    events = [record.body for record in world.node.log.read("ledger", 0, 0, max_records=5000)]
    for word in ("roles-set", "reactivated", "deactivated", "tokens-revoked", "password-set", "device-password-set"):
        found = [body for body in events if f"principal.{word}".encode() in body]
        assert found, word
        assert any(world.op_id.encode() in body for body in found), word
    assert not any(PASSWORD.encode() in body or b"another horse" in body for body in events)


async def rotate(world, key: str, by: httpx.AsyncClient | None = None, **query):
    return await (by or world.op).post(f"/node-keys/{key}/rotate", params=query)


async def test_only_the_nodes_administrators_replace_its_keys(world) -> None:
    _, operator = world.client("northside-networks", "operator", "owner", "auditor")
    for by in (operator, world.co):
        assert (await rotate(world, "token", by=by)).status_code == 403
    assert (await world.nobody.post("/node-keys/token/rotate")).status_code == 401
    assert (await rotate(world, "nonsense")).status_code == 400
    assert (await rotate(world, "ledger", at_once=True)).status_code == 400


async def test_the_token_key_is_replaced_and_both_are_published(world) -> None:
    before = (await world.nobody.get("/jwks")).json()["keys"]
    assert (await rotate(world, "token")).status_code == 200
    after = (await world.nobody.get("/jwks")).json()["keys"]
    assert after[1:] == before
    assert (await rotate(world, "token", at_once=True)).status_code == 200
    assert len((await world.nobody.get("/jwks")).json()["keys"]) == 1


async def test_the_old_ledger_key_vouches_for_the_new(world) -> None:
    old = parse_key((await world.nobody.get("/ledger/key")).text)
    incident = {"subject": "s", "title": "t", "owner": "o", "deadline": "2100-01-01T00:00:00Z", "evidence": "e"}
    assert (await world.op.post("/incidents", json=incident)).status_code == 201
    for _ in range(2):
        assert (await rotate(world, "ledger")).status_code == 200
    new = parse_key((await world.nobody.get("/ledger/key")).text)
    notes = (await world.nobody.get("/ledger/handovers")).json()
    assert len(notes) == 2
    assert follow(old, notes)[-1] == new
    assert follow(old, notes[1:]) == [old], "no link of the chain can be left out"
    product = await world.op.post(
        "/products",
        json={
            "title": "P",
            "points": [f"{await world.thing()}/voltage"],
            "contract": {"licence": "x", "purposes": ["a"]},
        },
    )
    await world.grant(product.json()["id"])
    events = (await world.op.get("/receipts", params={"subject": product.json()["id"]})).json()
    receipt = decode_proof((await world.op.get(f"/receipts/{events[0]['id']}")).content)
    verify(receipt, new)


async def test_the_authority_is_published_while_it_is_replaced(world) -> None:
    assert (await world.nobody.get("/authority")).text.count("BEGIN CERTIFICATE") == 1
    assert "begun" in (await rotate(world, "authority")).json()["words"]
    assert (await world.nobody.get("/authority")).text.count("BEGIN CERTIFICATE") == 2
    assert "ended" in (await rotate(world, "authority")).json()["words"]
    assert (await world.nobody.get("/authority")).text.count("BEGIN CERTIFICATE") == 1


@pytest.mark.parametrize("key", ["session", "device"])
async def test_secrets_are_replaced(world, key) -> None:
    assert (await rotate(world, key)).status_code == 200
