"""Every route as a stranger, as another organisation, and with nonsense: 401, nothing leaked, and never a 500."""

import asyncio
import json
import re
from typing import NamedTuple
from urllib.parse import quote

import msgspec
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from running_node import METER, SENML, World, settings_for

PUBLIC = {
    ("GET", "/health"),
    ("GET", "/ready"),
    ("GET", "/ledger/checkpoint"),
    ("GET", "/ledger/key"),
    ("GET", "/ledger/handovers"),
    ("GET", "/authority"),
    ("POST", "/enrolment"),
    ("GET", "/enrolment"),
    ("GET", "/.well-known/est/cacerts"),
    ("POST", "/.well-known/est/simpleenroll"),
    ("POST", "/.well-known/est/simplereenroll"),
    ("POST", "/token"),
    ("POST", "/revoke"),
    ("GET", "/.well-known/oauth-authorization-server"),
    ("GET", "/.well-known/wot"),
    ("GET", "/.well-known/core"),
    ("GET", "/jwks"),
}
"""Routes that ask for nobody's name, besides the description of the API itself."""
BATTERY_ID = "urn:example:battery"
COMMAND = {"thing": BATTERY_ID, "point": "activePowerSetpoint", "value": 1000, "durationS": 600}
FOREVER = "2100-01-01T00:00:00Z"
INCIDENT = {"subject": "s", "title": "t", "owner": "o", "deadline": FOREVER, "evidence": "e"}
CONTRACT = {"licence": "x", "purposes": ["a"]}
PRODUCT = {"title": "P", "points": ["urn:example:s/voltage"], "contract": CONTRACT}
APPLICATION = {"kind": "application", "name": "n", "roles": ["operator"]}
SECRET_TITLE, SECRET_VALUE = "Quellenweg-31", 987654.25
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def full(tmp_path_factory):
    """A node in which there is one of everything."""
    made = await World.start(tmp_path_factory.mktemp("routes") / "data", settings_for())
    thing = await made.thing("urn:example:battery", "https://gridspine.org/models/battery", adapter="none")
    await made.op.post("/things", json={"id": "urn:example:s", "title": SECRET_TITLE, "model": METER})
    await made.send("urn:example:s/activeEnergyImport", [SECRET_VALUE])
    await made.op.post("/readings", json=[{"n": f"{thing}/stateOfCharge", "v": 5000}], headers=SENML)
    product = await made.product("urn:example:s/activeEnergyImport")
    grant = await made.grant(product)
    made.node.identity.directory.add_organisation("third", "Third")
    assert thing == BATTERY_ID
    command = (await made.op.post("/commands", json=COMMAND)).json()
    incident = (await made.op.post("/incidents", json=INCIDENT | {"title": SECRET_TITLE})).json()
    event = (await made.op.get("/receipts", params={"subject": command["id"]})).json()
    made.ids = {
        "thing_id": "urn:example:s",
        "name": "activeEnergyImport",
        "command_id": command["id"],
        "product_id": product,
        "grant_id": grant,
        "incident_id": incident["id"],
        "event_id": event[0]["id"] if event else "none",
        "principal_id": made.client("northside-networks", "operator")[0],
        "decision_id": (await made.co.get(f"/things/{BATTERY_ID}")).json()["decision"],
        "verb": "revoke",
        "language": "cim",
        "site_id": (await made.op.post("/sites", json={"title": SECRET_TITLE})).json()["id"],
        "programme_id": (await made.op.post("/programmes", json={"title": SECRET_TITLE})).json()["id"],
    }
    yield made
    await made.stop()


async def routes(world):
    """Return (method, path template, operation) of every route the API describes."""
    schema = (await world.op.get("/schema/openapi.json")).json()
    return [
        (method.upper(), path, operation)
        for path, operations in schema["paths"].items()
        for method, operation in operations.items()
    ], schema


def filled(path, ids):
    return re.sub(r"\{(\w+)\}", lambda found: ids.get(found[1], "none"), path)


def is_portal(path):
    return path.startswith(("/portal", "/static", "/sign", "/set-up", "/live"))


class Begun(NamedTuple):
    """An answer: of a stream, what it begins with."""

    status_code: int
    text: str


async def begun(http, method, url, **more):
    async with http.stream(method, url, **more) as answer:
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            return Begun(answer.status_code, await anext(answer.aiter_text()))
        return Begun(answer.status_code, (await answer.aread()).decode("utf-8", "replace"))


async def test_every_route_without_a_token_is_401(full):
    found, _ = await routes(full)
    assert len(found) > 35
    assert {(method, path) for method, path, _ in found} >= PUBLIC
    for method, path, _ in found:
        if (method, path) in PUBLIC or path.startswith("/schema") or is_portal(path):
            continue
        answer = await full.nobody.request(method, filled(path, full.ids))
        assert answer.status_code == 401, (method, path, answer.status_code)
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert (problem["status"], problem["reason"]) == (401, "missing")
        assert "DPoP" in answer.headers["www-authenticate"]
        assert SECRET_TITLE not in answer.text


async def test_what_is_public_tells_nothing_of_anybody(full):
    for method, path in PUBLIC:
        answer = await full.nobody.request(method, path)
        assert answer.status_code in {200, 400, 401}, path
        for secret in (SECRET_TITLE, str(SECRET_VALUE), "urn:example", full.op_id):
            assert secret not in answer.text, path


async def test_every_route_as_another_organisation_leaks_nothing(full):
    """A stranger with every role of another organisation learns neither names nor values, and changes nothing."""
    found, _ = await routes(full)
    _, stranger = full.client("third", "administrator", "operator", "owner", "consumer", "auditor")
    before = await everything(full)
    bodies = {
        "/alarms/acknowledge": {"point": "urn:example:s/activeEnergyImport", "kind": "high"},
        "/commands": COMMAND,
        "/commands/batch": [COMMAND],
        "/commands/{command_id}/approval": {"batch": True},
        "/things/{thing_id}/local": {"reason": "mischief"},
        "/things/{thing_id}/tags": {"reason": "mischief"},
        "/incidents/{incident_id}/{verb}": {"text": "mine now"},
        "/all-stop": {"reason": "mischief"},
        "/query": {"sql": "select * from readings"},
        "/products/{product_id}/query": {"sql": "select * from readings, points"},
        "/organisations": {"id": "evil", "name": "Evil"},
        "/principals": APPLICATION | {"organisation": "northside-networks"},
    }
    for method, path, operation in found:
        if (method, path) in PUBLIC or path.startswith("/schema") or is_portal(path):
            continue
        parameters = {
            one["name"]: full.ids["command_id"] if one["name"] == "subject" else "urn:example:s"
            for one in operation.get("parameters", [])
            if one["in"] == "query" and one.get("required")
        }
        more = {"json": bodies[path]} if path in bodies and method == "POST" else {}
        for verb in ("revoke", "approve", "close", "note"):
            url = filled(path, full.ids | {"verb": verb})
            answer = await begun(stranger, method, url, params=parameters, **more)
            assert answer.status_code < 500, (method, path, answer.text)
            for secret in (SECRET_TITLE, str(SECRET_VALUE), "urn:example:s/", full.op_id):
                assert secret not in answer.text, (method, path, answer.text[:300])
            if answer.status_code < 300:
                assert (method, path) in HARMLESS, (method, path, answer.text[:200])
            if "{verb}" not in path:
                break
    assert await everything(full) == before


NOT_TRIED = ("/deactivate", "/query", "/stream", "/observe", "/next", "/events", "/events/{name}", "/events/{kind}")
"""Ends of paths that nonsense is not sent to: what would lock the caller out, takes long, or waits for what comes."""

HARMLESS = {
    ("GET", "/things"), ("GET", "/grants"), ("GET", "/alarms"), ("GET", "/incidents"), ("GET", "/quarantine"),
    ("GET", "/products"), ("GET", "/products/{product_id}"), ("GET", "/products/{product_id}/sample"),
    ("GET", "/transfers"), ("GET", "/announcements"), ("GET", "/vouchers"),
    ("GET", "/lives"),
    ("GET", "/organisations"), ("GET", "/principals"), ("GET", "/behaviours"), ("GET", "/emulated/orders"),
    ("GET", "/commands/awaiting"), ("GET", "/edges"), ("GET", "/events"), ("GET", "/events/{kind}"),
    ("GET", "/models"), ("GET", "/ensembles"), ("GET", "/search/jsonpath"), ("GET", "/search/sparql"),
    ("POST", "/search/sparql"), ("GET", "/sites"), ("GET", "/programmes"), ("GET", "/bids"),
    ("GET", "/templates"),
}  # fmt: skip
"""What a stranger may ask: of the own organisation, or what is there for everybody."""


async def everything(world):
    """What another organisation must not change."""
    compact = {"accept": "application/vnd.gridspine.things+json"}  # without the time it was asked for
    found = {"/things": (await world.op.get("/things", headers=compact)).json()}
    for path in ("/grants", "/incidents", "/organisations", "/principals", "/sites", "/programmes", "/bids"):
        found[path] = (await world.op.get(path)).json()
    found["command"] = (await world.op.get(f"/commands/{world.ids['command_id']}")).json()["state"]
    return found


@pytest.mark.parametrize(
    "path",
    [
        "/things/{}", "/things/{}/properties", "/things/{}/properties/activePower", "/things/{}/channels",
        "/things/{}/form", "/commands?thing={}",
    ],
)  # fmt: skip
async def test_a_thing_of_others_and_none_are_answered_alike(full, path):
    """Only the decision's id differs: its length too is the same."""
    _, stranger = full.client("third", "administrator", "operator", "owner", "consumer", "auditor")
    answers = [await stranger.get(path.format(id_)) for id_ in ("urn:example:s", "urn:example:q")]
    assert [answer.status_code for answer in answers] == [403, 403]
    problems = [answer.json() for answer in answers]
    decisions = [problem.pop("decision") for problem in problems]
    assert decisions[0] != decisions[1]
    for problem, decision in zip(problems, decisions, strict=True):
        problem["detail"] = problem["detail"].replace(decision, "…")
    assert problems[0] == problems[1]
    assert {*answers[0].headers} == {*answers[1].headers}
    assert answers[0].headers["content-length"] == answers[1].headers["content-length"]


@pytest.mark.parametrize(("path", "known"), [("/grants/{}", "grant_id"), ("/principals/{}/deactivate", "principal_id")])
async def test_grants_and_principals_of_others_are_not_there(full, path, known):
    _, stranger = full.client("third", "administrator", "operator", "owner", "consumer", "auditor")
    method = "POST" if path.endswith("deactivate") else "GET"
    answers = [
        await stranger.request(method, path.format(id_))
        for id_ in (full.ids[known], "urn:uuid:01a1fe2e-232a-7d9a-8429-486e043c2b3e")
    ]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].text == answers[1].text


async def test_no_grant_is_403_with_the_decisions_id(full):
    _, stranger = full.client("third", "consumer")
    for product in (full.ids["product_id"], "urn:uuid:01a1fe2e-232a-7d9a-8429-486e043c2b3e"):
        for path in ("readings", "stream"):
            answer = await stranger.get(f"/products/{product}/{path}")
            assert answer.status_code == 403
            assert answer.headers["content-type"] == "application/problem+json"
            decision = answer.json()["decision"]
            assert re.fullmatch(r"[0-9a-f-]{36}", decision)
            assert decision in answer.json()["detail"]
            assert await recorded(full, decision)


async def recorded(world, decision):
    """Whether the audit topic has the decision, with its reason."""
    for _ in range(200):
        at, end = world.node.log.bounds("audit")[0]
        while at < end:
            records = world.node.log.read("audit", 0, at, max_records=5000)
            for record in records:
                if decision.encode() in record.body:
                    return bool(msgspec.json.decode(record.body)["reason"])
            at = records[-1].position.offset + 1
        await asyncio.sleep(0.01)
    return False


async def test_roles_that_do_not_suffice(full):
    """The right organisation, but no role for it: refused with the reason, as it is one's own."""
    _, auditor = full.client("northside-networks", "auditor")
    for method, path, body in (
        ("POST", "/things", {"title": "T", "model": METER}),
        ("POST", "/things/batch", [{"title": "T", "model": METER}]),
        ("POST", "/products", PRODUCT),
        ("POST", "/query", {"sql": "select 1"}),
        ("POST", "/all-stop", {"reason": "x"}),
        ("POST", "/commands", COMMAND),
        ("POST", f"/grants/{full.ids['grant_id']}/revoke", {}),
        ("GET", "/principals", None),
    ):
        answer = await auditor.request(method, path, json=body)
        assert answer.status_code == 403, (path, answer.text)
        assert answer.json()["decision"]


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**40), 10**40),
    st.floats(),
    st.text(max_size=30),
    st.sampled_from(["", "\0", "../..", "%00", "urn:", "urn:x:y", "1e999", "9" * 400]),
    st.sampled_from(["2024-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999+00:00"]),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
)


def bodies_for(operation, schema):
    """A strategy of bodies: the described fields, some of them missing, odd or right."""
    content = operation.get("requestBody", {}).get("content", {})
    reference = next((one.get("schema", {}) for one in content.values()), {})
    if "oneOf" in reference:
        reference = reference["oneOf"][0]
    name = str(reference.get("$ref", "")).rpartition("/")[2]
    properties = schema["components"]["schemas"].get(name, {}).get("properties", {})
    right = COMMAND | PRODUCT | APPLICATION | {"model": METER, "sql": "select 1", "until": FOREVER, "purpose": "a"}
    fields = {one: st.one_of(ODD, st.just(right[one])) if one in right else ODD for one in properties}
    return st.one_of(ODD, st.fixed_dictionaries({}, optional=fields), st.fixed_dictionaries(fields))


PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
"""Each example is forty requests: shrinking them would take longer than reading one."""


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), phases=PHASES)
@given(data=st.data())
async def test_no_route_ever_answers_500(full, data):
    """Each route with odd paths, parameters and bodies, by one who may do all; each answer is a document."""
    found, schema = await routes(full)
    for method, path, operation in found:
        if path.startswith("/schema") or is_portal(path) or path.endswith(NOT_TRIED):
            continue
        ids = {
            name: data.draw(st.one_of(st.just(known), st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)))
            for name, known in ((name, full.ids.get(name, "none")) for name in re.findall(r"\{(\w+)\}", path))
        }
        url = re.sub(r"\{(\w+)\}", lambda one, ids=ids: _quoted(ids[one[1]]), path)
        query = {
            one["name"]: data.draw(st.text(st.characters(codec="utf-8"), max_size=20))
            for one in operation.get("parameters", [])
            if one["in"] == "query" and (one.get("required") or data.draw(st.booleans()))
        }
        content = None
        if method == "POST":
            body = data.draw(bodies_for(operation, schema))
            content = json.dumps(body).encode()
        headers = {"content-type": "application/json"} if content is not None else {}
        answer = await full.op.request(method, url, params=query, content=content, headers=headers)
        assert answer.status_code < 500, (method, url, query, content, answer.text)
        if answer.status_code >= 400 and path not in {"/token", "/revoke"}:
            assert answer.headers["content-type"] == "application/problem+json", (method, url, answer.text)
            assert answer.json()["status"] == answer.status_code
    assert (await full.op.get("/health")).status_code == 200


def _quoted(text):
    return quote(text, safe="") if text not in {".", ".."} else "%2E"


BIG = "x" * 2_000_000
BOMBS = [
    ("/things", {"title": BIG, "model": METER}),
    ("/things", {"title": "x", "model": METER, "connection": {"a": BIG}}),
    ("/things", {"title": "x", "model": METER, "devices": [BIG]}),
    ("/products", PRODUCT | {"title": BIG}),
    ("/products", PRODUCT | {"contract": CONTRACT | {"purposes": [BIG]}}),
    ("/products", PRODUCT | {"contract": CONTRACT | {"description": BIG}}),
    ("/incidents", INCIDENT | {"title": BIG}),
    ("/incidents", INCIDENT | {"evidence": BIG}),
    ("/organisations", {"id": "big", "name": BIG}),
    ("/principals", APPLICATION | {"name": BIG}),
    ("/principals", APPLICATION | {"roles": ["operator"] * 300_000}),
    ("/commands", COMMAND | {"key": BIG}),
    ("/commands", COMMAND | {"point": BIG}),
    ("/all-stop?release=true", {"reason": BIG}),
]


@pytest.mark.parametrize(("path", "body"), BOMBS, ids=range(len(BOMBS)))
async def test_megabytes_where_a_word_was_meant_do_not_stop_the_node(full, path, body):
    """The answer is a refusal, and the outbox still moves: the next event gets its receipt."""
    answer = await full.op.post(path, json=body)
    assert answer.status_code in {400, 413} or path.startswith("/all-stop"), (answer.status_code, answer.text[:200])
    assert len(answer.content) < 10_000
    asked = {"product": full.ids["product_id"], "purpose": "b", "until": "2100-01-01T00:00:00Z"}
    grant = (await full.co.post("/grants", json=asked)).json()
    found = await full.co.get("/receipts", params={"subject": grant["id"]})
    assert [event["type"] for event in found.json()] == ["grant.requested"]
