"""Small faults planted into Python source, one at a time: what tests must notice.

Operators: a comparison's bound or sense, arithmetic and bit operators, ``and`` for ``or``, a condition turned round, a
number one higher, a flag turned, a word changed, a call or an assignment to a place left out, nothing returned.
Annotations, docstrings, decorators, log lines and the words of errors are left alone: they are not behaviour.
"""

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

_COMPARE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_OPERATOR: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitAnd,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip
_LOGGERS = {"log", "logger"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One planted fault: the line it is on, that line's statement before and after, and the whole source."""

    line: int
    before: str
    after: str
    source: str

    @property
    def name(self) -> str:
        """What was changed, whatever line it stands on."""
        return f"{self.before} => {self.after}"


def mutants(source: str) -> Iterator[Mutant]:
    """Yield every mutant of ``source``."""
    tree = ast.parse(source)
    places = list(_places(tree))
    for number, place in enumerate(places):
        for variant in range(_variants(place.node)):
            changed = copy.deepcopy(tree)
            twin = list(_places(changed))[number]
            fresh = _mutated(twin.node, variant)
            assert fresh is not None
            twin.put(ast.fix_missing_locations(ast.copy_location(fresh, twin.node)))
            before, after = _head(place.statement), _head(list(_statements(changed))[place.index])
            yield Mutant(place.node.lineno, before, after, ast.unparse(ast.fix_missing_locations(changed)))


@dataclass(slots=True)
class _Place:
    node: ast.expr | ast.stmt
    parent: ast.AST
    field: str
    at: int | None
    statement: ast.stmt
    index: int

    def put(self, fresh: ast.AST) -> None:
        if self.at is None:
            setattr(self.parent, self.field, fresh)
        else:
            getattr(self.parent, self.field)[self.at] = fresh


def _statements(tree: ast.Module) -> Iterator[ast.stmt]:
    for node in _walk(tree):
        if isinstance(node, ast.stmt):
            yield node


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """Like `ast.walk`, in the order of the text."""
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _walk(child)


def _places(tree: ast.Module) -> Iterator[_Place]:
    order = {id(statement): at for at, statement in enumerate(_statements(tree))}
    yield from _below(tree, None, order)


def _below(parent: ast.AST, statement: ast.stmt | None, order: dict[int, int]) -> Iterator[_Place]:
    for field, value in ast.iter_fields(parent):
        if field in {"annotation", "returns", "decorator_list", "type_params", "bases"}:
            continue
        for at, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(node, ast.AST) or _left_alone(node):
                continue
            inside = node if isinstance(node, ast.stmt) else statement
            if isinstance(node, ast.expr | ast.stmt) and inside is not None and _variants(node):
                yield _Place(node, parent, field, at, inside, order[id(inside)])
            yield from _below(node, inside, order)


def _left_alone(node: ast.AST) -> bool:
    if isinstance(node, ast.Expr):
        value = node.value
        if isinstance(value, ast.Constant):
            return True  # a docstring
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
            return isinstance(value.func.value, ast.Name) and value.func.value.id in _LOGGERS
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "Literal":
        return True  # a type, for the type checker
    return isinstance(node, ast.Import | ast.ImportFrom | ast.Raise | ast.JoinedStr)


def _variants(node: ast.AST) -> int:
    return 1 if _mutated(node, 0) is not None else 0


def _mutated(node: ast.AST, _: int) -> ast.AST | None:
    if isinstance(node, ast.stmt):
        return _statement(node)
    match node:
        case ast.Compare(left=left, ops=[op, *ops], comparators=right) if type(op) in _COMPARE:
            return ast.Compare(left, [_COMPARE[type(op)](), *ops], right)
        case ast.BinOp(left=left, op=operator, right=right_) if type(operator) in _OPERATOR:
            return ast.BinOp(left, _OPERATOR[type(operator)](), right_)
        case ast.BoolOp(op=ast.And(), values=values):
            return ast.BoolOp(ast.Or(), values)
        case ast.BoolOp(op=ast.Or(), values=values):
            return ast.BoolOp(ast.And(), values)
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert(), operand=operand):
            return operand
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return ast.IfExp(test, orelse, body)
        case ast.Constant(value=value):
            return _constant(value)
    return None


def _constant(value: object) -> ast.Constant | None:
    if isinstance(value, bool):
        return ast.Constant(not value)
    if isinstance(value, int | float):
        return ast.Constant(value + 1)
    if isinstance(value, str) and " " not in value:
        return ast.Constant(value + "x")
    return None


def _statement(node: ast.stmt) -> ast.stmt | None:
    match node:
        case ast.If(test=test, body=body, orelse=orelse):
            return ast.If(ast.UnaryOp(ast.Not(), test), body, orelse)
        case ast.Return(value=value) if value is not None and not _is_none(value):
            return ast.Return(ast.Constant(None))
        case ast.Expr(value=ast.Call()) | ast.Expr(value=ast.Await()):
            return ast.Pass()
        case ast.AugAssign() | ast.Assign(targets=[ast.Attribute() | ast.Subscript()]) | ast.Delete():
            return ast.Pass()
        case ast.Break():
            return ast.Continue()
        case ast.Continue():
            return ast.Break()
    return None


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


def _head(statement: ast.stmt) -> str:
    return ast.unparse(statement).splitlines()[0]
