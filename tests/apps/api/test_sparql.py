"""SPARQL over the directory: what is found, in which forms, whose; and what leads out of it is refused."""

import asyncio
import json
from pathlib import Path

import pytest
import pytest_asyncio
import rdflib
from running_node import BATTERY, METER, World, settings_for

TD = {"content-type": "application/td+json"}
ID = "urn:example:lamp"
LAMP = {
    "@context": ["https://www.w3.org/2022/wot/td/v1.1", {"saref": "https://saref.etsi.org/core/", "x": "urn:x#"}],
    "@type": "saref:Lamp", "id": ID, "title": 'A "lamp" \\ ü', "x:floor": 3, "unknown": 1,
    "security": "none", "securityDefinitions": {"none": {"scheme": "nosec"}},
    "properties": {"load": {"type": "number", "unit": "W", "readOnly": True, "forms": [{"href": "http://192.0.2.1/a"}]}},
}  # fmt: skip
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory):
    made = await World.start(tmp_path_factory.mktemp("sparql") / "data", settings_for())
    for number in range(5):
        await made.thing(f"urn:example:m{number}", METER if number else BATTERY)
    answer = await made.op.put(f"/things/{ID}", content=json.dumps(LAMP), headers=TD)
    assert answer.status_code == 201, answer.text
    yield made
    await made.stop()


async def ask(world, query, http=None, **headers):
    answer = await (http or world.op).get("/search/sparql", params={"query": query}, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["gridspine-behind"] == "0"
    return answer


async def select(world, query, http=None):
    found = (await ask(world, query, http)).json()["results"]["bindings"]
    return sorted(tuple(value["value"] for value in row.values()) for row in found)


async def test_things_of_models_and_of_descriptions(world):
    """tdd-search-sparql-version, tdd-search-sparql-method-get."""
    assert await select(world, 'SELECT ?t { ?t td:hasPropertyAffordance [ td:name "stateOfCharge" ] }') == [
        ("urn:example:m0",)
    ]
    watts = "SELECT DISTINCT ?t { ?t a td:Thing ; td:hasPropertyAffordance [ schema:unitCode jsonschema:W ] }"
    assert len(await select(world, watts)) == 6
    lamps = "SELECT ?title ?f { ?t a <https://saref.etsi.org/core/Lamp> ; td:title ?title ; <urn:x#floor> ?f }"
    assert await select(world, lamps) == [('A "lamp" \\ ü', "3")]
    forms = "SELECT ?h { ?t td:hasPropertyAffordance/td:hasForm/hctl:hasTarget ?h }"
    assert await select(world, forms) == [("http://192.0.2.1/a",)]
    count = "SELECT ?m (COUNT(?t) AS ?n) { ?t gs:model ?m } GROUP BY ?m"
    assert (METER, "4") in await select(world, count)


async def test_every_form_of_answer(world):
    assert (await ask(world, "ASK { ?t a td:Thing }")).json()["boolean"] is True
    csv = await ask(world, "SELECT ?t { ?t td:title 'urn:example:m1' }", accept="text/csv")
    assert (csv.text.split(), csv.headers["content-type"]) == (["t", "urn:example:m1"], "text/csv; charset=utf-8")
    xml = await ask(world, "ASK {}", accept="application/sparql-results+xml")
    assert b"<boolean>true</boolean>" in xml.content
    turtle = await ask(world, f"DESCRIBE <{ID}>", accept="text/turtle")
    graph = rdflib.Graph().parse(data=turtle.text, format="turtle")
    assert str(graph.value(rdflib.URIRef(ID), rdflib.URIRef("https://www.w3.org/2019/wot/td#title"))) == LAMP["title"]
    made = await ask(
        world, "CONSTRUCT { ?t td:title ?n } WHERE { ?t a td:Thing ; td:title ?n }", accept="application/n-triples"
    )
    assert len(rdflib.Graph().parse(data=made.text, format="nt")) == 6
    answer = await world.op.get("/search/sparql", params={"query": "ASK {}"}, headers={"accept": "image/png"})
    assert answer.status_code == 406


@pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")  # rdflib's own parser
async def test_the_form_that_nobody_asked_for(world):
    """tdd-search-sparql-resp-select-ask, tdd-search-sparql-resp-describe-construct."""
    for query in ("SELECT ?t { ?t a td:Thing }", "ASK {}"):
        answer = await ask(world, query)
        assert answer.headers["content-type"] == "application/json"
        assert set(answer.json()) <= {"head", "results", "boolean"}
    for query in (f"DESCRIBE <{ID}>", "CONSTRUCT { ?t td:title ?n } WHERE { ?t td:title ?n }"):
        answer = await ask(world, query)
        assert answer.headers["content-type"] == "application/ld+json"
        assert len(rdflib.Graph().parse(data=answer.text, format="json-ld")) > 0


async def test_by_post(world):
    """tdd-search-sparql-method-post."""
    query = "ASK { ?t a td:Thing }"
    for content, media in (
        (query, "application/sparql-query"),
        (f"query={query}", "application/x-www-form-urlencoded"),
    ):
        answer = await world.op.post("/search/sparql", content=content, headers={"content-type": media})
        assert (answer.status_code, answer.json()["boolean"]) == (200, True)
    answer = await world.op.post("/search/sparql", content=query, headers={"content-type": "text/plain"})
    assert answer.status_code == 415


async def test_changes_are_known_at_once(world):
    await world.thing("urn:example:new", METER)
    title = "SELECT ?n { <urn:example:new> td:title ?n }"
    assert await select(world, title) == [("urn:example:new",)]
    patch = {"content-type": "application/merge-patch+json"}
    body = {"title": "Other", "geo:lat": 52.0, "geo:long": 5.0}
    await world.op.patch("/things/urn:example:new", content=json.dumps(body), headers=patch)
    assert await select(world, title) == [("Other",)]
    assert await select(world, "SELECT ?t { ?t geo:lat ?l FILTER(?l > 51) }") == [("urn:example:new",)]
    await world.op.delete("/things/urn:example:new")
    assert await select(world, title) == []


async def test_a_description_that_changed_leaves_nothing_behind(world):
    other = {**LAMP, "properties": {"other": {**LAMP["properties"]["load"], "unit": "V"}}, "x:floor": 4}
    assert (await world.op.put(f"/things/{ID}", content=json.dumps(other), headers=TD)).status_code == 204
    said = await select(world, f"SELECT ?p ?o {{ ?s ?p ?o FILTER(STRSTARTS(STR(?s), '{ID}#')) }}")
    assert not any("load" in str(row) for row in said)
    assert await select(world, f"SELECT ?f {{ <{ID}> <urn:x#floor> ?f }}") == [("4",)]


async def test_each_asks_its_own_only(world):
    assert await select(world, "SELECT ?t { ?t a td:Thing }", world.co) == []
    device, http = world.client("northside-networks", "device", kind="device")
    await world.thing("urn:example:dev", METER, devices=[device])
    assert await select(world, "SELECT ?t { ?t a td:Thing }", http) == [("urn:example:dev",)]
    _, consumer = world.client("northside-networks", "consumer")
    assert (await consumer.get("/search/sparql", params={"query": "ASK {}"})).status_code == 403


@pytest.mark.parametrize(
    "query",
    [
        "SELECT ?s { SERVICE <http://192.0.2.1/> { ?s ?p ?o } }", "ASK { SERVICE SILENT <http://192.0.2.1/> {} }",
        "ASK { \\u0053ERVICE <http://192.0.2.1/> {} }", "SELECT ?s FROM <file:///etc/passwd> { ?s ?p ?o }",
        "SELECT ?s FROM NAMED <urn:x> { ?s ?p ?o }", "INSERT DATA { <urn:a> <urn:b> <urn:c> }", "DROP ALL",
        "LOAD <file:///etc/passwd>", "SELECT", "{", "SELECT ?x { " + "{" * 200 + "}" * 200 + " }",
    ],
)  # fmt: skip
async def test_what_leads_out_is_refused(world, query):
    """tdd-search-sparql-error; and tdd-search-sparql-federation is not had: it would lead out of the node."""
    answer = await world.op.get("/search/sparql", params={"query": query})
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_words_in_texts_and_names_are_no_clauses(world):
    await ask(world, "SELECT ?service { ?service td:title 'FROM <x> SERVICE' . FILTER(?from != 1) # SERVICE\n }")


async def test_a_query_that_takes_too_long_is_ended_and_the_next_one_answered(world):
    long = "SELECT (COUNT(*) AS ?n) { " + " ".join(f"?a{i} ?b{i} ?c{i} ." for i in range(8)) + " }"
    answer = await world.op.get("/search/sparql", params={"query": long})
    assert (answer.status_code, answer.json()["reason"]) == (413, "time")
    assert (await ask(world, "ASK { ?t a td:Thing }")).json()["boolean"] is True


async def test_whoever_leaves_while_it_is_asked_leaves_a_whole_dataset(world):
    """A request that is given up must not empty what the next one is answered from."""
    numbers, node = world.node.points.owned("northside-networks"), world.node
    for turns in range(1, 12):
        key, query = ("northside-networks", "left", turns % 3), "SELECT (COUNT(?t) AS ?n) { ?t a td:Thing }"
        asking = asyncio.ensure_future(node.sparql.ask(key, numbers, query, ["*/*"], command=True))
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        answered = await node.sparql.ask(key, numbers, query, ["text/csv"], command=True)
        assert answered.answer.body.split()[1] == str(len(numbers)).encode()


async def test_every_published_query_is_answered(world):
    published = json.loads((Path(__file__).parents[3] / "benchmarks" / "queries.json").read_text())
    for path in ("jsonpath", "sparql"):
        for one in published[path]:
            answer = await world.op.get(f"/search/{path}", params={"query": one["query"]})
            assert answer.status_code == 200, (one["name"], answer.text[:300])


async def test_other_datasets_and_updates_are_refused(world):
    for name in ("default-graph-uri", "update"):
        answer = await world.op.get("/search/sparql", params={"query": "ASK {}", name: "urn:x"})
        assert answer.status_code == 400
