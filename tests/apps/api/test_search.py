"""JSONPath over the directory: what is found, who finds it, hostile queries, pages; the index only narrows."""

import json

import pytest
import pytest_asyncio
from running_node import BATTERY, METER, World, settings_for

from gridspine.apps.node.search import OF_THINGS
from gridspine.kernel.errors import Overloaded, TooLarge
from gridspine.things.jsonpath import Asked

CHARGER = "https://gridspine.org/models/ev_charger"
TD = {"content-type": "application/td+json"}
pytestmark = pytest.mark.asyncio(loop_scope="module")


def described(title, **more):
    return {
        "@context": ["https://www.w3.org/2022/wot/td/v1.1", {"saref": "https://saref.etsi.org/core/"}],
        "title": title, "security": "none", "securityDefinitions": {"none": {"scheme": "nosec"}},
        "properties": {"load": {"type": "number", "unit": "W", "forms": [{"href": "http://192.0.2.1/a"}]}}, **more,
    }  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory):
    made = await World.start(tmp_path_factory.mktemp("search") / "data", settings_for())
    for number in range(30):
        await made.thing(f"urn:example:m{number:02d}", METER if number % 2 else BATTERY)
    await made.thing("urn:example:c", CHARGER)
    for title, more in (("Lamp", {"@type": "saref:Lamp", "floor": 3}), ("Fan", {"floor": 4, "rooms": ["a", "b"]})):
        answer = await made.op.post("/things", content=json.dumps(described(title, **more)), headers=TD)
        assert answer.status_code == 201, answer.text
    yield made
    await made.stop()


async def find(world, query, http=None, **more):
    answer = await (http or world.op).get("/search/jsonpath", params={"query": query, **more})
    assert answer.status_code == 200, answer.text
    return answer


async def whole(world, query, http=None, **more):
    """Return all that is found, and how many pages it came in: on a busy machine one may be cut short by its time."""
    answer = await find(world, query, http, **more)
    found, pages = answer.json(), 1
    while link := answer.headers.get("link", ""):
        answer = await (http or world.op).get(link[1 : link.index(">")])
        found, pages = found + answer.json(), pages + 1
    return found, pages


FOUND = [
    ("$[?@.title=='Lamp'].title", ["Lamp"], 1),
    ("$[?@.floor==4].title", ["Fan"], 1),
    ("$[?@.floor].title", ["Lamp", "Fan"], 2),
    ("$[?@['@type']=='saref:Lamp'].floor", [3], 1),
    ("$[?@.rooms[1]=='b'].title", ["Fan"], None),
    ("$[?@.title=='urn:example:m03'].id", ["urn:example:m03"], 1),
    ("$[?@.id=='urn:example:m04'].title", ["urn:example:m04"], 1),
    ("$[?@.properties.connectorState].id", ["urn:example:c"], 1),
    ("$[?@.properties.connectorState && @.title=='nobody'].id", [], 0),
    ("$[?@.properties.currentLimit.maximum >= 32 || @.floor > 3].title", ["urn:example:c", "Fan"], 33),
    ("$[?match(@.title, 'L.mp')].title", ["Lamp"], 33),
    ("$[?search(@.title, 'm0[12]$')].id", ["urn:example:m01", "urn:example:m02"], 33),
    ("$[?count(@.properties.*) == 9].id", ["urn:example:c"], 3),
    ("$..floor", [3, 4], 33),
    ("$[*].rooms[*]", ["a", "b"], 33),
    ("$[?@.floor && !@.rooms].title", ["Lamp"], 2),
]


@pytest.mark.parametrize(("query", "expected", "candidates"), FOUND)
async def test_what_is_found(world, query, expected, candidates):
    answer = await find(world, query)
    assert (await whole(world, query))[0] == expected
    assert candidates is None or int(answer.headers["gridspine-candidates"]) <= candidates


async def test_pages_lead_to_the_end(world):
    found, pages = await whole(world, "$[*].title", limit=10)
    assert (len(found), len(set(found))) == (33, 33)
    assert pages >= 4


async def test_descriptions_of_one_model_differ_only_where_the_search_looks(world):
    """What is asked once a model must not be different from Thing to Thing."""
    accept = {"accept": "application/td+json"}
    one = (await world.op.get("/things/urn:example:m00", headers=accept)).json()
    patch = {"content-type": "application/merge-patch+json"}
    body = {"title": "x", "geo:lat": 1, "geo:long": 2, "gs:adapter": "none"}
    assert (await world.op.patch("/things/urn:example:m02", content=json.dumps(body), headers=patch)).is_success
    other = (await world.op.get("/things/urn:example:m02", headers=accept)).json()
    assert {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)} <= OF_THINGS


async def test_a_change_is_found_at_once(world):
    patch = {"content-type": "application/merge-patch+json"}
    await world.op.patch("/things/urn:example:m09", content=json.dumps({"title": "Nine"}), headers=patch)
    assert (await whole(world, "$[?@.title=='Nine'].id"))[0] == ["urn:example:m09"]
    assert (await whole(world, "$[?@.title=='urn:example:m09'].id"))[0] == []
    await world.op.delete("/things/urn:example:m09")
    assert (await whole(world, "$[?@.title=='Nine'].id"))[0] == []


async def test_each_finds_its_own_only(world):
    assert (await whole(world, "$[*].id", world.co))[0] == []
    assert (await whole(world, "$[?@.id=='urn:example:c']", world.co))[0] == []
    device, http = world.client("northside-networks", "device", kind="device")
    await world.thing("urn:example:dev", METER, devices=[device])
    assert (await whole(world, "$[*].id", http))[0] == ["urn:example:dev"]
    _, consumer = world.client("northside-networks", "consumer")
    assert (await consumer.get("/search/jsonpath", params={"query": "$[*]"})).status_code == 403


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("$[", 400), ("title", 400), ("$", 400), ("$[0]", 400), ("$[0:3]", 400), ("$..*", 400), ("$..[0]", 400),
        ("$[?@.title==$[0].title]", 400), ("$[?" + "(" * 900 + "@.a" + ")" * 900 + "]", 400), ("$[?nope(@.a)]", 400),
        ("$" + ".a" * 40, 400), ("$[*]" + "..[*,*,*,*]" * 4, 413), ("$[?count(@" + "..[*,*,*,*]" * 4 + ")>1]", 413),
        ("$[?match(@.title, '" + "a" * 300 + "')]", 413), ("x" * 3000, 400),
        ("$[?search(@.securityDefinitions.bearer.description, '(.|..)*[0-9]{9}')]", 413),
    ],
)  # fmt: skip
async def test_hostile_queries_are_answered_with_a_problem(world, query, status):
    answer = await world.op.get("/search/jsonpath", params={"query": query})
    assert answer.status_code == status, answer.text[:300]
    assert answer.headers["content-type"] == "application/problem+json"


async def test_many_slow_patterns_are_as_bounded_as_one():
    """Each ends in time by itself, but a description holds thousands of texts to try them on."""
    document = {"title": "x", "texts": [f"{'a' * 19}{at}" for at in range(2_000)]}
    with pytest.raises(TooLarge, match="takes too long"):
        Asked("$[*].texts[?search(@, '^(a|aa)+c')]").ask(document)
    assert Asked("$[*].texts[?search(@, '^a+7$')]").ask(document) == [f"{'a' * 19}7"]


async def test_no_organisation_searches_or_follows_in_the_place_of_all(world):
    held = []
    for one in (world.node.search._asking, world.node.ensembles._shares):
        with pytest.raises(Overloaded, match="your organisation"):
            while True:
                one.check("brightfield", "places")
                held.append((one, one.place("brightfield")))
    query = {"query": "$[?@.title=='none']"}
    refused = await world.co.get("/search/jsonpath", params=query)
    assert (refused.status_code, "your organisation has its share" in refused.text) == (429, True), refused.text
    assert (await world.op.get("/search/jsonpath", params=query)).status_code == 200
    for one, place in held:
        one.leave(place)
    assert (await world.co.get("/search/jsonpath", params=query)).status_code == 200
    assert not any(len(one) for one, _ in held)
