"""Search among Thing Descriptions: by JSONPath.

::

    GET /search/jsonpath?query=$[?@.title=='Meter']       what is found in the descriptions that the caller may read

Source: W3C WoT Discovery (Recommendation of 5 December 2023), "Search API"; RFC 9535 (JSONPath). It asks for the
answer in one piece; a large directory is searched in pages here, by `Link` as its listing is.
"""

from typing import Annotated
from urllib.parse import urlencode

from litestar import Response, get
from litestar.params import Parameter, QueryParameter

from gridspine.apps.api.answer import json_answer
from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.description import AnyRequest, documents
from gridspine.apps.api.ensemble import numbers_of
from gridspine.apps.api.problems import response
from gridspine.kernel.ids import MAX_ID_LENGTH

MAX_FOUND = 5_000
Query = Annotated[str, QueryParameter(name="query", min_length=1, max_length=2_000)]
Limit = Annotated[int, Parameter(ge=1, le=MAX_FOUND)]
After = Annotated[str, Parameter(max_length=MAX_ID_LENGTH)]


@get("/search/jsonpath", summary="Search by JSONPath", tags=["search"])
async def search_jsonpath(
    request: AnyRequest, node: TheNode, text: Query, limit: Limit = 1_000, after: After = ""
) -> Response[bytes]:
    """Return what a JSONPath query (RFC 9535) finds in the Thing Descriptions that the caller may read.

    The query's root is the list of them; each is asked by itself, in the order of registration. After `limit` results,
    or some time, the `Link` header leads to the rest: a page may be empty though more come.
    """
    numbers = numbers_of(node, request.user)
    page = await node.search.by_jsonpath(
        text, numbers, lambda things: documents(node, request, things), after, limit,
        organisation=request.user.organisation,
    )  # fmt: skip
    headers = {"Gridspine-Asked": str(page.asked), "Gridspine-Candidates": str(page.candidates)}
    if page.after:
        following = urlencode({"query": text, "limit": limit, "after": page.after})
        headers["Link"] = f'</search/jsonpath?{following}>; rel="next"'
    return response(json_answer(page.found)._replace(headers=headers))
