"""From the box to a certificate: vouchers, announcements, and enrolment by curl and openssl, strangers to this code."""

import asyncio
import base64
import json
import ssl

import httpx
import pytest
from running_node import METER, running, settings_for

from gridspine.infra.runtime.settings import Lifecycle, Tls

EST = "/.well-known/est"
DEVICE = {"make": "Acme", "model": "Solar 5", "serial": "S-1", "thingModel": METER}


def basic(voucher):
    shown = base64.b64encode(f"{voucher['id']}:{voucher['code']}".encode()).decode()
    return {"authorization": f"Basic {shown}"}


async def run(*words, folder, stdin=b""):
    process = await asyncio.create_subprocess_exec(
        *map(str, words), cwd=folder, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, error = await asyncio.wait_for(process.communicate(stdin), 60)
    assert process.returncode == 0, (words, out, error)
    return out


async def request_of(folder, name="device"):
    """Make a key and a certificate request as a device would, with openssl; return the request's base64."""
    await run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key", folder=folder)
    der = await run(
        "openssl", "req", "-new", "-key", f"{name}.key", "-subj", f"/CN={name}", "-outform", "DER", folder=folder
    )
    (folder / f"{name}.p10").write_bytes(base64.encodebytes(der))
    return base64.encodebytes(der)


async def certificates(folder, body, name):
    """Read a PKCS #7 answer with openssl."""
    (folder / f"{name}.p7").write_bytes(base64.b64decode(body))
    pem = await run("openssl", "pkcs7", "-inform", "DER", "-in", f"{name}.p7", "-print_certs", folder=folder)
    (folder / f"{name}.crt").write_bytes(pem)
    return pem


@pytest.fixture
async def strict(tmp_path):
    settings = settings_for(tls=Tls(enabled=True, port=0), lifecycle=Lifecycle(commissioning="required"))
    async with running(tmp_path / "data", settings) as world:
        world.tls = f"https://127.0.0.1:{world.running._servers[1].port}"
        yield world


async def voucher_for(world, thing=""):
    answer = await world.op.post("/vouchers", json={"thing": thing})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_from_the_box_to_provisioned_with_curl_and_openssl(strict, tmp_path):
    """The device announces itself, waits, is taken in, fetches whom to trust, enrols, reports, and enrols again."""
    voucher = await voucher_for(strict)
    curl = ("curl", "--silent", "--show-error", "--user", f"{voucher['id']}:{voucher['code']}")
    cacerts = await run("curl", "--silent", "--insecure", f"{strict.tls}{EST}/cacerts", folder=tmp_path)
    await certificates(tmp_path, cacerts, "ca")
    trusting = (*curl, "--cacert", "ca.crt")
    said = await run(
        *trusting, "-H", "content-type: application/json", "-d", json.dumps(DEVICE), f"{strict.tls}/enrolment",
        folder=tmp_path,
    )  # fmt: skip
    assert json.loads(said)["state"] == "waiting"
    await request_of(tmp_path)
    enrol = (*trusting, "-H", "content-type: application/pkcs10", "--data-binary", "@device.p10")
    waits = await run(
        *enrol, "-o", "/dev/null", "-w", "%{http_code}", f"{strict.tls}{EST}/simpleenroll", folder=tmp_path
    )
    assert waits == b"202"

    (waiting,) = (await strict.op.get("/announcements")).json()
    assert (waiting["serial"], waiting["problems"], waiting["by"]) == ("S-1", [], f"voucher:{voucher['id']}")
    taken = await strict.op.post(f"/announcements/{waiting['id']}/accept", json={"title": "Roof"})
    thing = taken.json()["thing"]
    stand = json.loads(await run(*trusting, f"{strict.tls}/enrolment", folder=tmp_path))
    assert (stand["thing"], stand["announcement"]["state"]) == (thing, "accepted")

    issued = await run(*enrol, f"{strict.tls}{EST}/simpleenroll", folder=tmp_path)
    await certificates(tmp_path, issued, "device")
    await run("openssl", "verify", "-CAfile", "ca.crt", "device.crt", folder=tmp_path)
    life = (await strict.op.get(f"/things/{thing}/lifecycle")).json()
    assert [one["to"] for one in life["steps"]] == ["announced", "described", "provisioned"]
    assert life["steps"][0]["by"] == f"voucher:{voucher['id']}"

    principal = life["steps"][2]["by"]
    assert (await strict.op.get(f"/things/{thing}/lifecycle")).json()["state"] == "provisioned"
    again = await run(
        "curl", "--silent", "--cacert", "ca.crt", "--cert", "device.crt", "--key", "device.key", "-H",
        "content-type: application/pkcs10", "--data-binary", "@device.p10", f"{strict.tls}{EST}/simplereenroll",
        folder=tmp_path,
    )  # fmt: skip
    assert b"BEGIN CERTIFICATE" in await certificates(tmp_path, again, "next")
    context = ssl.create_default_context(cafile=tmp_path / "ca.crt")
    context.load_cert_chain(tmp_path / "next.crt", tmp_path / "device.key")
    async with httpx.AsyncClient(base_url=strict.tls, verify=context) as device:
        asked = {"grant_type": "client_credentials", "client_id": principal}
        token = (await device.post("/token", data=asked)).json()["access_token"]
        bearer = {"authorization": f"Bearer {token}"}
        body = [{"n": f"{thing}/voltage", "v": 230}]
        sent = await device.post("/readings", json=body, headers={"content-type": "application/senml+json", **bearer})
        assert sent.json()["accepted"] == 1, sent.text
    types = [one["type"] for one in (await strict.op.get(f"/things/{thing}/history")).json()["entries"]]
    assert types[:2] == ["thing.credential-renewed", "thing.provisioned"]


async def test_a_voucher_works_for_one_key_and_one_thing(strict, tmp_path):
    thing = await strict.thing()
    voucher = await voucher_for(strict, thing)
    first, second = await request_of(tmp_path, "one"), await request_of(tmp_path, "two")
    assert (await strict.nobody.post(f"{EST}/simpleenroll", content=first, headers=basic(voucher))).status_code == 200
    again = await strict.nobody.post(f"{EST}/simpleenroll", content=first, headers=basic(voucher))
    assert again.status_code == 200, "the same key may ask again: its answer was lost"
    other = await strict.nobody.post(f"{EST}/simpleenroll", content=second, headers=basic(voucher))
    assert (other.status_code, other.json()["reason"]) == (403, "voucher-used")
    devices = [p for p in strict.node.identity.directory.principals() if p.kind == "device"]
    assert [device.id for device in devices] == list(strict.node.things.get(thing).devices)
    announced = await strict.nobody.post("/enrolment", json=DEVICE, headers=basic(voucher))
    assert announced.status_code == 400
    (shown,) = (await strict.op.get("/vouchers")).json()
    assert (shown["state"], shown["thing"], shown["code"]) == ("used", thing, "")


async def test_at_once_one_key_wins(strict, tmp_path):
    voucher = await voucher_for(strict, await strict.thing())
    requests = [await request_of(tmp_path, f"k{n}") for n in range(3)]
    answers = await asyncio.gather(
        *(strict.nobody.post(f"{EST}/simpleenroll", content=one, headers=basic(voucher)) for one in requests)
    )
    assert sorted(answer.status_code for answer in answers) == [200, 403, 403]


@pytest.mark.parametrize("bad", [b"", b"nonsense", b"\xff\xfe", base64.b64encode(b"0" * 100), b"A" * 20_000])
async def test_what_is_no_request_is_refused_and_uses_nothing_up(strict, tmp_path, bad):
    voucher = await voucher_for(strict, await strict.thing())
    answer = await strict.nobody.post(f"{EST}/simpleenroll", content=bad, headers=basic(voucher))
    assert answer.status_code in {400, 413}, answer.text
    good = await strict.nobody.post(f"{EST}/simpleenroll", content=await request_of(tmp_path), headers=basic(voucher))
    assert good.status_code == 200, good.text


async def test_vouchers_that_do_not_hold_are_401_alike(strict):
    thing = await strict.thing()
    good, revoked = await voucher_for(strict, thing), await voucher_for(strict, thing)
    assert (await strict.op.post(f"/vouchers/{revoked['id']}/revoke")).json()["state"] == "revoked"
    wrong = good | {"code": "a" * 26}
    unknown = good | {"id": "00000000-0000-7000-8000-000000000000"}
    texts = set()
    for voucher in (revoked, wrong, unknown):
        answer = await strict.nobody.get("/enrolment", headers=basic(voucher))
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic")
        texts.add(answer.text)
    assert len(texts) == 1
    for header in ({}, {"authorization": "Basic !!!"}, {"authorization": "Bearer x"}, {"authorization": "Basic /w=="}):
        assert (await strict.nobody.get("/enrolment", headers=header)).status_code == 401
    assert (await strict.nobody.post(f"{EST}/simplereenroll", content=b"x")).status_code == 401
    assert (await strict.co.post(f"/vouchers/{good['id']}/revoke")).status_code == 404
    assert (await strict.co.post("/vouchers", json={"thing": thing})).status_code == 403


async def test_a_retired_thing_enrols_nobody(strict, tmp_path):
    thing = await strict.thing()
    voucher = await voucher_for(strict, thing)
    await strict.op.post(f"/things/{thing}/lifecycle", json={"to": "retired", "why": "stolen"})
    answer = await strict.nobody.post(f"{EST}/simpleenroll", content=await request_of(tmp_path), headers=basic(voucher))
    assert answer.status_code == 401, "its vouchers went with it"


async def test_a_transfer_takes_the_devices_credentials(strict, tmp_path):
    thing = await strict.thing()
    voucher = await voucher_for(strict, thing)
    assert (
        await strict.nobody.post(f"{EST}/simpleenroll", content=await request_of(tmp_path), headers=basic(voucher))
    ).status_code == 200
    (device,) = strict.node.things.get(thing).devices
    offer = (await strict.op.post(f"/things/{thing}/transfers", json={"to": "brightfield", "why": "w"})).json()
    assert (await strict.co.post(f"/transfers/{offer['id']}/accept", json={})).status_code == 200
    assert strict.node.things.get(thing).devices == ()
    assert strict.node.identity.directory.active(device) is None


async def test_announcements_are_said_once_and_decided_once(strict):
    voucher = await voucher_for(strict)
    said = [await strict.nobody.post("/enrolment", json=DEVICE, headers=basic(voucher)) for _ in range(2)]
    assert [one.status_code for one in said] == [202, 202]
    assert said[0].json()["id"] == said[1].json()["id"]
    other = await strict.nobody.post("/enrolment", json=DEVICE | {"serial": "S-2"}, headers=basic(voucher))
    assert other.status_code == 409, "one voucher announces one device"
    path = f"/announcements/{said[0].json()['id']}"
    assert (await strict.co.post(f"{path}/accept", json={})).status_code == 404
    assert (await strict.op.post(f"{path}/reject", json={})).status_code == 400
    rejected = await strict.op.post(f"{path}/reject", json={"why": "not ours"})
    assert rejected.json()["state"] == "rejected"
    assert (await strict.op.post(f"{path}/accept", json={})).status_code == 409
    unknown = await strict.op.post("/announcements", json=DEVICE | {"thingModel": "urn:x:none"})
    assert "not known here" in unknown.json()["problems"][0]
    accepted = await strict.op.post(f"/announcements/{unknown.json()['id']}/accept", json={})
    assert accepted.status_code == 400
    named = await strict.op.post(f"/announcements/{unknown.json()['id']}/accept", json={"model": METER})
    assert named.json()["state"] == "accepted", named.text
    for bad in ({"make": ""}, {"serial": "x" * 300}, {"model": "a\nb"}, {"description": {"a": "x" * 70_000}}):
        assert (await strict.op.post("/announcements", json=DEVICE | bad)).status_code == 400


async def test_a_device_that_describes_itself_is_taken_in_by_its_own_description(strict):
    description = {
        "@context": "https://www.w3.org/2022/wot/td/v1.1", "title": "Shed", "security": "n",
        "securityDefinitions": {"n": {"scheme": "nosec"}},
        "properties": {"power": {"type": "number", "unit": "W", "forms": [{"href": "http://192.0.2.1/p"}]}},
    }  # fmt: skip
    said = {name: value for name, value in DEVICE.items() if name != "thingModel"}
    broken = await strict.op.post("/announcements", json=said | {"description": description | {"properties": 5}})
    assert any("properties" in problem for problem in broken.json()["problems"])
    refused = await strict.op.post(f"/announcements/{broken.json()['id']}/accept", json={})
    assert refused.status_code == 400
    good = await strict.op.post("/announcements", json=said | {"serial": "S-9", "description": description})
    assert good.json()["problems"] == []
    taken = await strict.op.post(f"/announcements/{good.json()['id']}/accept", json={})
    assert taken.status_code == 200, taken.text
    thing = taken.json()["thing"]
    life = (await strict.op.get(f"/things/{thing}/lifecycle")).json()
    assert [one["to"] for one in life["steps"]] == ["announced", "described"]
    assert [one["name"] for one in (await strict.op.get(f"/things/{thing}/properties")).json()] == ["power"]


async def test_who_enrols_again_and_again_is_stopped(strict, tmp_path):
    voucher, request = await voucher_for(strict, await strict.thing()), await request_of(tmp_path)
    codes = [
        (await strict.nobody.post(f"{EST}/simpleenroll", content=request, headers=basic(voucher))).status_code
        for _ in range(18)
    ]
    assert codes == [200] * 16 + [409] * 2
    large = await strict.nobody.post("/enrolment", content=b"x" * 200_000, headers=basic(voucher))
    assert large.status_code == 413


async def test_only_devices_renew_their_certificates_by_themselves(strict, tmp_path):
    await request_of(tmp_path)
    made, _ = strict.client("northside-networks", "administrator")
    pem = (await run("openssl", "req", "-inform", "DER", "-in", "/dev/stdin", folder=tmp_path,
                     stdin=base64.b64decode((tmp_path / "device.p10").read_bytes())))  # fmt: skip
    principal = strict.node.identity.directory.principal(made)
    (tmp_path / "device.crt").write_bytes(strict.node.identity.authority.issue(principal, pem))
    context = ssl.create_default_context(cadata=strict.node.identity.authority.ca_pem.decode())
    context.load_cert_chain(tmp_path / "device.crt", tmp_path / "device.key")
    async with httpx.AsyncClient(base_url=strict.tls, verify=context) as http:
        answer = await http.post(f"{EST}/simplereenroll", content=(tmp_path / "device.p10").read_bytes())
        assert answer.status_code == 403


async def test_a_voucher_announces_one_device_and_keeps_no_other(strict):
    voucher = await voucher_for(strict)
    answers = await asyncio.gather(
        *(strict.nobody.post("/enrolment", json=DEVICE | {"serial": f"S-{at}"}, headers=basic(voucher)) for at in "123")
    )
    assert sorted(one.status_code for one in answers) == [202, 409, 409]
    assert len((await strict.op.get("/announcements")).json()) == 1


async def test_a_request_that_its_key_did_not_sign_uses_no_voucher(strict, tmp_path):
    voucher = await voucher_for(strict, await strict.thing())
    good = base64.b64decode(await request_of(tmp_path))
    forged = good[:-1] + bytes([good[-1] ^ 1])
    enrol = f"{EST}/simpleenroll"
    answer = await strict.nobody.post(enrol, content=base64.b64encode(forged), headers=basic(voucher))
    assert (answer.status_code, "not signed" in answer.json()["detail"]) == (400, True)
    answer = await strict.nobody.post(enrol, content=base64.b64encode(good), headers=basic(voucher))
    assert answer.status_code == 200, answer.text


async def test_who_is_second_with_another_key_leaves_no_principal_behind(strict, tmp_path):
    voucher = await voucher_for(strict, await strict.thing())
    requests = [await request_of(tmp_path, name) for name in ("one", "other")]
    answers = await asyncio.gather(
        *(strict.nobody.post(f"{EST}/simpleenroll", content=body, headers=basic(voucher)) for body in requests)
    )
    assert sorted(one.status_code for one in answers) == [200, 403]
    principals = strict.node.identity.directory.principals("northside-networks")
    assert sum(one.kind == "device" for one in principals) == 1


async def test_a_description_that_nests_too_deeply_is_not_taken(strict):
    voucher = await voucher_for(strict)
    for depth in (49, 300):
        description = {
            "@context": "https://www.w3.org/2022/wot/td/v1.1",
            "title": "x",
            "x": json.loads("[" * depth + "]" * depth),
        }
        answer = await strict.nobody.post(
            "/enrolment", json=DEVICE | {"description": description}, headers=basic(voucher)
        )
        assert (answer.status_code, "deep" in answer.json()["detail"]) == (400, True), answer.text


async def test_a_device_that_announces_itself_again_is_answered_for_as_long_as_its_voucher_is_good(strict):
    voucher = await voucher_for(strict)

    async def announced():
        answer = await strict.nobody.post("/enrolment", json=DEVICE, headers=basic(voucher))
        assert answer.status_code == 202, answer.text
        return answer.json()

    first = await announced()
    await strict.op.post(f"/announcements/{first['id']}/reject", json={"why": "the wrong site"})
    second = await announced()
    assert (second["id"] != first["id"], second["state"]) == (True, "waiting"), "a person may think better of it"
    assert (await announced())["id"] == second["id"]
    accepted = await strict.op.post(f"/announcements/{second['id']}/accept", json={})
    assert accepted.json()["state"] == "accepted", accepted.text
    again = await announced()
    assert (again["id"], again["state"], again["thing"]) == (second["id"], "accepted", accepted.json()["thing"])
    waiting = [one for one in (await strict.op.get("/announcements")).json() if one["state"] == "waiting"]
    assert waiting == [], "it does not wait to become a second Thing"
