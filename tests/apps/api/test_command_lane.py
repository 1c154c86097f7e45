"""Commands by the fast lane are answered as by the framework: same bytes, same records of what was decided."""

import asyncio
import json
import re

import httpx
import pytest
import pytest_asyncio
from both_ways import both_ways, token, whole
from running_node import BATTERY, METER

from gridspine.apps.api.command_lane import MAX_BODY_BYTES, CommandLane
from gridspine.apps.cli.keys import read_client_file
from gridspine.apps.cli.signing import SigningAuth

pytestmark = pytest.mark.asyncio(loop_scope="module")
THING = "urn:example:b1"
LINE = "POST /commands HTTP/1.1"
JSON = "Content-Type: application/json"


def order(value=500.0, **more):
    return {"thing": THING, "point": "activePowerSetpoint", "value": value, "durationS": 600, **more}


def written(**more):
    return json.dumps(order(**more)).encode()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def both(tmp_path_factory):
    async with both_ways(tmp_path_factory.mktemp("lane") / "data") as made:
        await made.world.thing(THING, BATTERY, adapter="none")
        await made.world.thing("urn:example:meter", METER)
        yield made


@pytest.fixture
def taken(monkeypatch):
    """Tell of each request whether the lane answered it."""
    told = []
    original = CommandLane._take

    async def noted(self, scope, wanted):
        answer = await original(self, scope, wanted)
        told.append(answer is not None)
        return answer

    monkeypatch.setattr(CommandLane, "_take", noted)
    return told


async def ask(both, body, *lines, who="op", line=LINE, kind=JSON):
    """Ask both for the same; return both answers without times, which differ by their nature."""
    says = [token(getattr(both.world, who))] if who else []
    kind = [kind] if kind else []
    answers = await both.ask(line, *says, *kind, *lines, f"Content-Length: {len(body)}", body=body)
    return [_timeless(answer) for answer in answers]


def _timeless(answer):
    answer = re.sub(rb"20\d\d-\d\d-\d\dT[0-9:.]+Z", b"-", answer)
    return re.sub(rb"content-length: \d+", b"content-length: -", answer)


CASES = {
    "good": (written(), 201, True),
    "all-said": (
        written(
            priority=3, reason="a test", randomiseStartS=0, randomiseEndS=0, authority="owner",
            steps=[{"afterS": 60, "value": 400}],
        ), 201, True,
    ),
    "whole-number": (written(value=400), 201, True),
    "key": (written(value=300, key="once"), 201, True),
    "key-again": (written(value=300, key="once"), 201, True),
    "key-for-another": (written(value=299, key="once"), 409, True),
    "safety": (written(value=200, authority="safety"), 201, True),
    "too-much": (written(value=99_999), 201, True),
    "no-end": (written(durationS=0), 400, True),
    "not-commanded": (written(thing="urn:example:meter"), 400, True),
    "no-such-thing": (written(thing="urn:example:none"), 403, True),
    "key-too-long": (written(key="k" * 201), 400, True),
    "number-as-text": (written(value="450"), 201, False),
    "unknown-field": (written(other=1), 400, False),
    "no-value": (b'{"thing":"urn:example:b1","point":"activePowerSetpoint"}', 400, False),
    "not-json": (b"{", 400, False),
    "not-utf-8": (b'{"thing":"\xff"}', 400, False),
    "too-deep": (b"[" * 10_000, 400, False),
    "a-list": (b"[]", 400, False),
    "null": (b"null", 400, False),
    "beyond-numbers": (written().replace(b"500.0", b"1e999"), 400, False),
    "long": (written(reason="r" * MAX_BODY_BYTES), 201, False),
    "nothing": (b"", 400, False),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
async def test_commands_are_answered_alike(both, taken, case):
    body, status, in_lane = CASES[case]
    ours, theirs = await ask(both, body)
    assert ours == theirs
    assert ours.startswith(f"HTTP/1.1 {status} ".encode()), ours
    assert any(taken) == in_lane


UNUSUAL = {
    "query": {"line": "POST /commands?a=1 HTTP/1.1"},
    "slash-at-the-end": {"line": "POST /commands/ HTTP/1.1"},
    "put": {"line": "PUT /commands HTTP/1.1"},
    "no-type": {"kind": ""},
    "other-type": {"kind": "Content-Type: text/html"},
    "with-charset": {"kind": "Content-Type: application/json; charset=utf-8"},
    "encoded": {"lines": ["Content-Encoding: gzip"]},
    "form": {"kind": "Content-Type: application/x-www-form-urlencoded"},
}


@pytest.mark.parametrize("case", UNUSUAL)
async def test_the_unusual_is_left_to_the_framework(both, taken, case):
    asked = dict(UNUSUAL[case])
    ours, theirs = await ask(both, written(), *asked.pop("lines", []), **asked)
    assert ours == theirs
    assert not taken


@pytest.mark.parametrize("who", ["", "co", "nobody"])
async def test_who_may_not_is_told_the_same(both, who):
    if who == "nobody":
        ours, theirs = await ask(both, written(), "Authorization: Bearer demo.x", who="")
    else:
        ours, theirs = await ask(both, written(), who=who)
    assert ours == theirs
    assert ours[9:12] == (b"403" if who == "co" else b"401")


@pytest.mark.parametrize("header", ["Cookie: gridspine=x", "Host: evil.example", "X-Forwarded-For: 1.2.3.4"])
async def test_further_headers_matter_alike(both, header):
    ours, theirs = await ask(both, written(), header, who="" if "Cookie" in header else "op")
    assert ours == theirs


async def test_a_body_in_pieces_is_taken_whole(both, taken):
    """A good one by the lane; one that is none reaches the framework from its first byte on."""
    for body, status in ((written(value=350), b"201"), (written(other=1), b"400")):
        reader, writer = await asyncio.open_connection("127.0.0.1", both.ports[0])
        lines = [LINE, "Host: 127.0.0.1", token(both.world.op), JSON, f"Content-Length: {len(body)}"]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body[:20])
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(body[20:])
        answer = await whole(reader)
        writer.close()
        assert answer[9:12] == status, answer
    assert taken == [True]


async def test_a_proof_is_good_once_whoever_answers(both):
    """The framework checks a proof only where the lane did not."""
    url = both.world.url
    auth = SigningAuth(read_client_file(both.world.folder / "clients" / "operator.json"), node=url)
    async with httpx.AsyncClient(base_url=url, auth=auth) as http:
        for body in (order(), order(other=1)):
            assert (await http.post("/commands", json=body)).status_code == (400 if "other" in body else 201)
        headers = auth.headers("POST", f"{url}/commands")
    async with httpx.AsyncClient(base_url=url, headers=headers) as http:
        assert (await http.post("/commands", json=order())).status_code == 201
        again = await http.post("/commands", json=order())
        assert (again.status_code, again.json()["reason"]) == (401, "proof-replayed")


async def test_each_command_has_a_decision_of_its_own(both):
    """Policies are asked once for Things they cannot tell apart; what was decided is recorded each time."""
    world = both.world
    await world.thing("urn:example:b2", BATTERY, adapter="none")
    id_, http = world.client("northside-networks", "operator")
    for thing in (THING, "urn:example:b2", THING):
        assert (await http.post("/commands", json=order(thing=thing))).status_code == 201
    found = [
        json.loads(record.body)
        for record in world.node.log.read("audit", 0, 0, max_records=100_000)
        if id_.encode() in record.key
    ]
    asked = [one for one in found if one["action"] == "thing.command"]
    assert [one["resource"].rpartition(":")[2] for one in asked] == ["b1", "b2", "b1"]
    assert len({one["id"] for one in asked}) == 3
    assert all(one["allowed"] and one["policies"] == ["thing-command"] for one in asked)


async def test_a_role_taken_away_ends_commands_at_once(both):
    id_, http = both.world.client("northside-networks", "operator")
    assert (await http.post("/commands", json=order())).status_code == 201
    await asyncio.to_thread(both.world.node.identity.directory.set_roles, id_, ("auditor",))
    assert (await http.post("/commands", json=order())).status_code == 403
