"""Programs of others: what they may do, and that no text of theirs stops or fells the process that asked."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.infra.runtime import starlark
from gridspine.infra.runtime.starlark import Done, Fault
from gridspine.infra.runtime.starlark_runner import MAX_ARGUMENT_BYTES, Runner
from gridspine.kernel.errors import Invalid

TEXT = """
TABLE = [1, 2]

def same(x):
    return x

def loop(n):
    total = 0
    for i in range(n):
        total += i
    return total

def again(n):
    return again(n - 1) if n else 0

def divide(a, b):
    return a // b

def give_function(x):
    return same

def remember(x):
    TABLE.append(x)

def long(n):
    return "x" * n

def length(n):
    return len("x" * n)

def greatest(n):
    return max(range(n))

def infinite(x):
    return float("inf")
"""

json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@pytest.fixture(scope="module")
def program() -> starlark.Program:
    return starlark.compile(TEXT)


@given(json)
def test_what_json_can_say_crosses_both_ways(program: starlark.Program, value: object) -> None:
    result = program.call("same", value)
    assert isinstance(result, Done)
    assert result.value == value


def test_steps_are_counted_and_the_same_each_time(program: starlark.Program) -> None:
    first = program.call("loop", 10_000)
    assert first == program.call("loop", 10_000)
    assert isinstance(first, Done) and first.value == 49_995_000 and first.steps >= 10_000


@pytest.mark.parametrize(
    ("function", "arguments", "kind"),
    [
        ("loop", (10**9,), "steps"),
        ("again", (1_000,), "depth"),
        ("divide", (1, 0), "error"),
        ("divide", (1,), "error"),
        ("give_function", (1,), "result"),
        ("long", (2 << 20,), "result"),
        ("remember", (1,), "error"),
        ("same", (float("nan"),), "arguments"),
        ("same", ({1: 2},), "arguments"),
        ("same", (b"bytes",), "arguments"),
        ("nobody", (1,), "missing"),
        ("TABLE", (1,), "missing"),
    ],
)
def test_a_fault_says_what_it_is(
    program: starlark.Program, function: str, arguments: tuple[object, ...], kind: str
) -> None:
    result = program.call(function, *arguments)
    assert isinstance(result, Fault) and result.kind == kind and result.detail


def test_a_fault_names_the_line(program: starlark.Program) -> None:
    result = program.call("divide", 1, 0)
    assert isinstance(result, Fault)
    assert result.line == TEXT.splitlines().index("    return a // b") + 1


def test_a_number_that_is_not_finite_comes_out_as_nothing(program: starlark.Program) -> None:
    assert program.call("infinite", 1) == Done(None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(x:\n  pass", "line 1"),
        ("x = 1\ny = z", "line 2: Variable `z` not found"),
        ("def f(x):\n    while True:\n        pass", "while"),
        ("import os", "import"),
        ('load("a.star", "b")', "load"),
        ("x = open('/etc/passwd')", "open"),
        ("x = [i for i in range(10000000)]", "steps"),
        ("x = " + "+".join(["1"] * 30_000), "nested"),
        ("x = " + "(" * 20_000, "nested"),
        ("x = " + "1 and " * 10_000 + "1", "nested"),
        ("x = " + "-" * 60_000 + "1", "nested"),
        ("x = a" + "()" * 30_000, "nested"),
        ("def f(x):\n  if x: pass\n" + "  elif x: pass\n" * 4_000, "nested"),
        ("#" * (starlark.MAX_TEXT_BYTES + 1), "at most"),
        ("x = '\0'", "null"),
        ("\ud800", ""),
    ],
)
def test_a_text_that_is_no_program_is_refused_and_says_where(text: str, said: str) -> None:
    with pytest.raises(Invalid) as refused:
        starlark.compile(text)
    assert said in str(refused.value.detail)


@given(st.text(alphabet="def f(x):\n retun1+-*[]{}'\"\\,=.not andifelsorlambda", max_size=80))
def test_any_text_is_a_program_or_refused(text: str) -> None:
    try:
        starlark.compile(text)
    except Invalid as refused:
        assert refused.detail


@pytest.fixture
async def runner() -> AsyncIterator[Runner]:
    made = Runner(wall_s=0.5)
    yield made
    await made.aclose()


async def test_a_child_answers_as_the_program_itself_does(runner: Runner, program: starlark.Program) -> None:
    assert await runner.load("p", TEXT) == program.functions
    for function, arguments in [("same", [{"a": [1, None, "ü"]}]), ("loop", [10**9]), ("divide", [1, 0])]:
        assert await runner.call("p", function, *arguments) == program.call(function, *arguments)
    assert runner.ended == 0


async def test_what_takes_too_much_ends_its_own_call_only(runner: Runner) -> None:
    await runner.load("p", TEXT)
    each = [[1], [2_000_000_000], [2], [{1, 2}.__class__], [3]]
    results = await runner.call_many("p", "length", each)
    assert [one.value if isinstance(one, Done) else one.kind for one in results] == [1, "memory", 2, "arguments", 3]
    forever = await runner.call("p", "greatest", 2_000_000_000)
    assert isinstance(forever, Fault) and forever.kind == "time"
    assert await runner.call("p", "same", 4) == Done(4)
    assert runner.ended == 2


async def test_a_caller_that_goes_away_leaves_no_answer_for_the_next(runner: Runner) -> None:
    await runner.load("p", TEXT)
    waiting = asyncio.create_task(runner.call("p", "greatest", 2_000_000_000))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await runner.call("p", "same", 5) == Done(5)


async def test_a_refused_text_is_not_called(runner: Runner) -> None:
    with pytest.raises(Invalid, match="line 1"):
        await runner.load("p", "x = (")
    with pytest.raises(Invalid):
        await runner.load("q", "x = max(range(2000000000))")
    missing = await runner.call("p", "same", 1)
    assert isinstance(missing, Fault) and missing.kind == "missing"
    await runner.load("p", TEXT)
    assert await runner.call("p", "same", 1) == Done(1)
    await runner.forget("p")
    assert isinstance(await runner.call("p", "same", 1), Fault)


async def test_arguments_are_bounded(runner: Runner) -> None:
    await runner.load("p", TEXT)
    result = await runner.call("p", "same", "x" * (MAX_ARGUMENT_BYTES + 1))
    assert isinstance(result, Fault) and result.kind == "arguments"


async def test_who_fills_the_memory_takes_it_from_nobody_else(runner: Runner) -> None:
    """Programs of several organisations share the child: what one keeps, another must not be blamed for."""
    hoard = "X = [i for i in range(1000)] * 1300\ndef f(x):\n    return len(X)\n"
    for name in ("one", "two"):
        await runner.load(name, hoard)
    await runner.load("modest", 'def f(x):\n    return len("a" * 12000000)\n')
    await runner.load("third", hoard)
    found = [await runner.call(name, "f", 1) for name in ("one", "two", "modest", "third", "modest")]
    sizes = [one.value for one in found if isinstance(one, Done)]
    assert sizes == [1_300_000, 1_300_000, 12_000_000, 1_300_000, 12_000_000], found
