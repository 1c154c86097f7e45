"""What a client of OpenADR 3 may do wrong, or on purpose: numbers, sizes, repetitions, other clients' names."""

import asyncio

import pytest
from openadr3_said import LIMIT, event, made, program


@pytest.mark.parametrize(
    ("value", "status"), [("1e308", 400), ("1e999", 400), ("9" * 400, 400), ("-1e308", 400), ("2.5", 201)]
)
async def test_a_limit_that_no_number_can_be_is_refused(vtn, value, status) -> None:
    """In watts it is a thousand times as much: beyond what a float can be. A signal of such a number is none either."""
    bl = await vtn.client("operator")
    of = await made(bl, "/programs", {"programName": "P", "payloadDescriptors": [LIMIT]})
    body = f'{{"programID":"{of["id"]}","intervalPeriod":{{"start":"2090-01-01T00:00:00Z","duration":"PT1H"}},'
    body += f'"intervals":[{{"id":0,"payloads":[{{"type":"IMPORT_CAPACITY_LIMIT","values":[{value}]}}]}}]}}'
    json = {"content-type": "application/json"}
    answer = await bl.post("/events", content=body, headers=json)
    assert answer.status_code == status, answer.text
    signal = await bl.post("/events", content=body.replace("IMPORT_CAPACITY_LIMIT", "PRICE"), headers=json)
    assert signal.status_code == (201 if len(value) < 7 and "e9" not in value else 400), signal.text
    assert len((await bl.get("/events")).json()) == (status == 201) + (signal.status_code == 201)


async def test_sizes_repetitions_and_other_clients(vtn) -> None:
    bl, ven, other = await vtn.client("operator"), await vtn.client("owner"), await vtn.client("owner")
    of = await program(bl)
    large = await bl.post("/events", json=event(of, eventName="x" * 5_000_000))
    assert large.status_code == 413
    body = {"objectType": "VEN_VEN_REQUEST", "venName": "mine"}
    first = await made(ven, "/vens", body)
    assert (await ven.post("/vens", json=body)).status_code == 409
    for do in (other.get, other.delete):
        assert (await do(f"/vens/{first['id']}")).status_code in {403, 404}
    claimed = await other.post("/vens", json={"objectType": "BL_VEN_REQUEST", "clientID": ven.id, "venName": "theirs"})
    assert claimed.status_code in {400, 403}, claimed.text
    forged = bl.headers["authorization"][:-3] + "AAA"
    assert (await bl.get("/programs", headers={"authorization": forged})).status_code == 401
    assert (await ven.post("/programs", json={"programName": "Q"})).status_code == 403


async def test_a_thousand_connections_at_once_keep_no_client_out(vtn) -> None:
    """Half-open from another address, in the middle of a request."""
    bl = await vtn.client("operator")
    host, port = vtn.world.node.adapters.listening["openadr3.http"]

    async def half_open():
        try:
            _, writer = await asyncio.open_connection(host, port, local_addr=("127.0.0.2", 0))
        except OSError:
            return None
        writer.write(b"POST /openadr3/3.1.0/events HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 10\r\n\r\n{")
        return writer

    strangers = [one for _ in range(10) for one in await asyncio.gather(*(half_open() for _ in range(100)))]
    try:
        fresh = await vtn.client("operator")  # a connection of its own
        assert (await fresh.get("/programs")).status_code == 200
        assert (await bl.get("/programs")).status_code == 200
    finally:
        for writer in filter(None, strangers):
            writer.transport.abort()
