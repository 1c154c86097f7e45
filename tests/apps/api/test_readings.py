"""``POST /readings`` with everything that can be wrong: exact answers, exact counts, and the rest of a batch kept."""

import asyncio
import gzip
import json
import socket
import threading
import time

import cbor2
import msgspec
import numpy as np
import pytest
import pytest_asyncio
import zstandard
from running_node import BEGIN_S, SENML, running, settings_for

from gridspine.apps.api.readings import DECODERS
from gridspine.kernel.codecs.arrow import encode_arrow

POINT = "urn:example:m1/activeEnergyImport"
GOOD = [{"n": POINT, "v": 1, "t": BEGIN_S}, {"n": POINT, "v": 2, "t": BEGIN_S + 1}]
CBOR = {"content-type": "application/senml+cbor"}
ARROW = {"content-type": "application/vnd.apache.arrow.stream"}
CSV = {"content-type": "text/csv"}
NDJSON = {"content-type": "application/x-ndjson"}
VERDICTS = ("accepted", "suppressed", "duplicate", "refused")
MAX_BODY, MAX_ITEMS = 200_000, 1_000


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory):
    """A node of small limits, started once for all tests here."""
    settings = settings_for(http={"max_body_bytes": MAX_BODY, "max_items": MAX_ITEMS})
    async with running(tmp_path_factory.mktemp("readings") / "data", settings) as world:
        yield world


@pytest_asyncio.fixture(loop_scope="module")
async def small(shared):
    """The node with a new meter, `meter`, and what was counted before."""
    shared.meter = await shared.thing(f"urn:example:m{shared.node.points.thing_count}")
    shared.before = await raw_totals(shared)
    return shared


async def raw_totals(world):
    return (await world.op.get("/status")).json()["readings"]


async def totals(world):
    """Return what was counted since the test began."""
    now = await raw_totals(world)
    return {name: now[name] - world.before[name] for name in now}


def of(world, content):
    """Return ``content`` with the meter of this test for the one it names."""
    old, new = b"urn:example:m1/", f"{world.meter}/".encode()
    if isinstance(content, bytes):
        return content.replace(old, new)
    return msgspec.json.decode(msgspec.json.encode(content).replace(old, new))


def check_counts(body):
    assert body["received"] == sum(body[name] for name in VERDICTS)


BAD_ITEMS = [
    pytest.param({"n": "urn:example:m1/nope", "v": 1}, "unknown-point", id="no such point"),
    pytest.param({"n": "urn:example:none/activePower", "v": 1}, "unknown-point", id="no such Thing"),
    pytest.param({"n": "", "v": 1}, "unknown-point", id="no name"),
    pytest.param({"n": POINT, "u": "V", "v": 1}, "wrong-unit", id="unit of another quantity"),
    pytest.param({"n": POINT, "u": "furlong", "v": 1}, "wrong-unit", id="unit of no quantity"),
    pytest.param({"n": POINT, "v": -1}, "impossible", id="impossible"),
    pytest.param({"n": "urn:example:m1/voltage", "v": 501}, "impossible", id="beyond physics"),
    pytest.param({"n": POINT, "v": 1, "t": 1 << 40}, "time", id="no time"),
    pytest.param({"n": POINT, "v": 1, "t": -1e300}, "time", id="no time before"),
    pytest.param({"n": POINT, "v": 1, "t": 4_000_000_000}, "future-time", id="future"),
    pytest.param({"n": POINT, "v": "1"}, "malformed", id="text for a number"),
    pytest.param({"n": POINT, "v": None}, "not-a-number", id="null"),
    pytest.param({"n": POINT, "vs": "on"}, "not-a-number", id="text value"),
    pytest.param({"n": POINT, "v": 1, "q_": 1 << 15}, "quality", id="quality of no meaning"),
    pytest.param({"n": POINT, "v": 1, "x_": 1}, "malformed", id="must be understood"),
    pytest.param(["n", "v"], "malformed", id="no object"),
    pytest.param(7, "malformed", id="a number"),
]


@pytest.mark.parametrize(("item", "reason"), BAD_ITEMS)
async def test_one_bad_item_does_not_lose_its_batch(small, item, reason):
    if isinstance(item, dict):
        item = {"t": BEGIN_S, **item}
    answer = await small.op.post("/readings", json=of(small, [GOOD[0], item, GOOD[1]]), headers=SENML)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert {name: body[name] for name in ("received", *VERDICTS)} == {
        "received": 3, "accepted": 2, "suppressed": 0, "duplicate": 0, "refused": 1,
    }  # fmt: skip
    (problem,) = body["problems"]
    assert (problem["index"], problem["reason"]) == (1, reason)
    assert problem["detail"]
    assert await totals(small) == {name: body[name] for name in ("received", *VERDICTS)}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
async def test_what_is_no_finite_number_is_refused_in_the_forms_that_can_say_it(small, value):
    point = f"{small.meter}/activeEnergyImport"
    columns = (
        [point], np.zeros(3, np.int32), (BEGIN_S + np.arange(3)) * 1_000_000, np.array([1, value, 2]),
        np.zeros(3, np.uint16),
    )  # fmt: skip
    cbor = [{0: point, 2: one, 6: BEGIN_S + 10 + at} for at, one in enumerate((1.0, value, 2.0))]
    times = zip((1, value, 2), (20, 21, 22), strict=True)
    csv = "point,observed,value\n" + "".join(f"{point},{BEGIN_S + at},{one}\n" for one, at in times)
    for headers, content in ((ARROW, encode_arrow(*columns)), (CBOR, cbor2.dumps(cbor)), (CSV, csv.encode())):
        body = (await small.op.post("/readings", content=content, headers=headers)).json()
        assert (body["received"], body["accepted"], body["refused"]) == (3, 2, 1), (headers, body)
        assert body["problems"][0]["index"] == 1
        assert body["problems"][0]["reason"] in {"not-finite", "malformed"}


WHOLE = json.dumps(GOOD).encode()
ROWS = encode_arrow([POINT], np.zeros(2, np.int32), np.array([1, 2]), np.array([1.0, 2.0]), np.zeros(2, np.uint16))
BOMB = b" " * (MAX_BODY * 50)
MANY = [{"n": POINT, "v": at, "t": BEGIN_S + at} for at in range(MAX_ITEMS + 1)]
LINES = b"".join(
    msgspec.json.encode({"point": POINT, "observed": BEGIN_S + at, "value": at}) + b"\n" for at in range(1001)
)
BAD_BODIES = [
    pytest.param(WHOLE, {}, 415, id="no content type"),
    pytest.param(WHOLE, {"content-type": "text/plain"}, 415, id="another content type"),
    pytest.param(WHOLE, {"content-type": "application/x-www-form-urlencoded"}, 415, id="a form"),
    pytest.param(WHOLE, SENML | {"content-encoding": "br"}, 415, id="unknown encoding"),
    pytest.param(WHOLE, SENML | {"content-encoding": "gzip, gzip"}, 415, id="encoded twice"),
    pytest.param(WHOLE, SENML | {"content-encoding": "gzip"}, 400, id="not gzip"),
    pytest.param(WHOLE, SENML | {"content-encoding": "zstd"}, 400, id="not zstd"),
    pytest.param(gzip.compress(WHOLE)[:-5], SENML | {"content-encoding": "gzip"}, 400, id="gzip cut short"),
    pytest.param(zstandard.compress(WHOLE)[:-3], SENML | {"content-encoding": "zstd"}, 400, id="zstd cut short"),
    pytest.param(gzip.compress(WHOLE) + b"x", SENML | {"content-encoding": "gzip"}, 400, id="gzip and more"),
    pytest.param(gzip.compress(BOMB), SENML | {"content-encoding": "gzip"}, 413, id="gzip bomb"),
    pytest.param(zstandard.compress(BOMB), SENML | {"content-encoding": "zstd"}, 413, id="zstd bomb"),
    pytest.param(
        b"".join([gzip.compress(b" " * 90_000)] * 3), SENML | {"content-encoding": "gzip"}, 413, id="bomb in members"
    ),
    pytest.param(zstandard.compress(b" " * 90_000) * 3, SENML | {"content-encoding": "zstd"}, 413, id="bomb in frames"),
    pytest.param(b" " * (MAX_BODY + 1), SENML, 413, id="too large"),
    pytest.param(b"", SENML, 400, id="nothing"),
    pytest.param(b"{}", SENML, 400, id="no array"),
    pytest.param(b"[" * 50_000, SENML, 400, id="deeply nested"),
    pytest.param(WHOLE[:-3], SENML, 400, id="JSON cut short"),
    pytest.param(b"\xff\xfe", SENML, 400, id="not UTF-8"),
    pytest.param(json.dumps([{"bver": 99}, *GOOD]).encode(), SENML, 400, id="a later SenML"),
    pytest.param(cbor2.dumps(GOOD)[:-3], CBOR, 400, id="CBOR cut short"),
    pytest.param(cbor2.dumps(7), CBOR, 400, id="CBOR, no array"),
    pytest.param(ROWS[: len(ROWS) // 2], ARROW, 400, id="Arrow cut short"),
    pytest.param(b"ARROW1\0\0" + ROWS, ARROW, 400, id="not Arrow"),
    pytest.param(b"a,b\n1,2\n", CSV, 400, id="CSV of other columns"),
    pytest.param(msgspec.json.encode(MANY), SENML, 413, id="too many"),
    pytest.param(cbor2.dumps([{0: POINT, 2: 1}] * 1001), CBOR, 413, id="too many in CBOR"),
    pytest.param(b"\x9f" + b"\x80" * 5000 + b"\xff", CBOR, 413, id="CBOR of many nothings"),
    pytest.param(b"[" + b"{}," * 3000 + b"{}]", SENML, 413, id="JSON of many nothings"),
    pytest.param(b"[" + b"1," * 3000 + b"1]", SENML, 413, id="JSON of many numbers"),
    pytest.param(LINES, NDJSON, 413, id="too many lines"),
    pytest.param(b"point,observed,value\n" + b"a,1,1\n" * 1001, CSV, 413, id="too many CSV lines"),
]
CODES = {400: "invalid", 413: "too-large", 415: "unsupported-media-type"}


@pytest.mark.parametrize(("content", "headers", "status"), BAD_BODIES)
async def test_bad_bodies_are_refused_whole(small, content, headers, status):
    answer = await small.op.post("/readings", content=content, headers=headers)
    assert answer.status_code == status, answer.text[:300]
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == f"https://gridspine.org/problems/{CODES[status]}"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert len(answer.content) < 2000
    assert (await totals(small))["accepted"] == 0
    sent = (await small.op.post("/readings", json=of(small, GOOD), headers=SENML)).json()
    assert sent["accepted"] == 2  # and the node goes on


async def test_several_members_and_frames_are_one_body(small):
    whole = of(small, WHOLE)
    halves = whole[:20], whole[20:]
    for encoding, pack in (("gzip", gzip.compress), ("zstd", zstandard.compress)):
        body = b"".join(pack(half) for half in halves)
        answer = await small.op.post("/readings", content=body, headers=SENML | {"content-encoding": encoding})
        assert answer.status_code == 200, answer.text
        assert answer.json()["received"] == 2
    assert (await totals(small)) == {"received": 4, "accepted": 2, "suppressed": 0, "duplicate": 2, "refused": 0}


async def test_a_body_over_the_limit_without_a_content_length(small):
    async def pieces():
        for _ in range(30):
            yield b" " * 10_000

    answer = await small.op.post("/readings", content=pieces(), headers=SENML)
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


BROKEN_LENGTHS = ["abc", "-5", "1e3", "9" * 30, "9" * 5000, "\u00b2", "5, 5", "+5", "0x10", ""]


@pytest.mark.parametrize("length", BROKEN_LENGTHS, ids=range(len(BROKEN_LENGTHS)))
async def test_broken_content_lengths_are_the_clients_fault(small, length):
    request = (
        f"POST /readings HTTP/1.1\r\nHost: 127.0.0.1:{small.running.port}\r\nContent-Type: application/senml+json\r\n"
        f"Authorization: {small.op.headers['authorization']}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n[]"
    ).encode("latin-1")
    got = await asyncio.to_thread(ask_raw, small.running.port, request)
    assert got.startswith((b"HTTP/1.1 400", b"HTTP/1.1 413")), got[:200]
    assert (await small.op.post("/readings", json=of(small, GOOD), headers=SENML)).status_code == 200


def ask_raw(port, request):
    with socket.create_connection(("127.0.0.1", port), timeout=60) as raw:
        raw.sendall(request)
        got = b""
        while piece := raw.recv(65536):
            got += piece
    return got


async def test_a_body_that_ends_early_is_not_half_kept(small):
    """Two of three promised bytes, then the connection is gone: nothing was received."""
    whole = msgspec.json.encode(GOOD)
    request = (
        f"POST /readings HTTP/1.1\r\nHost: 127.0.0.1:{small.running.port}\r\nContent-Type: application/senml+json\r\n"
        f"Authorization: {small.op.headers['authorization']}\r\nContent-Length: {len(whole) + 10}\r\n\r\n"
    ).encode() + whole
    with socket.create_connection(("127.0.0.1", small.running.port)) as raw:
        raw.sendall(request)
    await asyncio.sleep(0.2)
    assert (await totals(small))["received"] == 0


async def test_every_answer_adds_up_and_so_does_the_status(small):
    """Accepted, suppressed, duplicate, refused: all of them, some requests over, in five forms."""
    sum_ = dict.fromkeys(("received", *VERDICTS), 0)
    now = time.time() - 1000
    mixed = [
        {"n": "urn:example:m1/activePower", "v": 100, "t": now},
        {"n": "urn:example:m1/activePower", "v": 101, "t": now + 1},  # within the deadband
        {"n": "urn:example:m1/activePower", "v": 100, "t": now},  # again
        {"n": "urn:example:m1/activePower", "v": 99_000_000, "t": now + 2},
        {"n": "urn:example:m1/nope", "v": 1, "t": now},
        {"n": POINT, "v": 5, "t": now},
    ]
    mixed = of(small, mixed)
    lines = [{"point": one["n"], "observed": one["t"] + 100, "value": one["v"]} for one in mixed]
    csv = "point,observed,value\n" + "".join(f"{a['point']},{a['observed'] + 100},{a['value']}\n" for a in lines)
    bodies = [
        (SENML, msgspec.json.encode(mixed)),
        (NDJSON, b"\n".join(msgspec.json.encode(line) for line in lines) + b"\nnonsense\n"),
        (CSV, csv.encode() + b"short\n"),
        (CBOR, cbor2.dumps([{0: one["n"], 2: one["v"], 6: one["t"] + 300} for one in mixed])),
        (SENML, msgspec.json.encode(mixed)),
    ]
    for headers, content in bodies:
        answer = await small.op.post("/readings", content=content, headers=headers)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        check_counts(body)
        assert len(body["problems"]) == body["refused"]
        for name in sum_:
            sum_[name] += body[name]
    assert all(sum_[name] for name in VERDICTS), sum_
    assert await totals(small) == sum_
    kept = (await small.op.get("/quarantine")).json()[: len(bodies)]
    assert sum(record["count"] for record in kept) == sum_["refused"]


async def test_what_is_refused_is_kept_for_inspection(small):
    await small.op.post("/readings", json=of(small, [GOOD[0], {"n": POINT, "v": -5, "t": BEGIN_S}]), headers=SENML)
    record = (await small.op.get("/quarantine")).json()[0]
    assert record["principal"] == small.op_id
    (item,) = record["items"]
    assert item.pop("detail")
    assert item == {"point": f"{small.meter}/activeEnergyImport", "reason": "impossible", "value": "-5.0"}
    others = await small.co.get("/quarantine")
    assert others.json() == []


async def test_a_large_body_is_decoded_beside_the_event_loop(small, monkeypatch):
    """Grants and commands do not wait while megabytes are decoded: the loop turns until it lets the decoder go on."""
    turned = threading.Event()

    def patient(body, now_us, most):
        assert turned.wait(20), "the event loop stood still"
        return decode(body, now_us, most)

    decode = DECODERS["application/senml+json"]
    monkeypatch.setitem(DECODERS, "application/senml+json", patient)
    body = of(small, msgspec.json.encode([{"n": POINT, "v": at, "t": BEGIN_S + at} for at in range(1000)]))
    packed = SENML | {"content-encoding": "gzip"}
    for content, headers in ((body + b" " * 70_000, SENML), (gzip.compress(body), packed)):
        turned.clear()
        sending = asyncio.ensure_future(small.op.post("/readings", content=content, headers=headers))
        assert (await small.op.get("/health")).status_code == 200
        turned.set()
        assert (await sending).json()["received"] == 1000


async def test_a_device_speaks_for_its_own_things_only(small):
    """Another's Thing is refused like one that is not there, item by item."""
    device, http = small.client("northside-networks", "device", kind="device")
    await small.thing("urn:example:mine", devices=[device])
    body = [{"n": "urn:example:mine/activeEnergyImport", "v": 1, "t": BEGIN_S}, *of(small, GOOD[:1])]
    outcome = (await http.post("/readings", json=body, headers=SENML)).json()
    assert (outcome["accepted"], outcome["refused"]) == (1, 1)
    unknown = [body[0], {"n": "urn:example:none/activeEnergyImport", "v": 1, "t": BEGIN_S}]
    again = (await http.post("/readings", json=unknown, headers=SENML)).json()
    alike = [{**p, "name": ""} for p in (outcome["problems"][0], again["problems"][0])]
    assert alike[0] == alike[1]
    _, idle = small.client("northside-networks", "device", kind="device")
    assert (await idle.post("/readings", json=body, headers=SENML)).status_code == 403
    outcome = (await small.co.post("/readings", json=body, headers=SENML)).json()
    assert (outcome["accepted"], outcome["refused"]) == (0, 2)
