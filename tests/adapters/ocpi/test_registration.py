"""Versions, credentials and tokens: between two nodes, and as a stranger asks."""

import asyncio
import base64

import pytest
import pytest_asyncio
from ocpi_pairing import pair

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def both(tmp_path_factory):
    async with pair(tmp_path_factory.mktemp("both"), versions=("2.2.1",)) as made:
        yield made


async def test_they_register_renew_and_part(both) -> None:
    cpo, emsp = both
    invitation = await cpo.act("invite", {"party": "DE MSP"})
    assert invitation["url"] == f"{cpo.url}/versions"
    async with cpo.http(base64.b64encode(invitation["token"].encode()).decode()) as first:
        answer = await first.get(f"{cpo.url}/2.2.1/sender/locations")
        assert (answer.status_code, answer.json()["status_code"]) == (401, 2000), (
            "an invitation is for registering only"
        )
    said = await emsp.act("register", invitation)
    assert (said["registered"], said["version"]) == (True, "2.2.1"), "the newest that both speak"
    assert [one["role"] for one in said["roles"]] == ["CPO", "EMSP"]
    assert "locations SENDER" in said["modules"]
    assert "token" not in said
    seen = await cpo.act("partner")
    assert seen["roles"][0]["party"] == "DE MSP"
    with pytest.raises(RuntimeError, match="already"):
        await emsp.act("register", invitation)
    async with cpo.http(invitation["token"]) as used:
        assert (await used.get(invitation["url"])).status_code == 401, "it counts once"
    await cpo.act("renew")
    await emsp.act("renew")
    assert (await cpo.act("unregister")) == {"told": True}
    assert (await emsp.act("partner")).get("registered") is False


async def test_a_stranger_learns_nothing(both) -> None:
    cpo, _ = both
    async with cpo.http("wrong") as http:
        for path in ("versions", "2.2.1", "2.2.1/credentials", "2.2.1/sender/locations", "9.9"):
            answer = await http.get(f"{cpo.url}/{path}", headers={"x-request-id": "r1"})
            assert answer.status_code == 401, path
            assert set(answer.json()) == {"status_code", "status_message", "timestamp"}
            assert answer.headers["x-request-id"] == "r1"
        assert (await http.get(f"{cpo.url}/versions", headers={"authorization": "Bearer x"})).status_code == 401


async def test_a_thousand_connections_at_once_keep_no_partner_out(both) -> None:
    """Half-open from another address, in the middle of a request."""
    cpo, _ = both
    host, port = cpo.world.node.adapters.listening["ocpi.http"]

    async def half_open():
        try:
            _, writer = await asyncio.open_connection(host, port, local_addr=("127.0.0.2", 0))
        except OSError:
            return None
        writer.write(b"POST /ocpi/2.2.1/credentials HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 10\r\n\r\n{")
        return writer

    strangers = [one for _ in range(10) for one in await asyncio.gather(*(half_open() for _ in range(100)))]
    try:
        async with cpo.http((await cpo.act("invite", {"party": "FR ABC"}))["token"]) as http:
            assert (await http.get(f"{cpo.url}/versions")).status_code == 200
    finally:
        for writer in filter(None, strangers):
            writer.transport.abort()


async def test_what_is_wrong_with_credentials_is_said_in_ocpis_own_codes(both) -> None:
    cpo, _ = both
    token = (await cpo.act("invite", {"party": "FR ABC"}))["token"]
    async with cpo.http(token) as http:  # as it stands, not in Base64: many send it so
        url = f"{cpo.url}/2.2.1/credentials"
        assert (await http.post(url, content=b"{")).status_code == 400
        answer = await http.post(url, json={"token": "b"})
        assert (answer.status_code, answer.json()["status_code"]) == (200, 2001)
        role = {"role": "EMSP", "business_details": {"name": "x"}, "party_id": "ABC", "country_code": "FR"}
        body = {"token": "b", "url": "http://127.0.0.1:1/versions", "roles": [role]}
        answer = await http.post(url, json=body)
        assert (answer.status_code, answer.json()["status_code"]) == (200, 3001), "our side cannot be asked back"
        answer = await http.post(url, json={**body, "roles": [{**role, "party_id": "cpo", "country_code": "nl"}]})
        assert answer.json()["status_code"] == 2001, "nobody is us"
        assert (await http.put(url, json=body)).status_code == 405
        assert (await http.delete(url)).status_code == 405
        assert (await http.get(url)).json()["data"]["token"] == token
        assert (await http.patch(url)).status_code == 405
        assert (await http.get(f"{cpo.url}/2.1.1")).status_code == 404
        assert (await http.get(f"{cpo.url}/versions")).json()["data"] == [
            {"version": "2.2.1", "url": f"{cpo.url}/2.2.1"}
        ]


async def test_a_party_is_who_was_invited_and_a_clash_is_told_to_the_operator(both) -> None:
    cpo, emsp = both
    url = f"{cpo.url}/2.2.1/credentials"
    other = await cpo.world.thing(
        "urn:example:other", "https://gridspine.org/models/roaming_partner", adapter="ocpi",
        connection={"partner": "another"},
    )  # fmt: skip
    role = {"role": "EMSP", "business_details": {"name": "x"}, "party_id": "MSP", "country_code": "DE"}
    body = {"token": "b", "url": "http://127.0.0.1:1/versions", "roles": [role]}
    for wrong in (None, {}, {"party": "nobody"}, {"party": "DE MSP, "}):
        with pytest.raises((RuntimeError, AssertionError)):
            await cpo.act("invite", wrong)
    with pytest.raises(RuntimeError, match="NL CPO is this node itself"):
        await cpo.act("invite", {"party": "nl*cpo"})
    first = await cpo.act("invite", {"party": "FR XYZ"}, thing=other)
    async with cpo.http(first["token"]) as http:  # it says that it is the other, and is first
        answer = (await http.post(url, json=body)).json()
    assert (answer["status_code"], other in answer["status_message"]) == (2001, False)
    problem = (await cpo.act("partner", thing=other))["problem"]
    assert "it claims to be DE MSP, and is not invited as that: invite it as that" in problem
    invitation = await cpo.act("invite", {"party": "DE MSP, DE-MS2"})
    with pytest.raises(RuntimeError, match=f"DE MS2 is invited as {cpo.partner}: invite that one as another"):
        await cpo.act("invite", {"party": "DE MS2"}, thing=other)
    with pytest.raises(RuntimeError, match="it claims to be NL CPO, and is known as another"):
        await emsp.act("register", {**invitation, "party": "NL ABC"})
    assert "known as another" in (await emsp.act("partner"))["problem"]
    assert (await cpo.act("partner"))["registered"] is False, "it was told"
    invitation = await cpo.act("invite", {"party": "DE MSP"})
    said = await emsp.act("register", {**invitation, "party": "NL CPO"})
    assert (said["parties"], said.get("problem")) == (["NL CPO"], None)
    with pytest.raises(RuntimeError, match=f"DE MSP is registered as {cpo.partner}: unregister that one"):
        await cpo.act("invite", {"party": "DE MSP"}, thing=other)
    await emsp.act("unregister")
