"""What an adapter says that orders lose: every facet of every language, in bounds that make sense."""

from pathlib import Path

import pytest

from gridspine.kernel.errors import Invalid
from gridspine.testing.facets import facets
from gridspine.testing.quality import complaints, read_quality

HEAD = 'protocol = "Morse"\nversions = ["1"]\n[order.Morse]\n'


def whole(without: str = "") -> str:
    return "".join(f'{name} = ["kept", "as it was ordered"]\n' for name in facets() if name != without)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "README.md").write_text("")
    return tmp_path


def said(folder: Path, text: str, *, commands: bool = True) -> list[str]:
    return list(complaints(read_quality(text), folder, None, commands=commands))


def test_a_whole_table_is_enough(folder: Path) -> None:
    assert said(folder, HEAD + whole()) == []


def test_who_commands_must_say_what_is_lost(folder: Path) -> None:
    silent = HEAD.partition("[order")[0]
    assert said(folder, silent) == [
        "its devices take orders, and no [order.LANGUAGE] says what becomes of one on the way"
    ]
    assert said(folder, silent, commands=False) == []


@pytest.mark.parametrize("facet", facets())
def test_each_facet_is_asked_for(folder: Path, facet: str) -> None:
    assert said(folder, HEAD + whole(facet)) == [f"order 'Morse': nothing is said of {facet}"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('colour = ["kept", "blue"]', "colour is no facet"),
        ('value = ["kept", "so", [0, 1]]', "a tolerance is for a part"),
        ('trace = ["part", "so", [0, 1]]', "a tolerance is for a part"),
        ('end = ["part", "so", [1, 0]]', "[least, most]"),
    ],
)
def test_what_makes_no_sense_is_told(folder: Path, line: str, words: str) -> None:
    (told,) = said(folder, HEAD + whole(line.partition(" ")[0]) + line)
    assert words in told


@pytest.mark.parametrize(
    "entry",
    ['["kept"]', '["some", "so"]', '["kept", ""]', '["part", "so", [1]]', '["part", "so", [0, 1], 2]', '"kept"'],
)
def test_an_entry_has_a_form(entry: str) -> None:
    with pytest.raises(Invalid, match=r"quality\.toml"):
        read_quality(f"{HEAD}value = {entry}\n")
