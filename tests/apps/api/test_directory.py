"""The directory of Things by the assertions of W3C WoT Discovery (Recommendation of 5 December 2023).

Each test names the assertions (their identifiers in that document) that it holds the node to.
"""

import asyncio
import json
import re
import uuid

import pytest
import pytest_asyncio
from running_node import METER, World, settings_for

from gridspine.kernel.time import parse_rfc3339
from gridspine.things.td import check_description

pytestmark = pytest.mark.asyncio(loop_scope="module")
TD = {"content-type": "application/td+json"}
PATCH = {"content-type": "application/merge-patch+json"}


def td(**more):
    """Return a Thing Description with a property of each kind that gives a point, and one that gives none."""
    form = {"href": "http://192.0.2.7/status"}
    return {
        "@context": ["https://www.w3.org/2022/wot/td/v1.1", {"x": "https://example.com/x#"}],
        "title": "Heat pump",
        "x:colour": "green",
        "securityDefinitions": {"none": {"scheme": "nosec"}},
        "security": "none",
        "properties": {
            "power": {"type": "number", "unit": "kW", "minimum": 0, "maximum": 9, "readOnly": True, "forms": [form]},
            "running": {"type": "boolean", "forms": [form]},
            "share": {"type": "number", "unit": "%", "forms": [form]},
            "name": {"type": "string", "forms": [form]},
        },
        "actions": {"defrost": {"forms": [{"href": "http://192.0.2.7/defrost"}]}},
        **more,
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory):
    made = await World.start(tmp_path_factory.mktemp("directory") / "data", settings_for())
    yield made
    await made.stop()


async def put(world, id_, **more):
    return await world.op.put(f"/things/{id_}", content=json.dumps(td(id=id_, **more)), headers=TD)


def plain(document):
    """Return a retrieved Thing Description without what the directory adds."""
    kept = {name: value for name, value in document.items() if name != "registration"}
    kept["@context"] = [one for one in kept["@context"] if one != "https://www.w3.org/2022/wot/discovery"]
    return kept


async def test_an_anonymous_description_gets_an_id_and_comes_back_whole(world):
    """tdd-things-create-anonymous-td, -id, -td-resp; tdd-anonymous-td-identifier, -local-uuid; tdd-things-retrieve,
    -resp, -resp-content-type; tdd-context-injection; tdd-absolute-time; tdd-things-default-representation."""
    answer = await world.op.post("/things", content=json.dumps(td()), headers=TD)
    assert answer.status_code == 201, answer.text
    id_ = answer.json()["id"]
    assert uuid.UUID(id_).version == 4
    assert answer.headers["location"] == f"/things/{id_}"
    for accept in ({}, {"accept": "*/*"}, {"accept": "application/td+json"}, {"accept": "application/json"}):
        got = await world.op.get(answer.headers["location"], headers=accept)
        assert got.status_code == 200
        wanted = accept.get("accept", "").replace("*/*", "") or "application/json"
        assert got.headers["content-type"].partition(";")[0] == wanted
    document = got.json()
    assert plain(document) == td(id=id_)
    assert "https://www.w3.org/2022/wot/discovery" in document["@context"]
    assert set(document["registration"]) == {"created", "modified", "retrieved"}
    for moment in document["registration"].values():
        assert parse_rfc3339(moment) > 0
    assert check_description(document) == []


async def test_an_anonymous_description_is_found_by_its_id_wherever_it_is_shown(world):
    """tdd-anonymous-td-identifier: by retrieval, in the list, by search."""
    answer = await world.op.post("/things", content=json.dumps(td(title="Nobody's")), headers=TD)
    id_ = answer.json()["id"]
    assert (await world.op.get(f"/things/{id_}")).json()["id"] == id_
    assert [one["id"] for one in (await world.op.get("/things")).json() if one["title"] == "Nobody's"] == [id_]
    found = await world.op.get("/search/jsonpath", params={"query": '$[?@.title=="Nobody\'s"]'})
    assert [one["id"] for one in found.json()] == [id_]
    found = await world.op.get("/search/sparql", params={"query": 'SELECT ?t { ?t td:title "Nobody\'s" }'})
    assert [row["t"]["value"] for row in found.json()["results"]["bindings"]] == [id_]


async def test_what_is_not_had_is_said(world):
    """tdd-http-unsupported-feature."""
    for method, path, status in (
        ("GET", "/search/xpath?query=/", 404), ("GET", "/things?sort_by=title", 400), ("PATCH", "/things", 405),
        ("DELETE", "/things", 405), ("PUT", "/search/jsonpath?query=$[*]", 405),
    ):  # fmt: skip
        answer = await world.op.request(method, path)
        assert answer.status_code == status, (method, path)
        assert answer.headers["content-type"] == "application/problem+json"


async def test_known_and_anonymous_descriptions_are_handled_differently(world):
    """tdd-things-create-known-vs-anonymous, -known-td, -known-td-resp; tdd-things-update, -resp."""
    answer = await world.op.post("/things", content=json.dumps(td(id="urn:example:k1")), headers=TD)
    assert answer.status_code == 400
    assert answer.json()["validationErrors"][0]["field"] == "id"
    assert (await put(world, "urn:example:k1")).status_code == 201
    answer = await put(world, "urn:example:k1", title="Renamed")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await world.op.get("/things/urn:example:k1")).json()["title"] == "Renamed"
    other = await world.op.put("/things/urn:example:k2", content=json.dumps(td(id="urn:example:K2")), headers=TD)
    assert other.status_code == 400, "ids are compared exactly"
    assert (await world.op.put("/things/urn:example:k2", content=json.dumps(td()), headers=TD)).status_code == 400


async def test_a_part_is_changed_by_a_merge_patch(world):
    """tdd-things-update-partial, -mergepatch, -contenttype, -partialtd, -resp."""
    id_ = "urn:example:p1"
    await put(world, id_)
    body = {
        "title": "Patched",
        "x:colour": None,
        "properties": {"share": None, "power": {"unit": "W"}},
        "support": "x:y",
    }
    for wrong in (TD, {"content-type": "application/json"}):
        assert (await world.op.patch(f"/things/{id_}", content=json.dumps(body), headers=wrong)).status_code == 415
    answer = await world.op.patch(f"/things/{id_}", content=json.dumps(body), headers=PATCH)
    assert (answer.status_code, answer.content) == (204, b""), answer.text
    found = (await world.op.get(f"/things/{id_}")).json()
    assert (found["title"], found["support"], found["properties"]["power"]["unit"]) == ("Patched", "x:y", "W")
    assert "share" not in found["properties"]
    assert "x:colour" not in found
    assert [one["name"] for one in (await world.op.get(f"/things/{id_}/properties")).json()] == ["power", "running"]
    for wrong_patch in ({"title": None}, {"properties": {"power": {"type": 7}}}, {"id": "urn:example:p2"}, []):
        answer = await world.op.patch(f"/things/{id_}", content=json.dumps(wrong_patch), headers=PATCH)
        assert answer.status_code == 400, wrong_patch
        assert answer.json()["validationErrors"]
    assert plain((await world.op.get(f"/things/{id_}")).json()) == plain(found), "nothing is half applied"
    assert (await world.op.patch("/things/urn:none", content="{}", headers=PATCH)).status_code == 403


async def test_what_is_deleted_is_gone_and_may_come_again(world):
    """tdd-things-delete, -resp."""
    id_ = "urn:example:d1"
    await put(world, id_)
    assert (await world.send(f"{id_}/power", [5.0]))["accepted"] == 1
    answer = await world.op.delete(f"/things/{id_}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await world.op.get(f"/things/{id_}")).status_code == 404
    assert (await world.op.get(f"/things/{id_}/properties/power")).status_code == 404
    assert (await world.op.delete(f"/things/{id_}")).status_code in {403, 404}
    assert id_ not in [one["id"] for one in (await world.op.get("/things")).json()]
    assert (await world.send(f"{id_}/power", [6.0]))["refused"] == 1
    assert (await put(world, id_)).status_code == 201
    assert (await world.send(f"{id_}/power", [7.0], begin_s=1_700_000_500))["accepted"] == 1


async def test_the_list_is_paged_and_sorted_by_code_points(world):
    """tdd-things-list-only, -method, -resp, -resp-content-type, -pagination, -limit, -header-nextlink, -nextlink-attr,
    -nextlink-base, -canonicallink, -order-default, -order-utf-8, -order-unsupported, -collection."""
    for name in ("l~", "lZ", "la", "l1", "l_"):
        name = name.replace("~", ";")
        assert (await put(world, f"urn:example:{name}")).status_code in {201, 204}
    await world.thing("urn:example:lM")
    everything = await world.op.get("/things")
    assert everything.status_code == 200
    for accept in ("application/json", "application/ld+json"):
        typed = await world.op.get("/things?limit=1", headers={"accept": accept})
        assert typed.headers["content-type"].partition(";")[0] == accept
    ids = [one["id"] for one in everything.json()]
    assert ids == sorted(ids)
    assert 'rel="next"' not in everything.headers["link"]
    found, target, etags = [], "/things?limit=2", set()
    while target:
        page = await world.op.get(target)
        part = page.json()
        assert 0 < len(part) <= 2
        found += [one["id"] for one in part]
        link = page.headers["link"]
        assert re.search(r'</things>; rel="canonical"; etag="([^"]+)"', link)
        etags.add(re.search(r'etag="([^"]+)"', link)[1])
        following = re.search(r'<(/things\?[^>]*)>; rel="next"', link)
        target = following[1] if following else ""
        assert not target or ("limit=2" in target and f"offset={len(found)}" in target)
    assert (found, len(etags)) == (ids, 1)
    collection = (await world.op.get("/things", params={"limit": 2, "offset": 1, "format": "collection"})).json()
    assert (collection["@type"], collection["total"]) == ("ThingCollection", len(ids))
    assert [one["id"] for one in collection["members"]] == ids[1:3]
    assert collection["next"] == "/things?offset=3&limit=2&format=collection"
    await put(world, "urn:example:lnew")
    assert re.search(r'etag="([^"]+)"', (await world.op.get("/things?limit=2")).headers["link"])[1] not in etags
    for wrong in ({"sort_by": "title"}, {"sort_order": "desc"}, {"limit": 0}, {"offset": -1}, {"format": "tree"}):
        assert (await world.op.get("/things", params=wrong)).status_code == 400, wrong
    for document in everything.json():
        assert check_description(document) == [], document["id"]


async def test_head_gives_the_headers_of_get(world):
    """tdd-http-head, exploration-server-http-head."""
    await put(world, "urn:example:h1")
    one = "/things/urn:example:h1"
    streams = ["/events", *(f"/events/thing_{past}" for past in ("created", "updated", "deleted"))]
    read = ["/things", "/things?limit=1", one, f"{one}/properties", "/.well-known/wot", "/.well-known/core",
            "/search/jsonpath?query=$[*].id", "/search/sparql?query=ASK%20{}"]  # fmt: skip
    for path in streams + read:
        answer = await world.op.head(path)
        assert (answer.status_code, answer.content) == (200, b""), path
        if path in read:
            got = await world.op.get(path)
            for name in ("content-type", "content-length", "etag", "link"):
                assert answer.headers.get(name) == got.headers.get(name), (path, name)
    assert (await world.nobody.head("/things")).status_code == 401
    assert (await world.op.head("/things/urn:none")).status_code == 403


async def test_errors_are_problem_details(world):
    """tdd-http-error-response, -utf-8; tdd-validation-result, -response, -response-utf-8; exploration-secboot-401."""
    wrong = td(properties={"power": {"type": "number", "forms": [{"href": 7}]}})
    wrong.pop("security")
    answers = [
        await world.op.post("/things", content=json.dumps(wrong), headers=TD),
        await world.op.post("/things", content="{", headers=TD),
        await world.op.get("/things/urn:none"),
        await world.op.post("/things", content="{}", headers={"content-type": "text/turtle"}),
        await world.nobody.get("/things"),
        await world.op.get("/things", headers={"accept": "text/turtle"}),
    ]
    assert [one.status_code for one in answers] == [400, 400, 403, 415, 401, 406]
    for answer in answers:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.content.decode("utf-8")
        assert {"title", "status", "detail"} <= set(answer.json())
    fields = {one["field"] for one in answers[0].json()["validationErrors"]}
    assert "properties.power.forms.0.href" in fields
    assert all(set(one) == {"field", "description"} for one in answers[0].json()["validationErrors"])
    assert "WWW-Authenticate" in answers[4].headers


async def test_a_change_can_be_bound_to_a_version(world):
    id_ = "urn:example:v1"
    tag = (await put(world, id_)).headers["etag"]
    assert (await world.op.get(f"/things/{id_}")).headers["etag"] == tag
    assert (await world.op.get(f"/things/{id_}", headers={"if-none-match": tag})).status_code == 304
    body = json.dumps(td(id=id_, title="Two"))
    answer = await world.op.put(f"/things/{id_}", content=body, headers=TD | {"if-match": tag})
    assert answer.status_code == 204
    assert answer.headers["etag"] != tag
    for method, headers in (("PUT", TD), ("PATCH", PATCH), ("DELETE", {})):
        stale = await world.op.request(method, f"/things/{id_}", content="{}", headers=headers | {"if-match": tag})
        assert stale.status_code in {400, 412}, method
        if method != "PUT":
            assert stale.json()["type"].endswith("precondition-failed")
    new = await world.op.put("/things/urn:example:v2", content=body, headers=TD | {"if-match": '"1"'})
    assert new.status_code == 412


async def test_no_tag_stands_for_what_two_callers_see(world):
    """RFC 9110 §8.8.1: a strong tag is of one representation."""
    id_ = "urn:example:tagged"
    await world.thing(id_)
    _, reader = world.client("northside-networks", "auditor")
    path = f"/things/{id_}"
    theirs, ours = await reader.get(path), await world.op.get(path)
    assert theirs.json()["registration"] and theirs.status_code == 200
    tags = {theirs.headers["etag"], ours.headers["etag"]}
    for more in ({"params": {"forms": "node"}}, {"headers": {"accept": "application/td+json"}}):
        tags.add((await world.op.get(path, **more)).headers["etag"])
    assert len(tags) == 4
    assert (await reader.get(path, headers={"if-none-match": ours.headers["etag"]})).status_code == 200
    assert (await world.op.get(path, headers={"if-none-match": ours.headers["etag"]})).status_code == 304
    lists = [(await one.get("/things?limit=1")).headers["link"] for one in (reader, world.op)]
    assert len({re.search(r'etag="([^"]+)"', link)[1] for link in lists}) == 2


async def test_a_registration_ends_when_its_time_is_over(world):
    """Registration information: expires, ttl; tdd-registrationinfo-expiry-purge."""
    id_ = "urn:example:t1"
    await put(
        world, id_, registration={"ttl": 3600, "expires": "2030-01-01T00:00:00Z", "created": "1999-01-01T00:00:00Z"}
    )
    said = (await world.op.get(f"/things/{id_}")).json()["registration"]
    assert said["ttl"] == 3600
    assert parse_rfc3339(said["expires"]) - parse_rfc3339(said["modified"]) == pytest.approx(3600e6, abs=2e6)
    assert said["created"] > "2020"
    await asyncio.sleep(0.002)
    assert (await world.op.patch(f"/things/{id_}", content="{}", headers=PATCH)).status_code == 204
    assert (await world.op.get(f"/things/{id_}")).json()["registration"]["expires"] > said["expires"]
    fixed = {"registration": {"ttl": None, "expires": "2100-01-01T00:00:00Z"}}
    await world.op.patch(f"/things/{id_}", content=json.dumps(fixed), headers=PATCH)
    said = (await world.op.get(f"/things/{id_}")).json()["registration"]
    assert (said["expires"], "ttl" in said) == ("2100-01-01T00:00:00Z", False)
    for wrong in ({"ttl": 0}, {"ttl": "7"}, {"ttl": True}, {"ttl": 1e300}, {"expires": "2001-01-01T00:00:00Z"},
                  {"expires": "soon"}, [], {"expires": "2100-01-01T00:00:00"}):  # fmt: skip
        assert (await put(world, id_, registration=wrong)).status_code == 400, wrong
    await put(world, id_, registration={"ttl": 0.05})
    for _ in range(100):
        if (await world.op.get(f"/things/{id_}")).status_code == 404:
            break
        await asyncio.sleep(0.1)
    assert world.node.things.get(id_).retired


async def test_who_may_not_command_sees_nothing_to_command_with(world):
    """A description is trimmed to what its reader may do; others are told nothing, and may change nothing."""
    id_ = "urn:example:s1"
    await put(world, id_)
    _, auditor = world.client("northside-networks", "auditor")
    whole, part = (await world.op.get(f"/things/{id_}")).json(), (await auditor.get(f"/things/{id_}")).json()
    assert "defrost" in whole["actions"]
    assert "actions" not in part
    assert part["properties"]["running"]["readOnly"] is True
    assert part["properties"]["running"]["forms"][0]["op"] == ["readproperty"]
    assert check_description(part) == []
    for client, status in ((auditor, 403), (world.co, 403), (world.nobody, 401)):
        for method, headers in (("PUT", TD), ("PATCH", PATCH), ("DELETE", {})):
            content = json.dumps(td(id=id_, title="Mine"))
            answer = await client.request(method, f"/things/{id_}", content=content, headers=headers)
            assert answer.status_code == status, (method, answer.text)
    assert (await world.op.get(f"/things/{id_}")).json()["title"] == "Heat pump"
    assert id_ not in (await world.co.get("/things")).text
    assert (await world.co.get(f"/things/{id_}")).status_code == 403


async def test_a_thing_of_ours_is_described_by_its_model_and_can_be_changed(world):
    id_ = await world.thing("urn:example:o1")
    first = (await world.op.get(f"/things/{id_}")).json()
    assert check_description(first) == []
    pure = (await world.op.get(f"/things/{id_}", headers={"accept": "application/td+json"})).json()
    assert set(first) - set(pure) == {"organisation", "model", "adapter", "points"}, "as clients knew it before"
    compact = {"accept": "application/vnd.gridspine.thing+json"}
    assert (await world.op.get(f"/things/{id_}", headers=compact)).json()["model"] == METER
    patch = {
        "title": "Mains",
        "geo:lat": 48.2,
        "geo:long": 16.4,
        "gs:devices": [world.op_id],
        "gs:connection": {"a": 1},
    }
    answer = await world.op.patch(f"/things/{id_}", content=json.dumps(patch), headers=PATCH)
    assert answer.status_code == 204, answer.text
    changed = (await world.op.get(f"/things/{id_}")).json()
    assert (changed["title"], changed["geo:lat"], changed["geo:long"]) == ("Mains", 48.2, 16.4)
    thing = world.node.things.get(id_)
    assert (thing.devices, thing.connection, thing.location) == ((world.op_id,), {"a": 1}, (48.2, 16.4))
    for wrong in ({"properties": {}}, {"gs:devices": "x"}, {"geo:lat": "north"}, {"geo:lat": 99},
                  {"gs:model": "urn:none"}, {"gs:model": None}, {"title": 7}):  # fmt: skip
        answer = await world.op.patch(f"/things/{id_}", content=json.dumps(wrong), headers=PATCH)
        assert answer.status_code == 400, wrong
    assert world.node.things.get(id_) == thing


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"[" * 10_000 + b"]" * 10_000, "(root)"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "(root)"),
        (b"[]", "(root)"),
        (json.dumps(td(base="http://u:p@h/")).encode(), "base"),
        (json.dumps(td(securityDefinitions={"none": {"scheme": "basic", "password": "hunter2"}})).encode(),
         "securityDefinitions.none.password"),
        (json.dumps(td(security="other")).encode(), "security"),
        (b'{"title": "a", "title": "b"}', "title"),
        (json.dumps(td(**{"@type": "tm:ThingModel"})).encode(), "@type"),
        (json.dumps(td(**{"@context": "http://evil.example/context"})).encode(), "@context"),
    ],
)  # fmt: skip
async def test_bad_descriptions_are_refused_where_they_are_bad(world, body, field):
    before = len(world.node.things.roll)
    answer = await world.op.post("/things", content=body, headers=TD)
    assert answer.status_code == 400, answer.text
    assert field in [one["field"] for one in answer.json()["validationErrors"]]
    assert "hunter2" not in answer.text
    assert len(world.node.things.roll) == before


async def test_a_description_of_ten_megabytes_is_too_large(world):
    answer = await world.op.post("/things", content=json.dumps(td(description="x" * 10_000_000)), headers=TD)
    assert answer.status_code == 413
    answer = await world.op.post("/things", content=json.dumps(td(description="x" * 300_000)), headers=TD)
    assert answer.status_code == 413
