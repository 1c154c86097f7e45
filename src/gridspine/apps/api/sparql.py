"""Search among Thing Descriptions by SPARQL: ``GET`` and ``POST /search/sparql``.

Sources: SPARQL 1.1 Query Language and SPARQL 1.1 Protocol (Recommendations of 21 March 2013), §2.1 query operation;
W3C WoT Discovery (Recommendation of 5 December 2023), "Search API". How descriptions become RDF:
`gridspine.things.td.rdf`.
"""

from typing import Annotated
from urllib.parse import parse_qs

from litestar import Response, get, post
from litestar.params import QueryParameter

from gridspine.apps.api.answer import Answer
from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.description import AnyRequest
from gridspine.apps.api.ensemble import numbers_of
from gridspine.apps.api.problems import response
from gridspine.apps.node.node import Node
from gridspine.infra.sparql.guard import MAX_QUERY_CHARS
from gridspine.kernel.errors import Invalid, UnsupportedMedia
from gridspine.things.directory import Thing

SPARQL, FORM = "application/sparql-query", "application/x-www-form-urlencoded"
MAX_BODY = 8 * MAX_QUERY_CHARS
_FOREIGN = {"default-graph-uri", "named-graph-uri", "using-graph-uri", "using-named-graph-uri", "update"}
Query = Annotated[str, QueryParameter(name="query", min_length=1, max_length=MAX_QUERY_CHARS)]


@get("/search/sparql", summary="Search by SPARQL", tags=["search"])
async def search_sparql(request: AnyRequest, node: TheNode, text: Query) -> Response[bytes]:
    """Answer a SELECT, ASK, CONSTRUCT or DESCRIBE over the Thing Descriptions that the caller may read.

    As `application/json`, `application/sparql-results+json` or `+xml`, `text/csv`, `text/tab-separated-values`; triples
    as `application/ld+json`, `text/turtle`, `application/n-triples`, `application/rdf+xml`. `Gridspine-Behind` says how
    many Things were registered or changed that the answer does not know yet: 0, but while a large dataset is made.
    """
    if _FOREIGN & request.query_params.keys():
        raise Invalid("there is one dataset, your Things, and no update: leave other parameters out")
    return await _answer(request, node, text)


@post(
    "/search/sparql", status_code=200, summary="Search by SPARQL, by POST", tags=["search"],
    request_max_body_size=MAX_BODY,
)  # fmt: skip
async def post_sparql(request: AnyRequest, node: TheNode) -> Response[bytes]:
    """Answer as `GET /search/sparql` does. Body: the query (`application/sparql-query`), or a form with `query`."""
    numbers_of(node, request.user)  # who may not read is told so first
    media = str(request.headers.get("content-type", "")).partition(";")[0].strip().lower()
    try:
        body = (await request.body()).decode()
        fields = parse_qs(body, max_num_fields=10, errors="strict") if media == FORM else {"query": [body]}
    except ValueError as error:
        raise Invalid("the body is not UTF-8, or no form") from error
    if media not in {SPARQL, FORM}:
        raise UnsupportedMedia(f"send {SPARQL} or {FORM}")
    if _FOREIGN & {*fields, *request.query_params.keys()} or len(fields.get("query", [])) != 1:
        raise Invalid("one query is needed, over the one dataset there is: your Things")
    return await _answer(request, node, fields["query"][0])


async def _answer(request: AnyRequest, node: Node, text: str) -> Response[bytes]:
    caller, numbers = request.user, numbers_of(node, request.user)
    command = node.authority.would_allow(caller, "thing.command", Thing("", caller.organisation, "any", ""))
    device = caller.principal if caller.kind == "device" else ""
    key = (caller.organisation, command, device)
    answered = await node.sparql.ask(key, numbers, text, _wanted(request), command=command)
    headers = {"Gridspine-Behind": str(answered.behind), "Cache-Control": "no-store"}
    return response(Answer(200, answered.answer.body, answered.answer.media_type, headers))


def _wanted(request: AnyRequest) -> list[str]:
    """Return the media types that ``Accept`` names, the most wanted first."""
    found: list[tuple[float, int, str]] = []
    for place, part in enumerate(request.headers.get("accept", "*/*")[:2_000].split(",")):
        media, *parameters = (one.strip().lower() for one in part.split(";"))
        weight = next((one[2:] for one in parameters if one.startswith("q=")), "1")
        try:
            found.append((-float(weight), place, media))
        except ValueError:
            continue
    return [media for weight, _, media in sorted(found) if weight < 0] or ["*/*"]
