"""What a stranger's SQL may say: one SELECT over the tables offered. Child processes only.

This is the first of two fences. It reads the statement's syntax tree (DuckDB's own, as JSON) and refuses by default
every table, table function and settings function it does not know; the second fence is DuckDB without external
access and with a locked configuration, in a process with hard limits.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import duckdb

from gridspine.infra.archive.schema import TABLE_MACROS, TABLES
from gridspine.kernel.errors import Invalid

MAX_SQL_BYTES = 100_000
_TABLE_FUNCTIONS = frozenset({"range", "generate_series", "unnest"})
_QUERY_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
_REFUSED_FUNCTIONS = frozenset(
    {
        "current_setting",
        "getenv",
        "getvariable",
        "query",
        "query_table",
        "write_log",
        "nextval",
        "currval",
        "set_config",
    }
)


def check(connection: Any, sql: str, tables: Sequence[str] = tuple(TABLES)) -> tuple[set[str], Any]:
    """Return which of ``tables`` (and our table functions) ``sql`` names, and its syntax tree.

    Raises `Invalid` unless it is one SELECT over them.
    """
    if len(sql.encode()) > MAX_SQL_BYTES:
        raise Invalid(f"the query is longer than {MAX_SQL_BYTES} bytes", reason="too-long")
    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise Invalid(first_lines(error), reason="syntax") from error
    if len(statements) != 1:
        raise Invalid(f"a query is exactly one SELECT statement; here are {len(statements)}", reason="statements")
    if statements[0].type != duckdb.StatementType.SELECT:
        raise Invalid(f"only SELECT is answered, not {statements[0].type.name}", reason="not-select")
    ((text,),) = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchall()
    tree = json.loads(text)
    if tree["error"]:
        raise Invalid(f"only SELECT is answered: {tree.get('error_message', '')}", reason="not-select")
    return _named(tree, tables), tree


def first_lines(error: Exception, limit: int = 2000) -> str:
    """Return the message of DuckDB's error, without hints about settings nobody here may change."""
    return str(error).split("\n\nPossible solutions")[0].strip()[:limit]


def _named(tree: Any, offered: Sequence[str]) -> set[str]:
    macros = set(TABLE_MACROS) if "revisions" in offered else set()
    tables: set[str] = set()
    functions: set[str] = set()
    own: set[str] = set()
    for node in nodes(tree):
        if isinstance(node.get("cte_map"), dict):
            own |= {entry["key"].lower() for entry in node["cte_map"].get("map", [])}
        kind = node.get("type")
        if isinstance(kind, str) and kind.endswith("_NODE") and kind not in _QUERY_NODES:
            raise Invalid("only SELECT is answered, also inside WITH", reason="not-select")
        if kind == "BASE_TABLE":
            tables.add(_plain_name(node, offered))
        elif kind == "TABLE_FUNCTION":
            functions.add(_function_name(node["function"]))
        elif kind == "SHOW_REF" and node.get("query") is None:
            raise Invalid(f"SHOW is not offered; the tables are {', '.join(offered)}", reason="not-select")
        elif node.get("class") == "FUNCTION" and _function_name(node) in _REFUSED_FUNCTIONS:
            raise Invalid(f"the function {_function_name(node)} is not offered", reason="function")
    unknown = sorted(tables - own - set(offered))
    if unknown:
        raise Invalid(f"there is no table {unknown[0]!r}; the tables are {', '.join(offered)}", reason="table")
    refused = sorted(functions - _TABLE_FUNCTIONS - macros)
    if refused:
        raise Invalid(f"the table function {refused[0]} is not offered", reason="function")
    return (tables - own | functions) & {*offered, *macros}


def _plain_name(node: dict[str, Any], offered: Sequence[str]) -> str:
    path = (node.get("qualified_name") or {}).get("path") or [node.get("table_name", "")]
    if len(path) != 1 or node.get("schema_name") or node.get("catalog_name"):
        raise Invalid(f"tables are named without a schema: {', '.join(offered)}", reason="table")
    return str(path[0]).lower()


def _function_name(node: dict[str, Any]) -> str:
    path = (node.get("qualified_name") or {}).get("path")
    return str(path[-1] if path else node.get("function_name", "")).lower()


def nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of the tree; iterative, since a stranger chooses its depth."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
