"""The faults that are planted: each kind, nothing else, and what is left alone."""

import ast
import importlib.util
import sys
from itertools import islice
from pathlib import Path

import pytest


def _load():
    name = "mutation_mutate"
    if name not in sys.modules:
        specification = importlib.util.spec_from_file_location(name, Path(__file__).with_name("mutate.py"))
        sys.modules[name] = module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
    return sys.modules[name]


mutants = _load().mutants


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("a < b", ["a <= b"]),
        ("x = a == b", ["x = a != b"]),
        ("x = a in b", ["x = a not in b"]),
        ("x = a + 1", ["x = a - 1", "x = a + 2"]),
        ("x = a and b", ["x = a or b"]),
        ("x = not a", ["x = a"]),
        ("x = a if b else c", ["x = c if b else a"]),
        ("x = True", ["x = False"]),
        ("x = 'word'", ["x = 'wordx'"]),
        ("x = 'two words'", []),
        ("x: int = 1.5", ["x: int = 2.5"]),
        ("if a:\n    b = c", ["if not a:"]),
        ("def f() -> int:\n    return a", ["return None"]),
        ("def f() -> None:\n    return None", []),
        ("f(a)", ["pass"]),
        ("x.y = a", ["pass"]),
        ("x += a", ["pass"]),
        ("for a in b:\n    break", ["continue"]),
        ("log.info('said', a=1)", []),
        ("raise ValueError(1 + 2)", []),
        ('"""Words."""', []),
        ("from a import b", []),
        ("x = Literal['a', 'b']", []),
        ("@cached(1)\ndef f(x: 'int') -> 'int': ...", []),
        ("x = [a for a in b if a > c]", ["x = [a for a in b if a >= c]"]),
    ],
)
def test_each_fault(source, found):
    made = list(mutants(source))
    assert [mutant.after for mutant in made] == found
    for mutant in made:
        assert ast.dump(ast.parse(mutant.source)) != ast.dump(ast.parse(source))


def test_a_fault_names_its_line_and_statement():
    (found,) = mutants("a = b\nc = (\n    d <\n    e)\n")
    assert (found.line, found.name) == (3, "c = d < e => c = d <= e")


def test_every_part_that_is_tested_yields_many():
    root = Path(__file__).parents[2] / "src" / "gridspine"
    for path in ("things/screen.py", "things/lease.py", "sharing/grant.py", "sharing/gate.py"):
        assert len(list(islice(mutants((root / path).read_text()), 20))) == 20, path
