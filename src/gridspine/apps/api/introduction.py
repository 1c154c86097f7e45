"""How strangers find the node: the Thing Description of its directory, at the address that the Web of Things agreed on.

Sources: W3C WoT Discovery (Recommendation of 5 December 2023), §6.4 Well-Known URIs and §7.2.1 Things API (directory
as a Thing; its model in appendix A was read in the working group's repository, ``directory.tm.json``). It says nothing
of anybody: not whose node it is, nor what Things there are.
"""

from typing import Any
from uuid import NAMESPACE_URL, uuid5

import msgspec
from litestar import Request, Response, get

from gridspine import __version__
from gridspine.apps.api.authenticate import PUBLIC, origin
from gridspine.apps.api.dependency import TheNode
from gridspine.things.exposed import LD_JSON, TD_CONTEXT, TD_JSON, security

DISCOVERY_CONTEXT = "https://www.w3.org/2022/wot/discovery"
OPENAPI = "application/vnd.oai.openapi+json"
_Json = dict[str, Any]
_ID = {"@type": "ThingID", "title": "Id of the Thing", "type": "string", "format": "iri-reference"}
_BAD = {"contentType": "application/problem+json"}


@get("/.well-known/wot", opt=PUBLIC, media_type=TD_JSON, summary="The directory of Things, described", tags=["things"])
async def introduce(request: Request[Any, Any, Any], node: TheNode) -> Response[bytes]:
    """Return the Thing Description of this node's directory of Things."""
    body = msgspec.json.encode(directory_description(origin(request.scope), node.identity.issuer))
    return Response(body, media_type=TD_JSON, headers={"Cache-Control": "max-age=300"})


def directory_description(base: str, issuer: str) -> _Json:
    """Return the directory as a Thing; ``issuer`` is the name of the node, by which its id stays the same."""
    return {
        "@context": [TD_CONTEXT, DISCOVERY_CONTEXT],
        "@type": "ThingDirectory",
        "id": directory_id(issuer),
        "title": "Things of a gridspine node",
        "description": "Whoever may read Things finds their Thing Descriptions here, each with what the caller may do.",
        "base": base,
        "version": {"instance": __version__},
        **security(base),
        "properties": {"things": _things()},
        "actions": {"retrieveThing": _retrieve()},
        "links": [
            {"rel": "service-desc", "href": f"{base}/schema/openapi.json", "type": "application/vnd.oai.openapi+json"}
        ],
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


def _retrieve() -> _Json:
    form = {"href": "/things/{id}", "htv:methodName": "GET", "response": {"contentType": TD_JSON}}
    return {
        "description": "One Thing Description.",
        "uriVariables": {"id": _ID},
        "output": {"type": "object"},
        "safe": True,
        "idempotent": True,
        "synchronous": True,
        "forms": [{**form, "op": ["invokeaction"], "additionalResponses": [_BAD]}],
    }
