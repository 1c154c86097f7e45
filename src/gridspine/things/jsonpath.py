"""JSONPath over many Thing Descriptions, bounded, one description at a time; and what of a query an index can use.

A query's root is the list of all descriptions. It is asked of each description by itself, so that it can go on where it
stopped: results come Thing by Thing, and what only makes sense over the whole list is refused with the reason.

::

    $[?@.title == 'Meter' && @.properties.activePower].id
      └──── one of all ────┘ └──────────────────────┘         `Term`s narrow, then each candidate is asked

Source: RFC 9535 (JSONPath), by the library jsonpath-rfc9535; regular expressions are those of RFC 9485. Importing this
file takes an eighth of a second: import it when it is needed.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import regex
from iregexp_check import check as is_iregexp
from jsonpath_rfc9535 import JSONPathEnvironment
from jsonpath_rfc9535.exceptions import JSONPathError
from jsonpath_rfc9535.filter_expressions import (
    ComparisonExpression,
    Expression,
    FilterContext,
    FilterExpression,
    FilterExpressionLiteral,
    FilterQuery,
    LogicalExpression,
    RelativeFilterQuery,
    RootFilterQuery,
)
from jsonpath_rfc9535.function_extensions import ExpressionType, FilterFunction
from jsonpath_rfc9535.function_extensions._pattern import map_re
from jsonpath_rfc9535.node import JSONPathNode
from jsonpath_rfc9535.query import JSONPathQuery
from jsonpath_rfc9535.segments import JSONPathChildSegment, JSONPathRecursiveDescentSegment
from jsonpath_rfc9535.selectors import FilterSelector, IndexSelector, NameSelector, WildcardSelector

from gridspine.kernel.errors import Invalid, TooLarge

MAX_QUERY_CHARS, MAX_SEGMENTS = 2_000, 32
MAX_VISITS = 50_000
"""Nodes that may be visited in one description."""
MAX_RESULTS = 5_000
"""What one description may give."""
MAX_PATTERN_CHARS, MAX_TEXT_CHARS, PATTERN_S = 200, 10_000, 0.02
PATTERNS_S = 0.25
"""What all regular expressions may take in one description [s of processor time]."""
Path = tuple[str | int, ...]


class Term(NamedTuple):
    """Something that a description must have: a value at a path, or (``exists``) anything there."""

    path: Path
    value: Any
    exists: bool


class Conjunct(NamedTuple):
    """One of the conditions that all must hold: the members of a description it looks at (None: any), and its term."""

    expression: FilterExpression
    heads: frozenset[str] | None
    term: Term | None


class Counter:
    """How many nodes may still be visited, and how long regular expressions may still be looked for."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Count anew."""
        self.left, self.patterns_s = MAX_VISITS, PATTERNS_S

    def visit(self) -> None:
        """Count one node; raise `TooLarge`."""
        self.left -= 1
        if self.left < 0:
            raise TooLarge(f"the query visits more than {MAX_VISITS} nodes of one description", reason="nodes")


class _Node(JSONPathNode):
    __slots__ = ("counter",)

    def __init__(self, *, counter: Counter, **more: Any) -> None:
        super().__init__(**more)
        self.counter = counter

    def new_child(self, value: object, key: int | str, parent: JSONPathNode | None) -> JSONPathNode:
        """Return a child, counted; where it lies is not kept."""
        self.counter.visit()
        return _Node(counter=self.counter, value=value, location=(), parent=None, root=self.root)


class _Query(JSONPathQuery):
    """A query whose visits are counted."""

    __slots__ = ("counter",)

    def __init__(self, query: JSONPathQuery, counter: Counter) -> None:
        super().__init__(env=query.env, segments=query.segments)
        self.counter = counter

    def finditer(self, value: Any) -> Iterable[JSONPathNode]:
        """Yield the nodes found in ``value``."""
        nodes: Iterable[JSONPathNode] = [_Node(counter=self.counter, value=value, location=(), parent=None, root=value)]
        for segment in self.segments:
            nodes = segment.resolve(nodes)
        return nodes


class _Pattern(FilterFunction):
    """``match`` and ``search``, bounded in pattern, text and time."""

    arg_types = [ExpressionType.VALUE, ExpressionType.VALUE]  # noqa: RUF012 - as the library has it
    return_type = ExpressionType.LOGICAL

    def __init__(self, whole: bool, counter: Counter) -> None:
        self._whole, self._counter = whole, counter

    def __call__(self, text: object, pattern: object) -> bool:
        if not isinstance(text, str) or not isinstance(pattern, str):
            return False
        if len(pattern) > MAX_PATTERN_CHARS:
            raise TooLarge(f"a regular expression has at most {MAX_PATTERN_CHARS} characters", reason="pattern")
        if not is_iregexp(pattern):
            return False
        look = regex.fullmatch if self._whole else regex.search
        begun_s = time.thread_time()
        try:
            if self._counter.patterns_s <= 0:
                raise TimeoutError
            return bool(look(map_re(pattern), text[:MAX_TEXT_CHARS], timeout=PATTERN_S, concurrent=True))
        except TimeoutError as error:
            raise TooLarge("a regular expression takes too long", reason="pattern") from error
        except regex.error:
            return False
        finally:
            self._counter.patterns_s -= time.thread_time() - begun_s


class _Environment(JSONPathEnvironment):
    def __init__(self, counter: Counter) -> None:
        super().__init__()
        self.function_extensions["match"] = _Pattern(whole=True, counter=counter)
        self.function_extensions["search"] = _Pattern(whole=False, counter=counter)


class Asked:
    """A query that was read: `conjuncts` are what all results have in common, where that is known."""

    def __init__(self, text: str) -> None:
        """Read ``text``; raise `Invalid`."""
        if not 0 < len(text) <= MAX_QUERY_CHARS:
            raise Invalid(f"query: 1 to {MAX_QUERY_CHARS} characters of JSONPath (RFC 9535)")
        self._counter = Counter()
        self._environment = _Environment(self._counter)
        try:
            query = self._environment.compile(text)
        except JSONPathError as error:
            raise Invalid(f"query: {str(error)[:300]}") from error
        except RecursionError as error:
            raise Invalid("query: it nests too deeply") from error
        except (OverflowError, ValueError) as error:  # of the library, for 1e999 and the like
            raise Invalid(f"query: a number is none that JSON can have: {str(error)[:100]}") from error
        if len(query.segments) > MAX_SEGMENTS:
            raise Invalid(f"query: at most {MAX_SEGMENTS} segments")
        self._query = _Query(query, self._counter)
        self._check_first()
        self._count_within(query.segments)
        self.conjuncts: list[Conjunct] = []
        first = query.segments[0]
        if isinstance(first, JSONPathChildSegment) and len(first.selectors) == 1:
            (selector,) = first.selectors
            if isinstance(selector, FilterSelector):
                self.conjuncts = [_conjunct(one) for one in _ands(selector.expression)]

    def ask(self, document: Mapping[str, Any]) -> list[Any]:
        """Return what the query finds in one description; raise `TooLarge`."""
        self._counter.begin()
        try:
            found = list(islice((node.value for node in self._query.finditer([document])), MAX_RESULTS + 1))
        except RecursionError as error:
            raise TooLarge("the query nests too deeply", reason="depth") from error
        except JSONPathError as error:
            raise TooLarge(f"query: {str(error)[:300]}", reason="depth") from error
        if len(found) > MAX_RESULTS:
            raise TooLarge(f"the query finds more than {MAX_RESULTS} values in one description", reason="results")
        return found

    def holds(self, conjunct: Conjunct, document: Mapping[str, Any]) -> bool:
        """Whether a condition holds of a description; regular expressions share their time with all asked so before."""
        self._counter.left = MAX_VISITS
        context = FilterContext(env=self._environment, current=document, root=[document])
        return bool(conjunct.expression.evaluate(context))

    def _check_first(self) -> None:
        """Refuse what is about the list of all Things, and not about each of them."""
        if not self._query.segments:
            raise Invalid("query: $ alone is all Things, which GET /things has in pages: use $[*] or $[?…]")
        first = self._query.segments[0]
        deep = isinstance(first, JSONPathRecursiveDescentSegment)
        fit = (NameSelector, FilterSelector, *(() if deep else (WildcardSelector,)))
        if not all(isinstance(one, fit) for one in first.selectors):
            raise Invalid("query: begin with $[*], $[?…] or $..name: Things are asked one by one, and have no places")

    def _count_within(self, segments: Sequence[Any]) -> None:
        """Let queries inside of filters be counted too; refuse those that begin at the root."""
        for segment in segments:
            for selector in segment.selectors:
                if isinstance(selector, FilterSelector):
                    for expression in _within(selector.expression):
                        if isinstance(expression, RootFilterQuery):
                            raise Invalid("query: $ within a filter is all Things: begin with @ there")
                        if isinstance(expression, FilterQuery):
                            self._count_within(expression.query.segments)
                            expression.query = _Query(expression.query, self._counter)


def _within(expression: Any) -> Iterator[Expression]:
    """Yield an expression and all it is made of, filters of inner queries apart."""
    yield expression
    for name in ("expression", "left", "right"):
        if isinstance(part := getattr(expression, name, None), Expression):
            yield from _within(part)
    for part in getattr(expression, "args", ()):
        yield from _within(part)


def _ands(expression: Expression) -> Iterator[Expression]:
    if isinstance(expression, FilterExpression):
        yield from _ands(expression.expression)
    elif isinstance(expression, LogicalExpression) and expression.operator == "&&":
        yield from _ands(expression.left)
        yield from _ands(expression.right)
    else:
        yield expression


def _conjunct(expression: Expression) -> Conjunct:
    heads: set[str] | None = set()
    for one in _within(expression):
        if isinstance(one, RelativeFilterQuery) and heads is not None:
            head = _path(one)[:1] if one.query.segments else ()
            heads = heads | {str(head[0])} if head and isinstance(head[0], str) else None
    whole = FilterExpression(expression.token, expression)
    return Conjunct(whole, None if heads is None else frozenset(heads), _term(expression))


def _term(expression: Expression) -> Term | None:
    if isinstance(expression, RelativeFilterQuery):
        path = _path(expression)
        return Term(path, None, exists=True) if path else None
    if isinstance(expression, ComparisonExpression) and expression.operator == "==":
        sides = (expression.left, expression.right)
        for query, literal in (sides, sides[::-1]):
            if isinstance(query, RelativeFilterQuery) and isinstance(literal, FilterExpressionLiteral):
                path = _path(query)
                whole = len(path) == len(query.query.segments)
                return Term(path, literal.value, exists=False) if path and whole else None
    return None


def _path(query: RelativeFilterQuery) -> Path:
    """Return the names and places that a query goes by, as far as there is one way."""
    path: list[str | int] = []
    for segment in query.query.segments:
        selector = segment.selectors[0]
        if not isinstance(segment, JSONPathChildSegment) or len(segment.selectors) != 1:
            break
        if isinstance(selector, NameSelector):
            path.append(selector.name)
        elif isinstance(selector, IndexSelector) and selector.index >= 0:
            path.append(selector.index)
        else:
            break
    return tuple(path)
