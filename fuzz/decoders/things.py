"""What strangers say of Things, and ask of them: descriptions, models, queries, places, programs, values, files."""

import base64
from collections.abc import Callable

import cbor2
import msgspec
import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from target import Target, target

from gridspine.adapters.wot_http.shared import Listing, by_key, following
from gridspine.adapters.wot_http.wire import Form, decode_value, pick_values
from gridspine.apps.api.interaction import read_number
from gridspine.apps.edge.wire import Report
from gridspine.infra.identity.enrol import read_request
from gridspine.infra.runtime import starlark
from gridspine.infra.sparql import guard
from gridspine.kernel.codecs.pick import Pick, read_answer
from gridspine.kernel.errors import Invalid, TooLarge, UnsupportedMedia
from gridspine.things.control_rule import parse_rule
from gridspine.things.jsonpath import Asked
from gridspine.things.media import MEDIA_TYPES, check_media
from gridspine.things.place import Place
from gridspine.things.td.check import check_description, check_model
from gridspine.things.td.consume import Reachable, consume
from gridspine.things.td.derive import derive
from gridspine.things.td.document import read_document
from gridspine.things.td.merge_patch import difference, patched
from gridspine.things.td.rdf import described_triples
from gridspine.things.td.thing_model import filled
from gridspine.things.thing import Thing

_REFUSED = (Invalid, TooLarge)
_UNREAD = (Invalid, msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What the API answers with 400 where a body is read as a struct."""
_TD = {
    "@context": "https://www.w3.org/2022/wot/td/v1.1",
    "id": "urn:x:a",
    "title": "Meter",
    "securityDefinitions": {"b": {"scheme": "basic", "in": "header", "gs:secret": "s"}, "n": {"scheme": "nosec"}},
    "security": "b",
    "base": "http://127.0.0.1:8080/",
    "properties": {
        "power": {"type": "number", "unit": "W", "minimum": -1e4, "maximum": 1e4, "forms": [{"href": "power"}]},
        "on": {"type": "boolean", "forms": [{"href": "mqtt://127.0.0.1:1883/x", "mqv:topic": "a/on"}]},
        "mode": {"enum": ["off", "heat"], "forms": [{"href": "modbus+tcp://127.0.0.1/1/40001?quantity=2", "op": "readproperty"}]},
    },
    "actions": {"stop": {"input": {"type": "object"}, "forms": [{"href": "stop"}]}},
    "events": {"alarm": {"data": {"type": "string"}, "forms": [{"href": "alarm", "subprotocol": "longpoll"}]}},
}  # fmt: skip
_TM = {
    "@context": "https://www.w3.org/2022/wot/td/v1.1",
    "@type": "tm:ThingModel",
    "id": "urn:x:model",
    "title": "Meter {{NUMBER}}",
    "links": [{"rel": "tm:extends", "href": "urn:x:parent", "type": "application/tm+json"}],
    "properties": {
        "a": {"tm:ref": "urn:x:parent#/properties/p"},
        "b": {"tm:ref": "#/properties/a", "maximum": "{{MOST}}"},
    },
    "tm:optional": ["/properties/a"],
}
_PARENT = {
    "@context": "https://www.w3.org/2022/wot/td/v1.1",
    "@type": "tm:ThingModel",
    "title": "Parent",
    "properties": {"p": {"type": "number", "unit": "kW"}},
}
_REACH = Reachable(("wot_http", "mqtt", "modbus"), ("127.0.0.1", 1883), ("m",))
_TD_WORDS = [
    b'"properties":{', b'"forms":[{', b'"href":"', b'"op":', b'"tm:ref":"#/', b'"scheme":"combo"', b'"oneOf":[', b"{{X}}", b'"@type":', b'"unit":"', b'"enum":[', b"http://[::1", b"null", b"%ff", b'"uriVariables":{',
]  # fmt: skip


def _json(value: object) -> bytes:
    return msgspec.json.encode(value)


def _cut(data: bytes) -> tuple[bytes, bytes]:
    """Return the two parts of an input, which a zero byte divides."""
    first, _, second = data.partition(b"\0")
    return first, second


@target
def thing_description() -> Target:
    """A stranger's description: read, checked, its points, who could serve it, and what of it can be asked for."""
    thing = Thing("urn:x:a", "Meter", "o", "m", "wot_http", {})

    def run(data: bytes) -> tuple[str, ...]:
        document = read_document(data)
        found = check_description(document)
        if found:
            return tuple(sorted({one.description[:16] for one in found}))[:3]
        derived = derive(document)
        used = consume(document, derived.property_of, "m", _REACH)
        described_triples(thing, document).encode()
        return ("taken", used.adapter, str(len(used.reads)), *(left.reason[:20] for left in used.left[:3]))

    old = {**_TD, "@context": "https://www.w3.org/2019/wot/td/v1"}
    seeds = [_json(_TD), _json(old), _json({**_TD, "properties": {}}), b"[" * 60, b'{"a":1,"a":2}']
    return Target("thing-description", "Thing Descriptions", run, _REFUSED, seeds, _TD_WORDS, shape=lambda found: found)


@target
def thing_model() -> Target:
    """A Thing Model, filled in with values."""
    known = {"urn:x:parent": _PARENT, "urn:x:model": _TM}.get

    def run(data: bytes) -> str:
        document = read_document(data)
        found = check_model(document)
        if found:
            return found[0].description[:16]
        made = filled(document, {"NUMBER": 7, "MOST": 9.5}, known, without=("/properties/a",))
        return (
            f"taken {len(check_description(made)) > 0} {len(derive(made).points) if not check_description(made) else 0}"
        )

    around = {**_TM, "properties": {"a": {"tm:ref": "#/properties/b"}, "b": {"tm:ref": "#/properties/a"}}}
    seeds = [_json(_TM), _json(_PARENT), _json(around)]
    return Target("thing-model", "Thing Models", run, _REFUSED, seeds, _TD_WORDS, shape=str)


@target
def merge_patch() -> Target:
    """A description and a patch: what is patched, and the difference that leads there again."""

    def run(data: bytes) -> str:
        before, patch = (read_document(part) for part in _cut(data))
        after = patched(before, patch)
        if patched(before, difference(before, after)) != after:
            raise AssertionError("the difference does not lead to what is different")
        return f"{len(after) < 3} {after == before}"

    seeds = [_json(_TD) + b"\0" + _json({"title": None, "properties": {"power": {"unit": "kW"}}}), b'{"a":{"b":1}}\0{"a":[]}', b'{"a":[null]}\0{"a":{"c":null}}']  # fmt: skip
    return Target(
        "merge-patch", "JSON Merge Patches", run, _REFUSED, seeds, [b"null", b'{"a":', b"\0", b"[]"], shape=str
    )


@target
def jsonpath() -> Target:
    """A query, asked of one description."""

    def run(data: bytes) -> str:
        asked = Asked(data.decode("utf-8", "replace"))
        for conjunct in asked.conjuncts:
            asked.holds(conjunct, _TD)
        return f"{len(asked.conjuncts)} {len(asked.ask(_TD)) > 0}"

    seeds = [
        b"$[?@.title == 'Meter' && @.properties.power].id", b"$[*].properties..unit", b"$..href",
        b"$[?search(@.title, 'M.*r') || !@['x']]", b"$[?count(@.properties.*) > 2 && length(@.title) < 9]['title','id']",
        b"$[?@.properties[?@.unit=='W'] && @.properties.mode.enum[0] == 'off'][1:-1:2]",
    ]  # fmt: skip
    words = [b"..", b"[?", b"@.", b"$", b"(a+)+$", b"match(", b"value(", b"[*]", b"&&", b"1e999", b"\\u0000", b"(" * 20]
    return Target("jsonpath", "JSONPath queries", run, _REFUSED, seeds, words, shape=str)


@target
def sparql() -> Target:
    """What of a query is looked at before a confined process has it."""

    def run(data: bytes) -> str:
        guard.check(data.decode("utf-8", "replace"))
        return "taken"

    seeds = [b"SELECT ?s WHERE { ?s a <urn:x> } LIMIT 5", b'ASK { ?s ?p "a\\u0053ERVICE" FILTER(?s = <x>) } # end', b"SELECT * { SERVICE <http://x> { } }"]  # fmt: skip
    return Target(
        "sparql", "SPARQL queries", run, (Invalid,), seeds, [b"\\u0053", b"FROM", b'"""', b"{" * 30, b"<", b"#"]
    )


@target
def place() -> Target:
    """A box, a circle, a polygon."""
    latitude, longitude = np.array([0.0, 51.5, np.nan, -90.0]), np.array([0.0, -0.1, 3.0, 180.0])

    def run(data: bytes) -> str:
        found = msgspec.json.decode(data, type=Place)
        found.check()
        return str(found.covers(latitude, longitude).tolist())

    square = [[[0, 0], [10, 0], [10, 60], [0, 60], [0, 0]]]
    seeds = [
        _json({"bbox": [-10, -5, 10, 60]}), _json({"circle": {"latitude": 51.5, "longitude": 0, "radiusM": 1e5}}),
        _json({"geometry": {"type": "Polygon", "coordinates": square}}),
        _json({"geometry": {"type": "Feature", "geometry": {"type": "MultiPolygon", "coordinates": [square]}}}),
    ]  # fmt: skip
    words = [b"1e999", b"-180", b'"type":"Polygon"', b"[[", b"null", b"[]", b"180.0001"]
    return Target("place", "places, GeoJSON", run, _UNREAD, seeds, words, shape=str)


@target
def control_rule() -> Target:
    """A rule that is pushed to an edge."""
    body = _json({
        "name": "r", "edge": "e", "organisation": "o", "version": 1, "inputs": ["urn:dev:a/power"], "outputs": ["urn:dev:b/setpoint"], "everyS": 5,
        "leaseS": 60, "maxSteps": 1000, "text": "def run(now, values, state): return {}",
    })  # fmt: skip

    def run(data: bytes) -> str:
        return str(len(parse_rule(data.decode("utf-8", "replace")).things))

    return Target(
        "control-rule", "control rules", run, (Invalid,), [body], [b'"inputs":[', b"1e999", b"urn:", b"/"], shape=str
    )


@target
def program() -> Target:
    """A stranger's Starlark: compiled, its top level run, its function called."""

    def run(data: bytes) -> str:
        made = starlark.compile(data.decode("utf-8", "replace"), max_steps=20_000)
        return type(made.call("run", [1.5, {"a": 2}], max_steps=20_000)).__name__

    seeds = [
        b"def run(now, values):\n    return {k: v * 2 for k, v in values.items()}\n",
        b"X = [i for i in range(9)]\ndef run(a, b):\n    for i in range(10):\n        X\n    return max(X) + len(str(b))\n",
        b"def run(a, b):\n    return run\n",
        b"def run(a, b): return 'x' * 3 + '%s' % a\n",
    ]
    words = [
        b"range(1000000000)",
        b"* 100000",
        b"def run",
        b"lambda",
        b"load(",
        b"[" * 20,
        b"fail(",
        b"\n    ",
        b"struct(",
    ]
    return Target("program", "programs (Starlark)", run, (Invalid,), seeds, words, shape=str)


@target
def property_value() -> Target:
    """A value that is written to a property, and what a property of another's answers."""
    readers: dict[int, Callable[[bytes], float]] = {
        0: lambda body: read_number(body, "application/json"),
        1: lambda body: read_number(body, "application/cbor"),
        2: lambda body: decode_value(body, "application/td+json", {}),
        3: lambda body: decode_value(body, "text/plain", {"on": 1.0, "off": 0.0}),
        4: lambda body: decode_value(body, "text/plain; charset=utf-8", {}),
    }

    def run(data: bytes) -> str:
        value = readers[data[0] % 5 if data else 0](data[1:])
        if value != value or abs(value) == float("inf"):
            raise AssertionError("a value that is not finite was taken")
        return str(value)[:3]

    seeds = [
        b"\x001.5",
        b"\x01" + cbor2.dumps(1.5),
        b"\x02true",
        b"\x03on",
        b"\x04 17.25 ",
        b"\x01" + cbor2.dumps(10**30),
    ]
    words = [b"1e999", b"NaN", b"\xf9\x7e\x00", b"\x9f", b"\xc2\x49", b"\xd8\x1c", b"9" * 400, b"-"]
    return Target("property-value", "values of properties", run, (*_REFUSED, UnsupportedMedia), seeds, words, shape=str)


@target
def listing() -> Target:
    """A page of a vendor's cloud: the devices it lists, by their keys, and where the next page is."""
    asked = Listing("/systems", "/id", "/next")

    def run(data: bytes) -> int:
        document = read_answer(data)
        found = by_key(document, asked)
        following(document, asked, "https://vendor.example/systems")
        pick_values(next(iter(found.values()), None), {"p": Form("https://vendor.example/", pick=Pick(("/w",)))})
        return min(len(found), 9)

    seeds = [
        b'{"systems":[{"id":1,"w":2.5},{"id":"b","w":-1}],"next":"/systems?page=2"}',
        b'{"systems":[{"id":true},{"w":1},[],null],"next":null}',
        b'{"systems":{"id":1}}',
        b'{"systems":[],"next":["x"]}',
    ]
    words = [b'"id":', b'"systems":', b'"next":', b"1e999", b"[[[[", b"null", b'"//x"', b'"http://[::1"']
    return Target("listing", "pages of vendors' clouds", run, _REFUSED, seeds, words, shape=int)


@target
def enrolment_request() -> Target:
    """A device's request for a certificate, by EST."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "device")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    seeds = [base64.encodebytes(request.public_bytes(Encoding.DER)), request.public_bytes(Encoding.PEM)]

    def run(data: bytes) -> str:
        return str(len(read_request(data)[1]))

    return Target(
        "enrolment-request", "enrolment requests (EST)", run, (Invalid,), seeds, [b"MII", b"==", b"-----BEGIN"]
    )


@target
def edge_report() -> Target:
    """What an edge says of itself."""

    def run(data: bytes) -> str:
        return type(msgspec.json.decode(data, type=Report)).__name__

    return Target("edge-report", "reports of edges", run, _UNREAD, [_json(Report(1, {"urn:x:a": "1"}))],
                  [b'"progress":[{', b"null", b"1e999", b"[" * 30])  # fmt: skip


@target
def attachment() -> Target:
    """A file that is attached: whether it is what it is called."""
    kinds = sorted(MEDIA_TYPES)

    def run(data: bytes) -> str:
        return check_media(kinds[data[0] % len(kinds)] if data else "", data[1:])

    heads = [b"%PDF-1.7\n", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"hello", b'{"a":1}', b"a,b\n1,2\n"]
    seeds = [bytes([at]) + head for at in range(len(kinds)) for head in heads]
    words = [b"<script>", b"<!DOCTYPE", b"-----BEGIN PRIVATE KEY-----", b"\x00", b"\xff\xfe"]
    return Target("attachment", "attached files", run, (Invalid, UnsupportedMedia), seeds, words, shape=str)
