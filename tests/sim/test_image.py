"""The simulated disk: what is durable stays, what is not may go, in whole or by sectors."""

import os
import random
import subprocess
import sys

import pytest

from sim.disk import shim
from sim.disk.image import KILL, SECTOR, Cut, Disk, File, Folder
from sim.disk.trace import Note, Op, Trace

NOTHING = Cut(None, 0.0)


def names(folder: Folder) -> set[str]:
    return set(folder.left(NOTHING))


def test_bytes_are_durable_once_synced():
    file = File()
    file.waiting = [(1, 0, b"old"), (2, 3, b"new")]
    file.sync(2)
    assert file.content(NOTHING) == b"old"
    assert file.content(KILL) == b"oldnew"


def test_names_are_durable_once_their_folder_is_synced():
    folder = Folder()
    folder.change(1, {"a": File()})
    assert names(folder) == set()
    folder.sync(2)
    folder.change(3, {"a": None, "b": File()})
    assert names(folder) == {"a"}
    assert set(folder.left(KILL)) == {"b"}


def test_a_write_is_torn_between_sectors_only():
    body = bytes(range(256)) * 8
    for seed in range(200):
        file = File(bytearray(len(body)))
        file.waiting = [(1, 0, body)]
        left = file.content(Cut(random.Random(seed), 0.5))
        for at in range(0, len(body), SECTOR):
            assert left[at : at + SECTOR] in (body[at : at + SECTOR], bytes(SECTOR))


def test_a_sync_covers_what_was_written_before_it_began(tmp_path):
    disk = Disk(tmp_path)
    path = os.fsencode(tmp_path / "f")
    for op, at, first in (
        (Op.OPEN, os.O_CREAT, path), (Op.WRITE, 0, b"one"), (Op.SYNCING, 7, b""),
        (Op.WRITE, 3, b"two"), (Op.SYNCED, 7, b""),
    ):  # fmt: skip
        disk.take(Note(op, 1, 5, at, first, b""))
    file = disk.root.names["f"]
    assert isinstance(file, File)
    assert file.content(NOTHING) == b"one"


@pytest.mark.parametrize("kept", [0.0, 0.5])
def test_files_replaced_whole_are_the_old_or_the_new_after_any_cut(tmp_path, kept):
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "notes").touch()
    code = (
        "import sys; from pathlib import Path; from gridspine.infra.runtime.durable import make_folder, write_whole\n"
        "folder = Path(sys.argv[1]) / 'a' / 'b'; make_folder(folder)\n"
        "for word in (b'old' * 999, b'new' * 999): write_whole(folder / 'f', word)\n"
    )
    variables = os.environ | shim.environment(root, tmp_path / "notes")
    subprocess.run([sys.executable, "-c", code, str(root)], env=variables, check=True)
    notes = list(Trace(tmp_path / "notes").read())
    written = next(at for at, note in enumerate(notes) if note.op is Op.RENAME) + 4
    for seed in range(20):
        for end in range(written, len(notes) + 1):
            disk = Disk(root)
            for note in notes[:end]:
                disk.take(note)
            disk.write(tmp_path / f"{seed}-{end}", Cut(random.Random(seed), kept))
            assert (tmp_path / f"{seed}-{end}/a/b/f").read_bytes() in (b"old" * 999, b"new" * 999)
