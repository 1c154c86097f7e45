"""Things registered by the fast lane are answered as by the framework: same bytes, same refusals."""

import json
import re

import pytest
import pytest_asyncio
from both_ways import both_ways, token
from running_node import METER

from gridspine.apps.api.taking import MAX_BODY, RegistrationLane

pytestmark = pytest.mark.asyncio(loop_scope="module")
TD = "Content-Type: application/td+json"
JSON = "Content-Type: application/json"


def td(**more):
    found = {
        "@context": "https://www.w3.org/2022/wot/td/v1.1", "title": "Pump", "base": "http://192.0.2.1/",
        "securityDefinitions": {"none": {"scheme": "nosec"}}, "security": "none",
        "properties": {"power": {"type": "number", "unit": "kW", "forms": [{"href": "power"}]}},
    }  # fmt: skip
    return json.dumps({**found, **more}).encode()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def both(tmp_path_factory):
    async with both_ways(tmp_path_factory.mktemp("lane") / "data") as made:
        yield made


@pytest.fixture
def taken(monkeypatch):
    """Tell of each request whether the lane answered it."""
    told = []
    original = RegistrationLane._take

    async def noted(self, scope, receive):
        answer = await original(self, scope, receive)
        told.append(answer is not None)
        return answer

    monkeypatch.setattr(RegistrationLane, "_take", noted)
    return told


CASES = {
    "described": (td(), TD, "op", 201, True),
    "described-as-json": (td(), JSON, "op", 201, True),
    "with-parameters": (td(), f"{TD}; charset=utf-8", "op", 201, True),
    "expiring": (td(registration={"ttl": 86_400}), TD, "op", 201, True),
    "of-a-model": (json.dumps({"title": "M", "model": METER}).encode(), JSON, "op", 201, True),
    "wrong": (td(security="nobody", title=7), TD, "op", 400, True),
    "with-an-id": (td(id="urn:example:x"), TD, "op", 400, True),
    "with-a-password": (td(base="http://u:p@h/"), TD, "op", 400, True),
    "no-such-model": (b'{"title": "M", "model": "urn:none"}', JSON, "op", 400, True),
    "not-json": (b"{", TD, "op", 400, True),
    "not-utf-8": (b'{"@context":"\xff"}', TD, "op", 400, True),
    "name-twice": (td()[:-1] + b',"title":"again"}', TD, "op", 400, True),
    "too-deep": (td(deep=json.loads("[" * 60 + "]" * 60)), TD, "op", 400, True),
    "too-large": (td(title="x" * (MAX_BODY // 2)), TD, "op", 413, True),
    "another-form": (td(), "Content-Type: text/turtle", "op", 415, True),
    "nothing-said-of-it": (td(), "X-Nothing: 1", "op", 415, True),
    "nothing": (b"", TD, "op", 400, True),
    "nobody": (td(), TD, "", 401, False),
}


@pytest.mark.parametrize("case", CASES)
async def test_registrations_are_answered_alike(both, taken, case):
    body, media, who, status, by_lane = CASES[case]
    says = [token(getattr(both.world, who))] if who else []
    head = ["POST /things HTTP/1.1", *says, media, f"Content-Length: {len(body)}"]
    lane, plain = [re.sub(rb"20\d\d-\d\d-\d\dT[0-9:.]+Z", b"-", one) for one in await both.ask(*head, body=body)]
    assert re.sub(rb"content-length: \d+", b"", lane) == re.sub(rb"content-length: \d+", b"", plain)
    assert lane.startswith(b"HTTP/1.1 %d" % status), lane
    assert taken == [by_lane]


@pytest.mark.parametrize(("target", "more"), [("/things?x=1", "X: 1"), ("/things", "Content-Encoding: identity")])
async def test_the_unusual_is_left_to_the_framework(both, taken, target, more):
    body = td()
    head = [token(both.world.op), TD, more, f"Content-Length: {len(body)}"]
    lane, plain = await both.ask(f"POST {target} HTTP/1.1", *head, body=body)
    assert lane == plain
    assert taken == [False]


async def test_an_auditor_registers_nothing_either_way(both, taken):
    _, http = both.world.client("northside-networks", "auditor")
    body = td()
    head = [token(http), TD, f"Content-Length: {len(body)}"]
    lane, plain = await both.ask("POST /things HTTP/1.1", *head, body=body)
    assert lane == plain
    assert lane.startswith(b"HTTP/1.1 403")
    assert taken == [True]
