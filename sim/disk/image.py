"""A disk as its notes tell it: what is durable, what waits to be, and what a power cut leaves.

The model is the strict one of POSIX. Bytes are durable once their file was synced, a name once its *folder* was; an
unsynced write may be kept, lost, or kept in part (whole sectors of 512 bytes), whatever happened to those before and
after it; unsynced names of one folder are kept in their order up to some point. File systems promise more, each
something else.
"""

import os
import random
from dataclasses import dataclass, field
from pathlib import Path

from sim.disk.trace import Note, Op

SECTOR = 512


@dataclass(eq=False, slots=True)
class File:
    """Bytes: those synced, and the changes since in order, as (number, place, bytes) or (number, size, None)."""

    synced: bytearray = field(default_factory=bytearray)
    waiting: list[tuple[int, int, bytes | None]] = field(default_factory=list)

    def sync(self, upto: int) -> None:
        """Make durable what was changed before number ``upto``."""
        for _, at, body in (change for change in self.waiting if change[0] < upto):
            _change(self.synced, at, body)
        self.waiting = [change for change in self.waiting if change[0] >= upto]

    def content(self, cut: "Cut") -> bytes:
        """Return what ``cut`` leaves."""
        left = bytearray(self.synced)
        for _, at, body in self.waiting:
            if body is None:
                if cut.keeps():
                    _change(left, at, None)
            else:
                for start, piece in cut.pieces(at, body):
                    _change(left, start, piece)
        return bytes(left)


@dataclass(eq=False, slots=True)
class Folder:
    """Names: those synced, those of now, and the changes since in order, as (number, changes of names)."""

    synced: "dict[str, File | Folder]" = field(default_factory=dict)
    names: "dict[str, File | Folder]" = field(default_factory=dict)
    waiting: "list[tuple[int, dict[str, File | Folder | None]]]" = field(default_factory=list)

    def change(self, number: int, changes: "dict[str, File | Folder | None]") -> None:
        """Give or take names, all at once."""
        self.waiting.append((number, changes))
        _rename(self.names, changes)

    def sync(self, upto: int) -> None:
        """Make durable the names changed before number ``upto``."""
        for _, changes in (change for change in self.waiting if change[0] < upto):
            _rename(self.synced, changes)
        self.waiting = [change for change in self.waiting if change[0] >= upto]

    def left(self, cut: "Cut") -> "dict[str, File | Folder]":
        """Return the names that ``cut`` leaves."""
        names = dict(self.synced)
        for _, changes in self.waiting[: cut.prefix(len(self.waiting))]:
            _rename(names, changes)
        return names


class Cut:
    """What becomes of unsynced changes when the power goes: ``kept`` says how likely each one is to be there.

    A kill is a cut that keeps all: the operating system goes on. ``dice`` None: all or nothing, by ``kept``.
    """

    def __init__(self, dice: random.Random | None, kept: float) -> None:
        self._dice, self._kept = dice, kept

    def keeps(self) -> bool:
        """Whether one change is kept."""
        return self._kept >= 1 or (self._dice is not None and self._dice.random() < self._kept)

    def prefix(self, count: int) -> int:
        """How many of ``count`` changes in a row are kept."""
        if self._dice is None or self._kept >= 1:
            return count if self._kept >= 1 else 0
        return min(count, int(self._dice.random() * (count + 1) * 2 * self._kept))

    def pieces(self, at: int, body: bytes) -> list[tuple[int, bytes]]:
        """Return the parts of a write that are kept: all of it, none, or some of its sectors."""
        if self._dice is None or self._kept >= 1:
            return [(at, body)] if self._kept >= 1 else []
        if self._dice.random() < 0.7:
            return [(at, body)] if self.keeps() else []
        kept, start = [], 0
        while start < len(body):
            end = min(len(body), start + SECTOR - (at + start) % SECTOR)
            if self.keeps():
                kept.append((at + start, body[start:end]))
            start = end
        return kept


KILL = Cut(None, 1.0)
"""The process ends; the operating system writes what it holds."""


class Disk:
    """The folder ``root`` as the notes tell it; it is durable, and all that is noted lies below."""

    def __init__(self, root: Path) -> None:
        self.root = Folder()
        self._path = os.fsencode(root)
        self._open: dict[tuple[int, int], File | Folder] = {}
        self._syncing: dict[tuple[int, int, int], int] = {}
        self._number = 0

    @property
    def unsynced(self) -> int:
        """How many changes would a power cut put at risk."""
        files, changes = self._all(self.root), 0
        for one in files:
            changes += len(one.waiting)
        return changes

    def take(self, note: Note) -> None:
        """Take up what a process did."""
        self._number += 1
        place = (note.process, note.file)
        match note.op:
            case Op.OPEN:
                self._open[place] = self._opened(note)
            case Op.CLOSE:
                self._open.pop(place, None)
            case Op.WRITE | Op.RESIZE:
                file = self._open[place]
                assert isinstance(file, File)
                file.waiting.append((self._number, note.at, note.first if note.op is Op.WRITE else None))
            case Op.SYNCING:
                self._syncing[*place, note.at] = self._number
            case Op.SYNCED:
                upto = self._syncing.pop((*place, note.at))
                if place in self._open:
                    self._open[place].sync(upto)
            case Op.SEND:
                pass
            case _:
                self._rename(note)

    def write(self, folder: Path, cut: Cut) -> None:
        """Write to ``folder`` what ``cut`` leaves."""
        _write(self.root, folder, cut)

    def adopt(self, folder: Path) -> None:
        """Begin again from what ``folder`` holds, all of it durable."""
        self.root = _adopted(folder)
        self._open.clear()
        self._syncing.clear()

    def _opened(self, note: Note) -> File | Folder:
        if note.first == self._path:
            return self.root
        folder, name = self._place(note.first)
        found = folder.names.get(name)
        if found is None:
            found = File()
            folder.change(self._number, {name: found})
        elif note.at & os.O_TRUNC and isinstance(found, File):
            found.waiting.append((self._number, 0, None))
        return found

    def _rename(self, note: Note) -> None:
        folder, name = self._place(note.first)
        match note.op:
            case Op.MKDIR:
                folder.change(self._number, {name: Folder()})
            case Op.UNLINK | Op.RMDIR:
                folder.change(self._number, {name: None})
            case Op.LINK | Op.RENAME:
                other, to = self._place(note.second)
                assert other is folder, "names are given and taken within one folder only"
                moved = folder.names[name]
                folder.change(self._number, {to: moved} if note.op is Op.LINK else {name: None, to: moved})
            case _:
                raise AssertionError(note.op)

    def _place(self, path: bytes) -> tuple[Folder, str]:
        assert path.startswith(self._path + b"/"), path
        *folders, name = os.fsdecode(path[len(self._path) + 1 :]).split("/")
        folder = self.root
        for one in folders:
            below = folder.names[one]
            assert isinstance(below, Folder)
            folder = below
        return folder, name

    def _all(self, folder: Folder) -> "list[File | Folder]":
        found: list[File | Folder] = [folder]
        for one in folder.names.values():
            found += self._all(one) if isinstance(one, Folder) else [one]
        return found


def _change(content: bytearray, at: int, body: bytes | None) -> None:
    end = at if body is None else at + len(body)
    if body is None and end < len(content):
        del content[end:]
        return
    if end > len(content):
        content.extend(bytes(end - len(content)))
    if body is not None:
        content[at:end] = body


def _rename(names: dict[str, File | Folder], changes: dict[str, File | Folder | None]) -> None:
    for name, one in changes.items():
        if one is None:
            names.pop(name, None)
        else:
            names[name] = one


def _write(folder: Folder, to: Path, cut: Cut) -> None:
    to.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, one in folder.left(cut).items():
        if isinstance(one, Folder):
            _write(one, to / name, cut)
        else:
            (to / name).write_bytes(one.content(cut))
            (to / name).chmod(0o600)


def _adopted(path: Path) -> Folder:
    folder = Folder()
    for below in sorted(path.iterdir()):
        folder.names[below.name] = _adopted(below) if below.is_dir() else File(bytearray(below.read_bytes()))
    folder.synced = dict(folder.names)
    return folder
