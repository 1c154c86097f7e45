"""Requests side by side, and how much one asker may have kept."""

import asyncio

from openadr3_said import event, made, program

from gridspine.adapters.openadr3 import book, report
from gridspine.kernel.errors import DiskFull


def slowly(monkeypatch):
    """Let each record take turns of the event loop to be kept, so that what comes meanwhile comes between."""
    keep = book.Book.keep

    async def kept(self, record):
        await asyncio.sleep(0.05)
        return await keep(self, record)

    monkeypatch.setattr(book.Book, "keep", kept)


async def test_what_a_ven_says_of_itself_never_brings_back_targets_that_were_taken(vtn, monkeypatch) -> None:
    bl, ven = await vtn.client("operator"), await vtn.client("owner")
    given = {"objectType": "BL_VEN_REQUEST", "clientID": ven.id, "venName": "v"}
    one = await made(bl, "/vens", given | {"targets": ["secret"]})
    slowly(monkeypatch)
    path, own = f"/vens/{one['id']}", {"objectType": "VEN_VEN_REQUEST", "venName": "v"}
    answers = await asyncio.gather(bl.put(path, json=given), *(ven.put(path, json=own) for _ in range(3)))
    assert [one.status_code for one in answers] == [200] * 4
    assert "targets" not in (await bl.get(path)).json()


async def test_an_event_that_two_change_at_once_stands_once(vtn, monkeypatch) -> None:
    bl = await vtn.client("operator")
    of = await program(bl)
    one = await made(bl, "/events", event(of))
    slowly(monkeypatch)
    path = f"/events/{one['id']}"
    answers = await asyncio.gather(*(bl.put(path, json=event(of, eventName=name)) for name in "abc"))
    assert [one.status_code for one in answers] == [200] * 3
    nouns = (await vtn.world.op.get(f"/programmes/urn:uuid:{of['id']}/events")).json()
    assert sum(noun["status"] == "scheduled" for noun in nouns) == 1
    await bl.delete(path)
    nouns = (await vtn.world.op.get(f"/programmes/urn:uuid:{of['id']}/events")).json()
    assert {noun["status"] for noun in nouns} == {"cancelled"}


async def test_what_was_deleted_while_somebody_changed_it_stays_deleted(vtn, monkeypatch) -> None:
    ven = await vtn.client("owner")
    own = {"objectType": "VEN_VEN_REQUEST", "venName": "v"}
    one = await made(ven, "/vens", own)
    slowly(monkeypatch)
    other = made(ven, "/vens", own | {"venName": "w"})  # others wait for it
    path = f"/vens/{one['id']}"
    await asyncio.gather(other, ven.delete(path), ven.put(path, json=own))
    assert (await ven.get(path)).status_code == 404
    assert [kept["venName"] for kept in (await ven.get("/vens")).json()] == ["w"]


async def test_objects_of_a_client_have_so_many_bytes_and_no_more(vtn, monkeypatch) -> None:
    monkeypatch.setattr(book, "MOST_BYTES_OF_ONE", 5_000)
    ven, other = await vtn.client("owner"), await vtn.client("owner")
    attributes = [{"type": "NOTE", "values": ["x" * 1_000]}]
    kept = []
    for number in range(10):
        body = {"objectType": "VEN_VEN_REQUEST", "venName": f"v{number}", "attributes": attributes}
        answer = await ven.post("/vens", json=body)
        if answer.status_code != 201:
            break
        kept.append(answer.json()["id"])
    assert (answer.status_code, "delete some" in answer.text, 2 <= len(kept) < 5) == (429, True, True)
    assert (await other.post("/vens", json=body)).status_code == 201, "another has its own"
    assert (await ven.delete(f"/vens/{kept[0]}")).status_code == 200
    assert (await ven.post("/vens", json=body | {"venName": "again"})).status_code == 201


async def test_objects_of_an_organisation_have_so_many_bytes_and_no_more(vtn, monkeypatch) -> None:
    bl, ven = await vtn.client("operator"), await vtn.client("owner")
    one = await made(bl, "/events", event(await program(bl)))
    monkeypatch.setattr(book, "MOST_BYTES", 5_000)
    report = {"eventID": one["id"], "clientName": "v", "resources": [], "reportName": "x" * 400}
    states = {(await ven.post("/reports", json=report)).status_code for _ in range(20)}
    assert states == {201, 429}


async def test_a_change_that_cannot_be_kept_ends_nothing(vtn, monkeypatch) -> None:
    bl = await vtn.client("operator")
    of = await program(bl)
    address = vtn.world.node.adapters.listening["openadr3.http"]
    keep, failed = book.Book.keep, asyncio.Event()

    async def full(self, record):
        failed.set()
        raise DiskFull("no room")

    monkeypatch.setattr(book.Book, "keep", full)
    answer = await vtn.world.op.put(f"/programmes/urn:uuid:{of['id']}", json={"title": "Q"})
    assert answer.status_code == 200
    async with asyncio.timeout(40):
        await failed.wait()
    monkeypatch.setattr(book.Book, "keep", keep)
    assert (await bl.get(f"/programs/{of['id']}")).json()["programName"] == "Q"
    await program(bl, "R")
    assert vtn.world.node.adapters.listening["openadr3.http"] == address


async def test_who_reports_much_makes_no_other_report_go(vtn, monkeypatch) -> None:
    monkeypatch.setattr(report, "KEPT", 4)
    bl, quiet, loud = await vtn.client("operator"), await vtn.client("owner"), await vtn.client("owner")
    one = await made(bl, "/events", event(await program(bl)))
    told = {"eventID": one["id"], "clientName": "v", "resources": []}
    first = await made(quiet, "/reports", told)
    for _ in range(6):
        last = await made(loud, "/reports", told)
    kept = [found["id"] for found in (await bl.get("/reports")).json()]
    assert len(kept) == 4
    assert {first["id"], last["id"]} <= set(kept)


async def test_an_event_that_could_not_be_published_leaves_nothing(vtn, monkeypatch) -> None:
    bl = await vtn.client("operator")
    of = await program(bl)

    async def full(*_):
        raise DiskFull("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(vtn.world.node.controls.programmes.event_book, "keep_all", full)
        assert (await bl.post("/events", json=event(of))).status_code == 507
    assert (await bl.get("/events")).json() == []
    one = await made(bl, "/events", event(of))
    assert [found["id"] for found in (await bl.get("/events")).json()] == [one["id"]]
