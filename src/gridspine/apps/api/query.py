"""``POST /query``: the operator's SQL over history."""

from typing import Any

import msgspec
from litestar import Request, Response, post
from litestar.params import JSONBody

from gridspine.apps.api.dependency import TheNode
from gridspine.infra.archive.wire import Format
from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import parse_rfc3339

MAX_SQL = 20_000
ARROW = "application/vnd.apache.arrow.stream"


class Question(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """One SELECT; ``as_of`` (RFC 3339) asks what was known then."""

    sql: str
    as_of: str = ""


@post(
    "/query",
    status_code=200,
    summary="Ask history in SQL",
    description="One SELECT over tables readings, revisions, points, things and events, run in a process of its own "
    f"with hard limits. JSON, or Arrow with Accept: {ARROW}.",
    tags=["history"],
)
async def query(request: Request[Any, Any, Any], node: TheNode, data: JSONBody[Question]) -> Response[bytes]:
    """Run an operator's query."""
    node.authority.on_node(request.user, "sql.run")
    if len(data.sql) > MAX_SQL:
        raise Invalid(f"sql: at most {MAX_SQL} characters")
    format_: Format = "arrow" if ARROW in request.headers.get("accept", "") else "json"
    as_of_us = parse_rfc3339(data.as_of) if data.as_of else None
    result = await node.archive.query(data.sql, format_, as_of_us)
    return Response(result.body, media_type=ARROW if format_ == "arrow" else "application/json")
