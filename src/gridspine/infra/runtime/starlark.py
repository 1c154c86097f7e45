"""Starlark, bounded: what publishers and operators write to run on readings, commands and timers, as pure functions.

::

    text ─► compile ─► Program ─► call(function, arguments) ─► Done(value, steps) | Fault(kind, detail, line)

A program has no input or output, no clock, no randomness, and no memory from one call to the next: state is an
argument and part of the answer. The same text and arguments give the same answer everywhere.

What is bounded here: the size and the depth of the text, calls within calls, steps, the size of the answer. **Memory
is not, nor the time of a single step** (``"a" * 10**9`` is one): what others wrote is run by
`gridspine.infra.runtime.starlark_runner`, in a child process with the kernel's limits, never in this one.

Source: the Starlark language specification (github.com/bazelbuild/starlark), as starlark-rust implements it: no
``while``, no ``import``, no exceptions; ``lambda`` is allowed, ``load`` is not. Values cross as JSON does: a number
that is not finite comes out as None, a tuple as a list.
"""

import ast
import math
import re
import threading
import warnings
from typing import Any

import msgspec
import starlark

from gridspine.infra.runtime.starlark_wire import (
    MAX_RESULT_BYTES,
    MAX_STEPS,
    MAX_TEXT_BYTES,
    STEPS_GRAIN,
    Done,
    Fault,
    Result,
)
from gridspine.kernel.errors import Invalid

__all__ = ["MAX_STEPS", "MAX_TEXT_BYTES", "Done", "Fault", "Program", "Result", "compile"]

MAX_DEPTH = 100
"""How deep expressions and blocks of a text may be nested: the compiler recurses."""
MAX_CALLS = 64
"""Calls within calls."""
_MAX_DETAIL = 500
_FILE = "program"
_PARSING = threading.Lock()
"""Held while Python parses: 3.11 counts depth for all threads together (SystemError), and so are warnings set."""
_AT_LINE = re.compile(rf"--> {_FILE}:(\d+):")
_DEF = re.compile(r"^def[ \t]+([A-Za-z_]\w*)[ \t]*\(", re.MULTILINE)


class _Meter:
    """Counts what a call spends; asked by the interpreter once in `STEPS_GRAIN` instructions."""

    __slots__ = ("_most", "asked", "over")

    def __init__(self, max_steps: int) -> None:
        self.asked = 0
        self.over = False
        self._most = max_steps // STEPS_GRAIN

    def __call__(self) -> bool:
        self.asked += 1
        self.over = self.asked > self._most
        return self.over


class Program:
    """A compiled text. Calls are independent of each other."""

    __slots__ = ("_module", "functions")

    def __init__(self, module: starlark.FrozenModule, functions: frozenset[str]) -> None:
        self._module = module
        self.functions = functions
        """The functions it defines at the top."""

    def call(
        self, function: str, *arguments: Any, max_steps: int = MAX_STEPS, max_bytes: int = MAX_RESULT_BYTES
    ) -> Result:
        """Return what ``function`` makes of ``arguments`` (what JSON can say), or the fault.

        A call ends after ``max_steps`` instructions; an answer of more than ``max_bytes`` as JSON is a fault.
        """
        if function not in self.functions:
            return Fault("missing", f"the program defines no function {function}")
        if not all(map(_speakable, arguments)):
            return Fault("arguments", "arguments must be what JSON can say: finite numbers, texts as keys")
        meter = _Meter(max_steps)
        options = starlark.EvalOptions(check_cancelled=meter, max_callstack_size=MAX_CALLS)
        try:
            value = self._module.call_with(options, function, *arguments).value
        except starlark.StarlarkError as error:
            return _fault(str(error), meter, max_steps)
        except (RecursionError, ValueError, TypeError, OverflowError) as error:
            return Fault("result", f"the answer cannot be read: {error}"[:_MAX_DETAIL], steps=meter.asked * STEPS_GRAIN)
        return _done(value, max_bytes, meter.asked * STEPS_GRAIN)


def compile(text: str, *, max_steps: int = MAX_STEPS) -> Program:  # noqa: A001 - as `re.compile`
    """Return the program ``text`` is; raise `Invalid`, saying where, when it is none.

    Its top level is run once, within ``max_steps``, and frozen: functions cannot change what it made.
    """
    _check(text)
    meter = _Meter(max_steps)
    module = starlark.Module()
    options = starlark.EvalOptions(check_cancelled=meter, max_callstack_size=MAX_CALLS)
    try:
        starlark.eval_with(options, module, starlark.parse(_FILE, text, _dialect()), starlark.Globals.standard())
        return Program(module.freeze(), frozenset(_DEF.findall(text)))
    except starlark.StarlarkError as error:
        fault = _fault(str(error), meter, max_steps)
        raise _invalid(fault.detail, fault.line) from None


def _dialect() -> starlark.Dialect:
    dialect = starlark.Dialect.standard()
    dialect.enable_lambda = True
    dialect.enable_load = False
    dialect.enable_types = starlark.DialectTypes.DISABLE
    return dialect


def _check(text: str) -> None:
    """Refuse what is too long or too deep; Python's parser, which Starlark's syntax is a part of, does not recurse."""
    if len(text.encode(errors="replace")) > MAX_TEXT_BYTES:
        raise Invalid(f"a program's text has at most {MAX_TEXT_BYTES} bytes")
    try:
        with _PARSING, warnings.catch_warnings(action="ignore"):  # Python's opinion of an escape is not asked for
            tree = ast.parse(text)
    except SyntaxError as error:
        raise _invalid(str(error.msg), error.lineno) from None
    except (RecursionError, MemoryError):
        raise _invalid(f"nested more than {MAX_DEPTH} deep", None) from None
    except ValueError as error:
        raise _invalid(str(error), None) from None
    waiting: list[tuple[ast.AST, int]] = [(tree, 0)]
    while waiting:
        node, depth = waiting.pop()
        # Python writes `a and b and c` side by side, Starlark one in the other
        depth += len(node.values) if isinstance(node, ast.BoolOp) else 1
        if depth > MAX_DEPTH:
            raise _invalid(f"nested more than {MAX_DEPTH} deep", getattr(node, "lineno", None))
        waiting += ((child, depth) for child in ast.iter_child_nodes(node))


def _invalid(detail: str, line: int | None) -> Invalid:
    where = "" if line is None else f"line {line}: "
    return Invalid(f"{where}{detail}", line=line)


def _speakable(value: Any) -> bool:
    """Whether JSON can say ``value``; NaN and infinities it cannot."""
    if value is None or isinstance(value, bool | str | int):
        return True
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and _speakable(one) for key, one in value.items())
    return isinstance(value, list | tuple) and all(map(_speakable, value))


def _done(value: Any, max_bytes: int, steps: int) -> Result:
    try:
        size = len(msgspec.json.encode(value))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        return Fault("result", f"the answer is not what JSON can say: {error}"[:_MAX_DETAIL], steps=steps)
    if size > max_bytes:
        return Fault("result", f"the answer has {size} bytes as JSON; at most {max_bytes} are taken", steps=steps)
    return Done(value, steps)


def _fault(message: str, meter: _Meter, max_steps: int) -> Fault:
    steps = min(meter.asked, max_steps // STEPS_GRAIN) * STEPS_GRAIN
    found = _AT_LINE.search(message)
    line = int(found.group(1)) if found else None
    detail = next((row for row in message.splitlines() if row.startswith("error: ")), message.partition("\n")[0])
    detail = detail.removeprefix("error: ")[:_MAX_DETAIL]
    if meter.over:
        return Fault("steps", f"more than {max_steps} steps", line, steps)
    if "stack overflow" in message:
        return Fault("depth", f"calls within calls, more than {MAX_CALLS} deep", line, steps)
    if "serde::serialize" in message:
        return Fault("result", "the answer is not what JSON can say: it holds a function or a range", line, steps)
    return Fault("error", detail, line, steps)
