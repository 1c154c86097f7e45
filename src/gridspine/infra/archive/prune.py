"""Which of the archive's files a query can need, by what its conditions say of time and point. Child processes only.

DuckDB skips what it can inside a file, but looks into every file for that. So the statement's syntax tree is read for
conditions in the same ``SELECT … WHERE …`` as the table, joined by AND, that compare ``observed``, ``day``, ``point``
or ``thing`` with constants; DuckDB itself works the constants out. Whatever is not understood leaves all files in.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import duckdb

from gridspine.infra.archive.guard import nodes
from gridspine.infra.archive.manifest import LAST_TEXT, UNKNOWN_US, DataFile
from gridspine.infra.archive.schema import DAY_US

Node = dict[str, Any]
_TIMES, _TEXTS = {"observed", "day", "first_observed", "last_observed"}, {"point", "thing"}
_STEADY = frozenset(
    {
        "+", "-", "*", "now", "today", "current_date", "current_timestamp", "get_current_timestamp",
        "transaction_timestamp", "make_timestamptz", "make_timestamp", "make_date", "to_timestamp", "date_trunc",
        "time_bucket", "to_years", "to_months", "to_weeks", "to_days", "to_hours", "to_minutes", "to_seconds",
        "to_milliseconds", "trunc", "concat", "||",
    }
)  # fmt: skip
"""Functions that give the same again within one transaction; a condition with any other is passed over."""
_MIRROR = {
    "COMPARE_GREATERTHAN": "COMPARE_LESSTHAN",
    "COMPARE_GREATERTHANOREQUALTO": "COMPARE_LESSTHANOREQUALTO",
    "COMPARE_LESSTHAN": "COMPARE_GREATERTHAN",
    "COMPARE_LESSTHANOREQUALTO": "COMPARE_GREATERTHANOREQUALTO",
    "COMPARE_EQUAL": "COMPARE_EQUAL",
}

_CONSTANTS = frozenset({"CONSTANT", "CAST", "FUNCTION", "TYPE"})
_JOINS, _JOIN_TYPES = frozenset({"REGULAR", "CROSS"}), frozenset({"INNER", "LEFT", "RIGHT", "OUTER"})


@dataclass(frozen=True, slots=True)
class Span:
    """What one mention of a table can need: observed times and points, both ends included."""

    start_us: int = -UNKNOWN_US
    end_us: int = UNKNOWN_US
    first_point: str = ""
    last_point: str = LAST_TEXT

    def meets(self, file: DataFile) -> bool:
        """Whether ``file`` may hold any of it."""
        return (
            file.latest_us >= self.start_us
            and file.first_us <= self.end_us
            and file.last_point >= self.first_point
            and file.first_point <= self.last_point
        )


def needed(files: Sequence[DataFile], spans: Sequence[Span]) -> list[DataFile]:
    """Return the files that any of ``spans`` may need."""
    return [file for file in files if any(span.meets(file) for span in spans)]


def spans(connection: Any, tree: Any, tables: frozenset[str]) -> list[Span]:
    """Return a span for each mention of one of ``tables`` (and table functions) in a serialized statement."""
    found: list[Span] = []
    for node in nodes(tree):
        if node.get("type") != "SELECT_NODE":
            continue
        conditions = list(_conjuncts(node.get("where_clause")))
        source = node.get("from_table")
        for table in _mentioned(source, tables):
            span, alone = Span(), source is table
            if not table.get("column_name_alias") and (alone or _plainly_joined(source)):
                for condition in conditions:
                    span = _narrowed(connection, span, condition, (_called(table), alone))
            found.append(span)
    mentions = sum(1 for node in nodes(tree) if _is_mention(node, tables))
    # every mention must be seen in its SELECT: one that stands anywhere else may need everything
    return found if len(found) == mentions else [Span()]


def _mentioned(source: Any, tables: frozenset[str]) -> Iterator[Node]:
    """Yield the tables of a FROM clause, through joins but not into subqueries."""
    if not isinstance(source, dict):
        return
    if source.get("type") == "JOIN":
        yield from _mentioned(source.get("left"), tables)
        yield from _mentioned(source.get("right"), tables)
    elif _is_mention(source, tables):
        yield source


def _plainly_joined(source: Any) -> bool:
    """Whether a condition on a joined table may be asked of the table before: not so where order picks the partner."""
    return all(
        node.get("ref_type") in _JOINS and node.get("join_type") in _JOIN_TYPES
        for node in nodes(source)
        if node.get("type") == "JOIN"
    )


def _is_mention(node: Node, tables: frozenset[str]) -> bool:
    if node.get("type") == "BASE_TABLE":
        return _name(node) in tables
    return node.get("type") == "TABLE_FUNCTION" and _name(node.get("function") or {}) in tables


def _name(node: Node) -> str:
    path = (node.get("qualified_name") or {}).get("path")
    return str(path[-1] if path else node.get("table_name") or node.get("function_name", "")).lower()


def _called(table: Node) -> str:
    return str(table.get("alias") or _name(table.get("function") or table)).lower()


def _conjuncts(expression: Any) -> Iterator[Node]:
    if not isinstance(expression, dict):
        return
    if expression.get("type") == "CONJUNCTION_AND":
        for child in expression.get("children", []):
            yield from _conjuncts(child)
    else:
        yield expression


def _narrowed(connection: Any, span: Span, condition: Node, table: tuple[str, bool]) -> Span:
    kind, class_ = str(condition.get("type", "")), condition.get("class")
    if class_ == "COMPARISON" and kind in _MIRROR:
        left, right = condition["left"], condition["right"]
        column = _column(left, table)
        if column:
            return _bounded(connection, span, column, kind, [right])
        column = _column(right, table)
        return _bounded(connection, span, column, _MIRROR[kind], [left]) if column else span
    if class_ == "BETWEEN" and kind == "COMPARE_BETWEEN" and (column := _column(condition["input"], table)):
        span = _bounded(connection, span, column, "COMPARE_GREATERTHANOREQUALTO", [condition["lower"]])
        return _bounded(connection, span, column, "COMPARE_LESSTHANOREQUALTO", [condition["upper"]])
    if class_ == "OPERATOR" and kind == "COMPARE_IN" and len(condition.get("children", [])) > 1:
        column = _column(condition["children"][0], table)
        return _bounded(connection, span, column, "COMPARE_EQUAL", condition["children"][1:]) if column else span
    return span


def _column(expression: Any, table: tuple[str, bool]) -> str:
    """Return which of the columns looked at ``expression`` is, "" when none.

    Of a table that stands beside others (not ``alone``) the name must say so: it could be another's.
    """
    called, alone = table
    if not isinstance(expression, dict) or expression.get("class") != "COLUMN_REF":
        return ""
    *before, name = [str(part).lower() for part in expression.get("column_names", [""])]
    return name if name in _TIMES | _TEXTS and (before == [called] or (alone and not before)) else ""


def _bounded(connection: Any, span: Span, column: str, kind: str, constants: Sequence[Node]) -> Span:
    """Return ``span`` as far as ``column`` compares with any of ``constants``."""
    texts = column in _TEXTS
    values = [_value(connection, constant, "VARCHAR" if texts else "TIMESTAMPTZ") for constant in constants]
    if any(value is None for value in values):
        return span
    if column == "thing" and kind != "COMPARE_EQUAL" and kind.startswith("COMPARE_LESS"):
        return span  # "urn:a" sorts before "urn:a-1", and "urn:a/power" after it
    low, high = min(values), max(values)
    from_below = kind in {"COMPARE_EQUAL", "COMPARE_GREATERTHAN", "COMPARE_GREATERTHANOREQUALTO"}
    from_above = kind in {"COMPARE_EQUAL", "COMPARE_LESSTHAN", "COMPARE_LESSTHANOREQUALTO"}
    if texts:
        # a point's id is its Thing's, a slash, and its name
        above = max(f"{value}/{LAST_TEXT}" for value in values) if column == "thing" else high
        if from_below:
            span = replace(span, first_point=max(span.first_point, low))
        return replace(span, last_point=min(span.last_point, above)) if from_above else span
    if column != "observed":  # of a day anything: its own first moment, or the last reading's
        low, high = low - DAY_US, high + DAY_US
    elif kind == "COMPARE_GREATERTHAN":
        low += 1
    elif kind == "COMPARE_LESSTHAN":
        high -= 1
    if from_below:
        span = replace(span, start_us=max(span.start_us, low))
    return replace(span, end_us=min(span.end_us, high)) if from_above else span


def _value(connection: Any, expression: Node, kind: str) -> Any:
    """Return what a constant expression comes to, a time in µs since 1970; None when it is not one, or NULL."""
    if not _is_constant(expression) or (kind == "VARCHAR" and not _is_text(expression)):
        return None
    wrapped = json.dumps(expression)
    template = _template(connection, kind)
    try:
        ((value,),) = connection.execute(
            "FROM json_execute_serialized_sql(?::VARCHAR)", [template.replace('"__HERE__"', wrapped)]
        ).fetchall()
    except duckdb.Error:
        return None
    return value


_templates: dict[str, str] = {}


def _template(connection: Any, kind: str) -> str:
    """Return the tree of a SELECT that casts ``"__HERE__"``, as JSON text."""
    if kind not in _templates:
        _templates[kind] = _made(connection, kind)
    return _templates[kind]


def _made(connection: Any, kind: str) -> str:
    sql = "SELECT CAST(NULL AS VARCHAR)" if kind == "VARCHAR" else "SELECT epoch_us(CAST(NULL AS TIMESTAMPTZ))"
    ((text,),) = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchall()
    tree = json.loads(text)
    for node in nodes(tree):
        if node.get("class") == "CAST":
            node["child"] = "__HERE__"
            break
    return json.dumps(tree)


def _is_constant(expression: Any) -> bool:
    classes = [node["class"] for node in nodes(expression) if "class" in node]
    functions = [_name(node) for node in nodes(expression) if node.get("class") == "FUNCTION"]
    return set(classes) <= _CONSTANTS and set(functions) <= _STEADY


def _is_text(expression: Any) -> bool:
    """Whether it is a text as it stands: compared with a number, a column is not compared as a text."""
    return expression.get("class") == "CONSTANT" and (expression.get("literal") or {}).get("kind") == "STRING"
