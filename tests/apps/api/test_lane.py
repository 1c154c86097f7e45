"""The fast lane answers as the framework does: same bytes, same records of what was decided."""

import asyncio

import httpx
import pytest
import pytest_asyncio
from both_ways import Both, both_ways, noted, token, whole
from running_node import SENML

from gridspine.apps.api.lane import ReadLane
from gridspine.apps.cli.keys import read_client_file
from gridspine.apps.cli.signing import SigningAuth

pytestmark = pytest.mark.asyncio(loop_scope="module")
THING = "/things/urn:example:m1"
VOLTAGE = f"{THING}/properties/voltage"
ALL = f"{THING}/properties"
BODY = b'[{"n":"urn:example:m1/voltage","v":230,"t":1700000000}]'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def both(tmp_path_factory):
    async with both_ways(tmp_path_factory.mktemp("lane") / "data") as made:
        world = made.world
        await world.thing()
        await world.op.post("/readings", json=[{"n": "urn:example:m1/voltage", "v": 230, "t": 1.7e9}], headers=SENML)
        assert isinstance(world.running._servers[0]._make.keywords["lane"], ReadLane)
        yield made


@pytest.fixture
def lane_answers(both, monkeypatch):
    """Count the reads that the lane answered."""
    return noted(monkeypatch, ReadLane)


READS = {
    "one": (f"GET {VOLTAGE} HTTP/1.1", "op", 200, True),
    "all": (f"GET {ALL} HTTP/1.1", "op", 200, True),
    "value": (f"GET {VOLTAGE}/value HTTP/1.1", "op", 200, True),
    "value-of-nothing": (f"GET {THING}/properties/nothing/value HTTP/1.1", "op", 404, True),
    "value-never-reported": (f"GET {THING}/properties/frequency/value HTTP/1.1", "op", 404, True),
    "value-of-another": (f"GET {VOLTAGE}/value HTTP/1.1", "co", 403, True),
    "value-of-nobody": (f"GET {VOLTAGE}/value HTTP/1.1", "", 401, False),
    "value-slash-escaped": (f"GET {VOLTAGE}%2Fvalue HTTP/1.1", "op", 200, True),
    "never-reported": (f"GET {THING}/properties/frequency HTTP/1.1", "op", 200, True),
    "escaped": (f"GET {VOLTAGE.replace(':', '%3A')} HTTP/1.1", "op", 200, True),
    "no-such-point": (f"GET {THING}/properties/nothing HTTP/1.1", "op", 404, True),
    "no-such-thing": ("GET /things/urn:example:none/properties/voltage HTTP/1.1", "op", 403, True),
    "of-another": (f"GET {VOLTAGE} HTTP/1.1", "co", 403, True),
    "none-of-another": ("GET /things/urn:example:none/properties HTTP/1.1", "co", 403, True),
    "nobody": (f"GET {VOLTAGE} HTTP/1.1", "", 401, False),
    "name-too-long": (f"GET {THING}/properties/{'x' * 65} HTTP/1.1", "op", 400, False),
    "name-of-64": (f"GET {THING}/properties/{'x' * 64} HTTP/1.1", "op", 404, True),
    "query": (f"GET {VOLTAGE}?a=1 HTTP/1.1", "op", 200, False),
    "fragment": (f"GET {VOLTAGE}#a HTTP/1.1", "op", 200, False),
    "slash-at-the-end": (f"GET {VOLTAGE}/ HTTP/1.1", "op", 200, False),
    "slash-escaped": (f"GET {THING}%2Fproperties/voltage HTTP/1.1", "op", 200, True),
    "slash-in-name": (f"GET {THING}/properties/a%2Fb HTTP/1.1", "op", 404, False),
    "nothing-named": ("GET /things//properties HTTP/1.1", "op", 403, False),
    "not-utf-8": (f"GET {THING}%FF/properties HTTP/1.1", "op", 403, True),
    "absolute": (f"GET http://127.0.0.1{VOLTAGE} HTTP/1.1", "op", 200, False),
    "head": (f"HEAD {VOLTAGE} HTTP/1.1", "op", 200, False),
    "options": (f"OPTIONS {VOLTAGE} HTTP/1.1", "op", 204, False),
    "put": (f"PUT {VOLTAGE} HTTP/1.1", "op", 405, False),
    "http-1.0": (f"GET {VOLTAGE} HTTP/1.0", "op", 200, False),
}


@pytest.mark.parametrize("case", READS)
async def test_reads_are_answered_alike(both, lane_answers, case):
    line, who, status, in_lane = READS[case]
    headers = [token(getattr(both.world, who))] if who else []
    ours, theirs = await both.ask(line, *headers)
    assert ours == theirs
    assert ours.startswith(f"HTTP/1.1 {status} ".encode()), ours
    assert any(lane_answers) == in_lane


REFUSED = {
    "no-scheme": ["Authorization: x"],
    "empty": ["Authorization: "],
    "basic": ["Authorization: Basic eDp5"],
    "unknown-token": ["Authorization: Bearer demo.x"],
    "long-token": ["Authorization: Bearer " + "x" * 9000],
    "latin-1": ["Authorization: Bearer \u00e9\u00ff"],
    "two-tokens": ["Authorization: Bearer a", "Authorization: Bearer b"],
    "dpop-without": ["Authorization: DPoP x"],
    "dpop-garbage": ["Authorization: DPoP x", "DPoP: y"],
    "cookie-only": ["Cookie: gridspine=x"],
    "ticket-only": ["X: y"],
    "other-host": ["Host: evil.example"],
    "two-hosts": ["Host: 127.0.0.1", "Host: 127.0.0.1"],
    "no-host": ["Host: "],
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("line", [f"GET {VOLTAGE} HTTP/1.1", "POST /readings HTTP/1.1"], ids=["read", "send"])
async def test_refusals_are_alike(both, case, line):
    ours, theirs = await both.ask(line, *REFUSED[case], "Content-Length: 0" if "POST" in line else "A: b")
    assert ours == theirs
    assert ours[9:12] in {b"401", b"421", b"400"}, ours


@pytest.mark.parametrize(
    "header", ["X-Forwarded-For: 1.2.3.4", "Forwarded: for=1.2.3.4", "Via: x", "Accept: text/html", "Cookie: a=b"]
)
async def test_further_headers_matter_alike(both, header):
    ours, theirs = await both.ask(f"GET {VOLTAGE} HTTP/1.1", token(both.world.op), header)
    assert ours == theirs


@pytest.mark.parametrize("path", [VOLTAGE, ALL, f"{VOLTAGE}/value"])
@pytest.mark.parametrize("form", ["application/senml+json", "application/senml+cbor", "application/cbor", "text/html"])
async def test_another_form_is_left_to_the_framework(both, lane_answers, path, form):
    ours, theirs = await both.ask(f"GET {path} HTTP/1.1", token(both.world.op), f"Accept: {form}")
    assert ours == theirs
    assert not any(lane_answers)


@pytest.mark.parametrize("more", [["Content-Length: 3"], ["Expect: 100-continue"], ["Connection: close"]])
async def test_the_unusual_is_left_to_the_framework(both, lane_answers, more):
    body = b"abc" if "Length" in more[0] else b""
    ours, theirs = await both.ask(f"GET {VOLTAGE} HTTP/1.1", token(both.world.op), *more, body=body)
    assert ours == theirs
    assert ours.startswith(b"HTTP/1.1 200")
    assert not any(lane_answers)


SENDS = {
    "good": ([], BODY, 200),
    "no-type": (["Content-Type: "], BODY, 415),
    "other-type": (["Content-Type: text/html"], BODY, 415),
    "not-json": ([], b"[", 400),
    "not-utf-8": ([], b'[{"n":"\xff"}]', 200),
    "too-deep": ([], b"[" * 100_000, 400),
    "unknown-point": ([], b'[{"n":"urn:example:none/voltage","v":1}]', 200),
    "unknown-encoding": (["Content-Encoding: br"], BODY, 415),
    "damaged-gzip": (["Content-Encoding: gzip"], BODY, 400),
    "backfill": (["Backfill: true"], BODY, 200),
    "nothing": ([], b"[]", 200),
}


@pytest.mark.parametrize("case", SENDS)
async def test_readings_are_taken_alike(both, case):
    more, body, status = SENDS[case]
    kind = [] if any(line.startswith("Content-Type") for line in more) else ["Content-Type: application/senml+json"]
    await both.ask(
        "POST /readings HTTP/1.1", token(both.world.op), *kind, *more, f"Content-Length: {len(body)}", body=body
    )
    ours, theirs = await both.ask(
        "POST /readings HTTP/1.1", token(both.world.op), *kind, *more, f"Content-Length: {len(body)}", body=body
    )
    assert ours == theirs
    assert ours.startswith(f"HTTP/1.1 {status} ".encode()), ours


async def test_a_body_that_is_too_large_is_refused_alike(both):
    size = both.world.node.settings.http.max_body_bytes + 1
    kind = "Content-Type: application/senml+json"
    for length in (str(size), "9" * 19):
        ours, theirs = await both.ask(
            "POST /readings HTTP/1.1", token(both.world.op), kind, f"Content-Length: {length}"
        )
        assert ours == theirs
        assert ours.startswith(b"HTTP/1.1 413")


async def test_signed_reads_are_checked_alike_and_once(both, lane_answers):
    """A proof is spent by either way, and a refusal is the same by both."""
    url = both.world.url
    auth = SigningAuth(read_client_file(both.world.folder / "clients" / "operator.json"), node=url)
    async with httpx.AsyncClient(base_url=url, auth=auth) as http:
        assert (await http.get("/things")).status_code == 200
    host = f"Host: 127.0.0.1:{both.ports[0]}"
    for name, method, path in (("good", "GET", VOLTAGE), ("other-path", "GET", ALL), ("other-method", "PUT", VOLTAGE)):
        headers = auth.headers(method, f"{url}{path}")
        lines = [host, f"Authorization: {headers['Authorization']}", f"DPoP: {headers['DPoP']}"]
        ours, theirs = await both.ask(f"GET {VOLTAGE} HTTP/1.1", *lines)
        if name == "good":
            assert ours.startswith(b"HTTP/1.1 200")
            assert b"proof-replayed" in theirs
            assert b"proof-replayed" in (await both.ask(f"GET {VOLTAGE} HTTP/1.1", *lines))[0]
        else:
            assert ours == theirs
            assert ours.startswith(b"HTTP/1.1 401")
    assert lane_answers == [False, True, True, True, True]  # the list of Things is the framework's


async def test_what_is_decided_is_recorded_alike(both):
    """One decision for each way within five seconds; a denial says its id, which an auditor can ask about."""
    world = both.world
    for server in range(2):
        id_, http = world.client("brightfield", "operator")
        line = f"GET {VOLTAGE} HTTP/1.1"
        answer = (await Both(world, _At(both.ports[server])).ask(line, token(http)))[1]
        assert answer.startswith(b"HTTP/1.1 403")
        answer = await http.get(VOLTAGE)
        decision = (await world.op.get(f"/decisions/{answer.json()['decision']}")).json()
        assert decision["principal"] == f"Principal {id_}"
        assert decision["action"] == "thing.read"
        await asyncio.sleep(0)
        found = [
            record for record in world.node.log.read("audit", 0, 0, max_records=100_000) if id_.encode() in record.key
        ]
        assert len(found) == 1


class _At:
    def __init__(self, port):
        self.port = port


async def test_a_role_taken_away_ends_reads_at_once(both):
    id_, http = both.world.client("northside-networks", "operator")
    line = f"GET {VOLTAGE} HTTP/1.1"
    assert (await both.ask(line, token(http)))[0].startswith(b"HTTP/1.1 200")
    await asyncio.to_thread(both.world.node.identity.directory.set_roles, id_, ())
    for answer in await both.ask(line, token(http)):
        assert answer.startswith(b"HTTP/1.1 403")
    await asyncio.to_thread(both.world.node.identity.directory.deactivate, id_)
    for answer in await both.ask(line, token(http)):
        assert answer.startswith(b"HTTP/1.1 401")


async def test_pipelined_requests_are_answered_in_order(both):
    """Lane, framework, lane: each waits for the one before."""
    reader, writer = await asyncio.open_connection("127.0.0.1", both.ports[0])
    paths = [VOLTAGE, THING, ALL, "/things", VOLTAGE, f"{THING}/properties/nothing", "/nothing"]
    for path in paths:
        lines = (f"GET {path} HTTP/1.1", "Host: 127.0.0.1", token(both.world.op))
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
    answers = [await whole(reader) for _ in paths]
    writer.close()
    assert [int(answer[9:12]) for answer in answers] == [200, 200, 200, 200, 200, 404, 404]
    assert b'"name":"voltage"' in answers[0]
    assert b'"@context"' in answers[1]
    assert answers[2].count(b'"name"') > 1
