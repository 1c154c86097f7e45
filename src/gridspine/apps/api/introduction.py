"""How strangers find the node: the Thing Description of its directory, at the address that the Web of Things agreed on.

Sources: W3C WoT Discovery, sections "Well-Known URIs", "Things API" and "CoRE Link Format and CoRE Resource Directory"
(RFC 6690, resource type ``wot.directory``), and the working group's Thing Model of a directory, ``directory.tm.json``:
read in its repository, where sections have no numbers. Nothing is said of anybody: not whose node it is, nor what
Things there are.
"""

from typing import Any
from uuid import NAMESPACE_URL, uuid5

from litestar import Request, Response, get

from gridspine import __version__
from gridspine.apps.api.authenticate import PUBLIC, origin
from gridspine.apps.api.dependency import TheNode
from gridspine.things.description import DISCOVERY
from gridspine.things.exposed import LD_JSON, TD_CONTEXT, TD_JSON, TICKET, security

OPENAPI = "application/vnd.oai.openapi+json"
LINK_FORMAT = "application/link-format"
CORE_LINK = '</.well-known/wot>;rt="wot.directory";ct=432'
"""432 is ``application/td+json`` in the registry of CoAP Content-Formats."""
_Json = dict[str, Any]
_ID = {"@type": "ThingID", "title": "Id of the Thing", "type": "string", "format": "iri-reference"}
_TD = {"type": "object", "title": "A Thing Description"}
_BAD = {"contentType": "application/problem+json"}


@get("/.well-known/wot", opt=PUBLIC, media_type=TD_JSON, summary="The directory of Things, described", tags=["things"])
async def introduce(request: Request[Any, Any, Any], node: TheNode) -> Response[_Json]:
    """Return the Thing Description of this node's directory of Things."""
    found = directory_description(origin(request.scope), node.identity.issuer)
    return Response(found, media_type=TD_JSON, headers={"Cache-Control": "max-age=300"})


@get(
    "/.well-known/core", opt=PUBLIC, media_type=LINK_FORMAT, summary="Where the directory is described", tags=["things"]
)
async def introduce_by_link() -> Response[str]:
    """Return the link to the directory's description, in CoRE link format."""
    return Response(CORE_LINK, media_type=LINK_FORMAT, headers={"Cache-Control": "max-age=300"})


def directory_description(base: str, issuer: str) -> _Json:
    """Return the directory as a Thing; ``issuer`` is the name of the node, by which its id stays the same."""
    return {
        "@context": [TD_CONTEXT, DISCOVERY],
        "@type": "ThingDirectory",
        "id": directory_id(issuer),
        "title": "Things of a gridspine node",
        "description": "Whoever may read Things finds their Thing Descriptions here, each with what the caller may do.",
        "base": base,
        "version": {"instance": __version__},
        **security(base),
        "properties": {"things": _things()},
        "actions": _actions(),
        "events": _events(),
        "links": [{"rel": "service-desc", "href": f"{base}/schema/openapi.json", "type": OPENAPI}],
    }


def directory_id(issuer: str) -> str:
    """Return the directory's id: a name-based UUID (RFC 9562 §5.5, in the namespace of URLs) of the node's own name."""
    return f"urn:uuid:{uuid5(NAMESPACE_URL, f'{issuer}/.well-known/wot')}"


def _things() -> _Json:
    number = {"type": "number", "minimum": 0}
    return {
        "description": "The Thing Descriptions of all Things that the caller may read, in the order of their ids.",
        "type": "array",
        "items": {"type": "object"},
        "readOnly": True,
        "uriVariables": {
            "offset": {**number, "title": "How many to leave out", "default": 0},
            "limit": {**number, "title": "How many at most"},
            "format": {"type": "string", "enum": ["array", "collection"], "default": "array"},
        },
        "forms": [
            {
                "href": "/things{?offset,limit,format}",
                "op": ["readproperty"],
                "contentType": LD_JSON,
                "htv:methodName": "GET",
                "additionalResponses": [_BAD],
            }
        ],
    }


def _actions() -> _Json:
    """Return what can be done with Thing Descriptions."""
    one, merge = "/things/{id}", "application/merge-patch+json"
    return {
        "createThing": _action("Put a Thing Description under its id.", "PUT", one, TD_JSON),
        "createAnonymousThing": _action("Register one without an id: it gets one.", "POST", "/things", TD_JSON),
        "retrieveThing": {**_action("Get a Thing Description.", "GET", one), "output": _TD, "safe": True},
        "updateThing": _action("Put another Thing Description under the same id.", "PUT", one, TD_JSON),
        "partiallyUpdateThing": _action("Merge a patch (RFC 7396).", "PATCH", one, merge),
        "deleteThing": _action("Take a Thing out of the directory.", "DELETE", one),
        "searchJSONPath": _search("JSONPath (RFC 9535)", "/search/jsonpath{?query}", "application/json"),
        "searchSPARQL": _search("SPARQL 1.1", "/search/sparql{?query}", "application/json"),
    }


def _search(language: str, href: str, given: str) -> _Json:
    form = {"href": href, "op": ["invokeaction"], "htv:methodName": "GET", "additionalResponses": [_BAD]}
    return {
        "description": f"Search the Thing Descriptions by {language}.", "synchronous": True, "idempotent": True,
        "safe": True, "uriVariables": {"query": {"type": "string"}},
        "forms": [{**form, "response": {"contentType": given}}],
    }  # fmt: skip


def _action(words: str, method: str, href: str, taken: str = "") -> _Json:
    form: _Json = {"href": href, "op": ["invokeaction"], "htv:methodName": method, "additionalResponses": [_BAD]}
    found: _Json = {"description": words, "synchronous": True, "idempotent": method != "POST", "forms": [form]}
    if taken:
        form["contentType"], found["input"] = taken, _TD
    if method == "GET":
        form["response"] = {"contentType": TD_JSON}
    if "{id}" in href:
        found["uriVariables"] = {"id": _ID}
    return found


def _events() -> _Json:
    return {
        name: {
            "description": f"A Thing Description was {past}; with diff=true its data say what of it.",
            "data": {"type": "object", "properties": {"id": {"type": "string"}}},
            "uriVariables": {"diff": {"type": "boolean", "default": False}, "ticket": TICKET},
            "forms": [
                {
                    "href": f"/events/thing_{past}{{?diff,ticket}}",
                    "op": ["subscribeevent", "unsubscribeevent"],
                    "subprotocol": "sse",
                    "contentType": "application/json",
                }
            ],
        }
        for name, past in (("thingCreated", "created"), ("thingUpdated", "updated"), ("thingDeleted", "deleted"))
    }
