"""The data directory: its owner's alone, one node at a time, of a known format."""

from pathlib import Path

import pytest

from gridspine.infra.runtime.datadir import FORMAT, DataDirectory
from gridspine.kernel.errors import Conflict


def test_one_at_a_time(tmp_path: Path) -> None:
    first = DataDirectory(tmp_path / "data")
    with pytest.raises(Conflict, match="in use"):
        DataDirectory(tmp_path / "data")
    first.close()
    DataDirectory(tmp_path / "data").close()


def test_others_are_shut_out_of_one_that_was_there_before(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.mkdir(mode=0o755)
    path.chmod(0o755)
    DataDirectory(path).close()
    assert path.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("text", [str(FORMAT + 1), "x", ""])
def test_another_format_is_refused_and_the_lock_let_go(tmp_path: Path, text: str) -> None:
    DataDirectory(tmp_path).close()
    (tmp_path / "format").write_text(text)
    with pytest.raises(Conflict):
        DataDirectory(tmp_path)
    (tmp_path / "format").write_text(f"{FORMAT}\n")
    DataDirectory(tmp_path).close()
