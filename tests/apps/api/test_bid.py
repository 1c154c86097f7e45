"""Bids: a home bids, its buyer accepts, the registers at both instants settle it, and anyone makes the line again."""

import asyncio
import json
import time

import pytest
import pytest_asyncio
from running_node import METER, SENML, AheadClock, World, settings_for
from typer.testing import CliRunner

from gridspine.apps.cli.bid import app
from gridspine.apps.node import settlement_desk
from gridspine.kernel.time import US, format_rfc3339

pytestmark = pytest.mark.asyncio(loop_scope="module")
CLOCK = AheadClock()
FOREVER = "2100-01-01T00:00:00Z"


def at(us):
    return format_rfc3339(us)


def now_us():
    return CLOCK.now_us()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory):
    made = await World.start(tmp_path_factory.mktemp("bids") / "data", settings_for(), CLOCK)
    yield made
    await made.stop()


async def sent(http, path, body, status=201):
    answer = await http.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


async def home(world, id_, model=METER, **said):
    """Make a programme of Northside, and a meter of Brightfield that takes part; return both ids."""
    programme = (await sent(world.op, "/programmes", {"title": "Evening", "open": True, **said}))["id"]
    await sent(world.co, "/things", {"id": id_, "title": "Home", "model": model})
    asked = {"thing": id_, "until": FOREVER}
    enrolment = (await sent(world.co, f"/programmes/{programme}/enrolments", asked))["id"]
    await sent(world.op, f"/programmes/{programme}/enrolments/{enrolment}/decision", {"decision": "admit"}, 200)
    return programme, id_


def bid(programme, meter, from_us, until_us, **more):
    return {
        "title": "2 kWh less", "programme": programme, "meter": meter, "from": at(from_us), "until": at(until_us),
        "direction": "shed", "energyWh": 2_000, "baselineWh": 1_200, "price": "0.25", "currency": "EUR",
        "toleranceS": 1, "waitS": 60, **more,
    }  # fmt: skip


async def read(world, meter, rows):
    body = [{"n": f"{meter}/{name}", "t": us / US, "v": value} for name, us, value in rows]
    answer = await world.co.post("/readings", json=body, headers=SENML)
    assert answer.status_code == 200, answer.text


async def settled(world, id_, count=1):
    found = {}

    async def look():
        found.update((await world.co.get(f"/bids/{id_}/settlement")).json())
        return len(found["lines"]) >= count

    deadline = time.monotonic() + 60
    while not await look():
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.1)
    return found


async def test_a_home_bids_and_is_settled_from_its_registers(world):
    programme, meter = await home(world, "urn:example:home-1")
    begin_us = now_us() + 60 * US
    end_us = begin_us + 3 * US
    made = await sent(world.co, "/bids", bid(programme, meter, begin_us, end_us))
    assert (made["status"], made["buyer"], made["organisation"]) == ("offered", "northside-networks", "brightfield")
    assert made["registers"] == ["activeEnergyImport", "activeEnergyExport"]
    accepted = await sent(world.op, f"/bids/{made['id']}/decision", {"decision": "accept", "reason": "cheap"}, 200)
    assert accepted["status"] == "accepted"
    CLOCK.pass_until(end_us)
    rows = [("activeEnergyImport", begin_us, 81_240.5), ("activeEnergyExport", begin_us, 12.0),
            ("activeEnergyImport", end_us, 81_940.5), ("activeEnergyExport", end_us, 1_512.0)]  # fmt: skip
    await read(world, meter, rows)
    found = await settled(world, made["id"])
    (line,) = found["lines"]
    assert (line["outcome"], line["importWh"], line["exportWh"]) == ("settled", "700", "1500")
    assert (line["deliveredWh"], line["paidWh"], line["amountMinor"], line["amount"]) == (
        "2000",
        "2000",
        50,
        "0.50 EUR",
    )
    assert [one["registers"][0]["method"] for one in found["records"]] == ["exact", "exact"]
    for event in (found["event"], line["event"], *(one["event"] for one in found["records"])):
        for http in (world.op, world.co):
            assert (await http.get(f"/receipts/{event}")).status_code == 200, event
    shown = (await world.op.get(f"/bids/{made['id']}")).json()
    assert (shown["outcome"], shown["amount"], shown["status"]) == ("settled", "0.50 EUR", "settled")


async def accepted(world, id_, *, length_us=3 * US, **more):
    """Return a bid that was accepted, its meter, and when it begins and ends."""
    programme, meter = await home(world, id_)
    begin_us = now_us() + 60 * US
    made = await sent(world.co, "/bids", bid(programme, meter, begin_us, begin_us + length_us, **more))
    await sent(world.op, f"/bids/{made['id']}/decision", {"decision": "accept"}, 200)
    return made["id"], meter, begin_us, begin_us + length_us


async def evidence(world, id_, folder):
    """Keep the receipts of a bid and the ledger's key in files, as the command line does."""
    found = (await world.co.get(f"/bids/{id_}/settlement")).json()
    events = [found["event"], *(one["event"] for one in (*found["records"], *found["lines"]))]
    events += [event for line in found["lines"] for event in line["exchanges"]]
    receipts = [(await world.co.get(f"/receipts/{one}")).json() for one in events]
    (folder / "bid.json").write_text(json.dumps({"type": "settlement-evidence", "receipts": receipts}))
    (folder / "ledger.pub").write_text((await world.nobody.get("/ledger/key")).text)
    return folder / "bid.json", folder / "ledger.pub"


def verified(file, key):
    return CliRunner().invoke(app, ["verify", str(file), "--key", str(key)])


async def test_a_late_register_and_an_exchange_supersede_the_line_and_all_of_it_is_proven(world, monkeypatch, tmp_path):
    monkeypatch.setattr(settlement_desk, "CORRECT_US", 0)
    id_, meter, begin_us, end_us = await accepted(world, "urn:example:home-late")
    both = [("activeEnergyImport", begin_us, 1_000.0), ("activeEnergyExport", begin_us, 0.0),
            ("activeEnergyExport", end_us, 800.0)]  # fmt: skip
    CLOCK.pass_until(end_us)
    await read(world, meter, both)
    CLOCK.pass_until(end_us + 60 * US)
    (line,) = (await settled(world, id_))["lines"]
    assert (line["outcome"], line["amountMinor"]) == ("unsettled", 0)
    assert "activeEnergyImport at the end" in line["reason"], "nothing is guessed"
    await read(world, meter, [("activeEnergyImport", end_us, 100.0)])
    found = await settled(world, id_, 2)
    assert "neither a roll-over nor an exchange" in found["lines"][1]["reason"]
    exchange = {
        "at": at((begin_us + end_us) // 2), "oldSerial": "M-1", "newSerial": "M-2", "why": "recalled",
        "final": {"activeEnergyImport": 1_150.0, "activeEnergyExport": 300.0},
        "first": {"activeEnergyImport": 50.0, "activeEnergyExport": 0.0},
    }  # fmt: skip
    await sent(world.co, f"/things/{meter}/meter-exchanges", exchange)
    lines = (await settled(world, id_, 3))["lines"]
    assert (lines[2]["outcome"], lines[2]["importWh"], lines[2]["exportWh"]) == ("settled", "200", "1100")
    assert [one["supersedes"] for one in lines] == ["", lines[0]["id"], lines[1]["id"]]
    file, key = await evidence(world, id_, tmp_path)
    result = verified(file, key)
    assert result.exit_code == 0, result.output
    assert lines[2]["amount"] in result.output
    kept = json.loads(file.read_text())
    last = next(at_ for at_, one in enumerate(kept["receipts"]) if one["leaf"] == kept["receipts"][-2]["leaf"])
    for at_ in set(range(len(kept["receipts"]))) - {last}:  # without the last line the one before it is proven, no more
        part = {"type": "settlement-evidence", "receipts": kept["receipts"][:at_] + kept["receipts"][at_ + 1 :]}
        file.write_text(json.dumps(part))
        assert verified(file, key).exit_code == 1, f"receipt {at_} is left out"


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"energyWh": 0}, 400, "energyWh"), ({"price": "1e3"}, 400, "price"), ({"price": "NaN"}, 400, "price"),
        ({"currency": "eur"}, 400, "currency"), ({"from": "2020-01-01T00:00:00Z"}, 400, "after now"),
        ({"toleranceS": 61}, 400, "toleranceS"), ({"toleranceS": 2}, 400, "both registers"),
        ({"direction": "up"}, 400, "direction"),
        ({"meter": "urn:example:nowhere"}, 400, "meter"), ({"programme": "urn:none"}, 404, "programme"),
        ({"event": "urn:none"}, 404, "event"), ({"until": FOREVER}, 400, "31 days"), ({"minorDigits": 9}, 400, "minor"),
    ],
)  # fmt: skip
async def test_what_cannot_be_bid_is_refused(world, fields, status, words):
    programme, meter = await home(world, f"urn:example:refused-{abs(hash(str(fields)))}")
    begin_us = now_us() + 60 * US
    answer = await world.co.post("/bids", json=bid(programme, meter, begin_us, begin_us + 3 * US) | fields)
    assert answer.status_code == status, answer.text
    assert words in answer.text


async def test_who_is_neither_side_sees_nothing_and_each_side_does_its_own(world):
    programme, meter = await home(world, "urn:example:home-sides")
    asked = bid(programme, meter, now_us() + 60 * US, now_us() + 120 * US)
    made = await sent(world.co, "/bids", asked)
    path = f"/bids/{made['id']}"
    world.node.identity.directory.add_organisation("third", "Third")
    _, third = world.client("third", "operator", "owner")
    assert (await third.get(path)).status_code == 404
    assert (await third.get("/bids")).json() == []
    assert (await third.get("/receipts", params={"subject": made["id"]})).status_code == 404
    accept = {"decision": "accept"}
    assert (await world.co.post(f"{path}/decision", json=accept)).status_code == 404, "not by who bids"
    assert (await world.op.post(f"{path}/withdraw")).status_code == 404, "not by the buyer"
    assert (await world.co.post(f"{path}/withdraw", json={"reason": "r"})).json()["status"] == "withdrawn"
    assert (await world.op.post(f"{path}/decision", json=accept)).status_code == 409
    second = await sent(world.co, "/bids", asked)
    await sent(world.op, f"/bids/{second['id']}/decision", {"decision": "refuse", "reason": "dear"}, 200)
    assert [one["status"] for one in (await world.co.get("/bids")).json()[:2]] == ["refused", "withdrawn"]
    await sent(world.co, "/things", {"id": "urn:example:not-enrolled", "title": "M", "model": METER})
    stranger = await world.co.post("/bids", json=asked | {"meter": "urn:example:not-enrolled"})
    assert (stranger.status_code, "enrolled" in stranger.text) == (409, True)


async def test_one_meters_energy_is_sold_once_and_what_was_true_when_it_was_bid_is_looked_at_again(world):
    programme, meter = await home(world, "urn:example:home-twice")
    begin_us = now_us() + 600 * US
    accept = {"decision": "accept"}
    first, second, apart = [
        (await sent(world.co, "/bids", bid(programme, meter, begin_us + shift * US, begin_us + (shift + 60) * US)))[
            "id"
        ]
        for shift in (0, 59, 60)
    ]
    await sent(world.op, f"/bids/{first}/decision", accept, 200)
    taken = await world.op.post(f"/bids/{second}/decision", json=accept)
    assert (taken.status_code, "another on the same meter" in taken.text) == (409, True)
    again = await world.co.post("/bids", json=bid(programme, meter, begin_us + 10 * US, begin_us + 20 * US))
    assert (again.status_code, first in again.text) == (409, True), "told which: it is the bidder's own"
    await sent(world.op, f"/bids/{apart}/decision", accept, 200)
    other = (await sent(world.co, "/bids", bid(programme, meter, begin_us + 300 * US, begin_us + 360 * US)))["id"]
    (enrolled,) = (await world.co.get(f"/programmes/{programme}/enrolments")).json()
    await sent(world.co, f"/programmes/{programme}/enrolments/{enrolled['id']}/withdraw", {}, 200)
    gone = await world.op.post(f"/bids/{other}/decision", json=accept)
    assert (gone.status_code, "is enrolled in the programme" in gone.text) == (409, True), gone.text
    assert (await world.op.get(f"/bids/{other}")).json()["status"] == "offered"


async def test_of_two_that_are_accepted_at_once_one_is(world):
    programme, meter = await home(world, "urn:example:home-race")
    begin_us = now_us() + 600 * US
    asked = bid(programme, meter, begin_us, begin_us + 60 * US)
    made = [(await sent(world.co, "/bids", asked))["id"] for _ in range(4)]
    answers = await asyncio.gather(
        *(world.op.post(f"/bids/{one}/decision", json={"decision": "accept"}) for one in made)
    )
    assert sorted(one.status_code for one in answers) == [200, 409, 409, 409]


async def test_whether_an_event_exists_that_is_for_others_a_bidder_is_not_told(world):
    programme, meter = await home(world, "urn:example:home-unseen", signals=[{"payloadType": "PRICE"}])
    begin_us = now_us() + 600 * US
    event = {
        "title": "For others", "intervals": [{"from": at(begin_us), "until": at(begin_us + 60 * US),
        "signals": [{"type": "PRICE", "values": [0.3]}]}], "targets": ["somebody-else"],
    }  # fmt: skip
    answer = await world.op.post(f"/programmes/{programme}/events", json=event)
    assert answer.status_code == 201, answer.text
    wide = bid(programme, meter, begin_us - 60 * US, begin_us + 120 * US)
    hidden, none = [
        await world.co.post("/bids", json=wide | {"event": id_}) for id_ in (answer.json()["id"], "urn:none")
    ]
    assert (hidden.status_code, hidden.json()["detail"]) == (none.status_code, none.json()["detail"])
    assert hidden.status_code == 404
