"""What becomes of rules that are not seen, the level that follows, and what the command line says of it."""

import sys
from pathlib import Path

import msgspec
import pytest
from judged_drop import QUALITY, Drop, DropRig
from typer.testing import CliRunner

from gridspine.apps.cli.main import app
from gridspine.testing.candidate import Candidate, find
from gridspine.testing.judge import judge, level_of
from gridspine.testing.quality import Claim, Quality, read_quality
from gridspine.testing.rules import LEVELS, rules

DONE = {name: Claim("done", test="" if rule.check else "test_x.py::test_x") for name, rule in rules().items()}


def quality(**changed: Claim | None) -> Quality:
    claims = DONE | {name.replace("_", "-"): claim for name, claim in changed.items()}
    return msgspec.structs.replace(
        read_quality(QUALITY), rules={name: claim for name, claim in claims.items() if claim is not None}
    )


def candidate(said: Quality, folder: Path, *, rig: bool = True) -> Candidate:
    (folder / "README.md").write_text("# Drop\n")
    return Candidate("drop", "drop", "1", Drop, DropRig if rig else None, said, folder, None)


@pytest.mark.parametrize(
    ("changed", "level"),
    [
        ({}, "gold"),
        ({"fuzzed": Claim("todo", reason="later")}, "silver"),
        ({"fuzzed": Claim("exempt", reason="none")}, "gold"),
        ({"reconnect": Claim("todo", reason="later")}, "bronze"),
        ({"reconnect": None}, "bronze"),
        ({"traced": Claim("todo", reason="later")}, "none"),
    ],
)
def test_the_level_is_the_highest_of_which_nothing_is_missing(changed: dict[str, Claim | None], level: str) -> None:
    assert level_of(quality(**changed)) == level
    assert LEVELS == ("bronze", "silver", "gold")


def test_what_was_seen_to_fail_takes_the_level_away() -> None:
    assert level_of(quality(), {"reconnect"}) == "bronze"
    assert level_of(quality(), {"described"}) == "none"


async def test_without_a_rig_tests_are_claims_and_nothing_else_is_done(tmp_path: Path) -> None:
    said = quality(reconnect=Claim("done", test="test_x.py::test_x"))
    verdict = await judge(candidate(said, tmp_path, rig=False), only=("reconnect", "traced", "fuzzed"))
    assert {one.rule: one.state for one in verdict.findings} == {
        "reconnect": "claimed", "traced": "failed", "fuzzed": "claimed",
    }  # fmt: skip


async def test_a_check_that_breaks_is_a_failure_and_no_end(tmp_path: Path) -> None:
    class Broken(DropRig):
        async def start(self, node: object) -> None:
            raise KeyError("nothing there")

    broken = msgspec.structs.replace(candidate(quality(), tmp_path), make_rig=Broken)
    verdict = await judge(broken, only=("units-declared", "round-trips"), patience_s=0.2)
    assert {one.rule: one.state for one in verdict.findings} == {"units-declared": "failed", "round-trips": "passed"}
    assert "KeyError" in verdict.problems[0].words


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["check", "nobody"], "no adapter 'nobody' is installed"),
        (["check", "mqtt", "--only", "nice"], "there is no rule nice"),
        (["new", "No"], "is not lower-case"),
    ],
)
def test_the_command_line_says_what_cannot_be(words: list[str], said: str) -> None:
    ended = CliRunner().invoke(app, ["adapter", *words])
    assert ended.exit_code == 1
    assert said in str(ended.exception)


def test_one_rule_alone_and_as_json() -> None:
    ended = CliRunner().invoke(app, ["adapter", "check", "mqtt", "--only", "round-trips", "--json"])
    assert ended.exit_code == 0, ended.output
    (verdict,) = msgspec.json.decode(ended.output)
    assert [(one["rule"], one["state"]) for one in verdict["findings"]] == [("round-trips", "passed")]


def test_who_claims_more_than_is_so_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "x"\nversion = "1"\n[project.entry-points."gridspine.adapters"]\nx = "claims_much:make"\n'
    )
    (tmp_path / "claims_much.py").write_text("def make(): ...\n")
    (tmp_path / "quality.toml").write_text('protocol = "X"\nversions = []\nlevel = "gold"\n')
    (found,) = find(str(tmp_path))
    assert found.make_rig is None
    ended = CliRunner().invoke(app, ["adapter", "check", str(tmp_path)])
    assert ended.exit_code == 1
    assert "none, and claims to be gold" in ended.output
