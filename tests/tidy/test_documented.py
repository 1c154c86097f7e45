"""Every public name has a docstring: packages, modules, classes, functions, methods, settings, commands."""

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import msgspec
import pytest
import typer.main

import gridspine
from gridspine.apps.cli.main import app
from gridspine.apps.cli.reference import undocumented_settings
from gridspine.apps.edge.settings import EdgeSettings
from gridspine.infra.runtime.settings import Settings

ROOT = Path(__file__).parents[2]
Function = ast.FunctionDef | ast.AsyncFunctionDef


def undocumented(root: Path) -> list[str]:
    """Return the public names under ``root`` without a docstring, as ``path: name``."""
    missing: list[str] = []
    for path in sorted(root.rglob("*.py")):
        tree = ast.parse(path.read_text())
        name = path.relative_to(root).as_posix()
        if not ast.get_docstring(tree):
            missing.append(f"{name}: module")
        missing += [f"{name}: {found}" for found in _in_body(tree.body, "")]
    return missing


def _in_body(body: list[ast.stmt], prefix: str) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.If | ast.Try):
            yield from _in_body(node.body, prefix)
        if not isinstance(node, ast.ClassDef | Function) or node.name.startswith("_") or _is_variant(node):
            continue
        if not (ast.get_docstring(node) or "").strip(" ."):
            yield prefix + node.name
        if isinstance(node, ast.ClassDef):
            yield from _in_body(node.body, f"{prefix}{node.name}.")


def _is_variant(node: ast.AST) -> bool:
    """Whether a function is an overload or a property's setter: its first form carries the words."""
    marks = {ast.unparse(mark).rpartition(".")[2] for mark in getattr(node, "decorator_list", [])}
    return bool(marks & {"overload", "setter"})


def test_every_public_name_is_documented() -> None:
    assert undocumented(ROOT / "src" / "gridspine") == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ["a.py: module"]),
        ('"""M."""\ndef f(): ...\n', ["a.py: f"]),
        ('"""M."""\nasync def f():\n    """."""\n', ["a.py: f"]),
        ('"""M."""\nclass A:\n    """A."""\n    def f(self): ...\n', ["a.py: A.f"]),
        ('"""M."""\nclass A:\n    def _f(self): ...\n', ["a.py: A"]),
        ('"""M."""\nif True:\n    def f(): ...\n', ["a.py: f"]),
        ('"""M."""\ndef _f(): ...\nclass _A:\n    def f(self): ...\n', []),
        ('"""M."""\nclass A:\n    """A."""\n    @f.setter\n    def f(self, value): ...\n', []),
    ],
)
def test_what_is_planted_is_found(tmp_path: Path, text: str, found: list[str]) -> None:
    (tmp_path / "a.py").write_text(text)
    assert undocumented(tmp_path) == found


def _modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(gridspine.__path__, "gridspine."):
        if not re.search(r"\.migrations\.(env|versions\.)|__main__$", found.name):  # these run when imported
            yield importlib.import_module(found.name)


def test_every_module_can_be_imported_alone() -> None:
    assert len(list(_modules())) > 100


def test_every_setting_is_documented() -> None:
    assert undocumented_settings(Settings) == []
    assert undocumented_settings(EdgeSettings) == []


def test_a_setting_without_words_is_found() -> None:
    class Inner(msgspec.Struct):
        """A section.

        said: something.
        """

        said: int = 1
        unsaid: int = 2

    class Outer(msgspec.Struct):
        """All."""

        inner: Inner
        alone: str = ""

    assert undocumented_settings(Outer) == ["inner.unsaid", "alone"]


def test_every_command_is_documented() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert commands
    assert [name for name, command in commands.items() if not (command.help or "").strip()] == []
