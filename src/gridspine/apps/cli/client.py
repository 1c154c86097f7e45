"""``gridspine curl`` and ``gridspine query``: talk to a node as one of its clients, every request signed."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from gridspine.apps.cli.connect import check, connected
from gridspine.apps.node.paths import DATA_HELP, Paths, data_directory
from gridspine.kernel.errors import Invalid, NotFound, Unavailable

Data = Annotated[Path | None, typer.Option("--data", help=DATA_HELP)]
Client = Annotated[str, typer.Option("--as", help="Client: a name under the data directory's clients, or a file.")]


def curl(
    path: Annotated[str, typer.Argument(help="Path at the node, such as /things.")],
    data: Data = None,
    client: Client = "operator",
    method: Annotated[str, typer.Option("-X", "--request", help="Method; POST when a body is given.")] = "",
    body: Annotated[str, typer.Option("-d", "--json", help="Body; @FILE reads a file, - standard input.")] = "",
    header: Annotated[list[str] | None, typer.Option("-H", "--header", help="'Name: value'; may be repeated.")] = None,
) -> None:
    """Send one signed request to the running node and print the answer; streams are printed as they come."""
    asyncio.run(_curl(data_directory(data), client, method, path, body, header or []))


def query(
    sql: Annotated[str, typer.Argument(help="One SELECT.")],
    data: Data = None,
    client: Client = "operator",
    as_of: Annotated[str, typer.Option(help="What was known at this RFC 3339 time.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Ask history in SQL: tables readings, revisions, points, things, events."""
    answer = asyncio.run(_query(data_directory(data), client, sql, as_of))
    if as_json:
        print(json.dumps(answer))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*(column["name"] for column in answer["columns"]))
    for row in answer["rows"]:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    Console().print(table)


async def _curl(data: Path, client: str, method: str, path: str, body: str, headers: list[str]) -> None:
    if not path.startswith("/"):
        raise Invalid(f"{path!r} is not a path at the node: begin it with a slash, such as /things")
    content = _content(body)
    given = _headers(headers)
    if content is not None:
        given.setdefault("content-type", "application/json")
    async with connected(data, client, start=False) as http:
        verb = method or ("POST" if content is not None else "GET")
        try:
            async with http.stream(verb, path, content=content, headers=given, timeout=None) as answer:
                async for chunk in answer.aiter_raw():
                    sys.stdout.buffer.write(chunk)
                    sys.stdout.buffer.flush()
                if not answer.is_success:
                    print(f"\n{answer.status_code} {answer.reason_phrase}", file=sys.stderr)
                    raise typer.Exit(1)
        except httpx.HTTPError as error:
            raise Unavailable(f"the node did not answer: {error}") from error
    print()


async def _query(data: Path, client: str, sql: str, as_of: str) -> Any:
    if not Paths(data).format.exists():
        raise NotFound(f"{data} is not a data directory of gridspine: name one with --data")
    async with connected(data, client) as http:
        return check(await http.post("/query", json={"sql": sql, "asOf": as_of})).json()


def _content(body: str) -> bytes | None:
    if not body:
        return None
    if body == "-":
        return sys.stdin.buffer.read()
    if body.startswith("@"):
        try:
            return Path(body[1:]).read_bytes()
        except OSError as error:
            raise Invalid(f"{body[1:]} cannot be read: {error.strerror}") from error
    return body.encode()


def _headers(headers: list[str]) -> dict[str, str]:
    pairs = (header.partition(":") for header in headers)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
