"""Two looks at what a real node wrote: was it synced before it was acknowledged, and what does a power cut leave.

::

    notes ─┬─ order     write … sync begins … sync ends … answer: nothing it needed waits when the answer goes out
           └─ images    cut the notes anywhere; keep what was synced, and dice over the rest; a fresh node opens it
"""

import asyncio
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gridspine.apps.node.node import Node, compose
from gridspine.infra.log.scan import scan
from gridspine.infra.runtime.clock import SystemClock
from gridspine.infra.runtime.settings import Archive, Log, Settings
from gridspine.kernel.codecs.batch import decode_batch
from gridspine.kernel.errors import GridspineError
from sim.disk.image import Cut, Disk, Folder
from sim.disk.trace import Note, Op
from sim.recording import NEEDS, Acknowledged, Recording

_SAID = {"mqtt": b"\x40\x02"}
_HTTP = b"HTTP/1.1 20"
_NOT_KEPT = ("-shm",)
"""Endings of files that are made anew at each start: SQLite's index of its write-ahead log."""


@dataclass(slots=True)
class Ordered:
    """What the order of notes shows: answers looked at by kind, and those given too early, with what still waited."""

    answers: dict[str, int] = field(default_factory=dict)
    too_early: list[str] = field(default_factory=list)


def check_order(recording: Recording) -> Ordered:
    """Look at each answer as it goes out: was something written for it, and is all of that synced."""
    found, disk = Ordered(), Disk(recording.data.parent)
    disk.root.names["data"] = disk.root.synced["data"] = Folder()
    answers = iter(recording.answers)
    answer = next(answers, None)
    written: set[str] = set()
    names: dict[tuple[int, int], str] = {}
    for number, note in enumerate(recording.notes):
        if answer is not None and number >= answer.last:
            found.too_early.append(f"{answer.kind}: no answer was seen to go out")
            answer = next(answers, None)
        inside = answer is not None and number >= answer.first
        if not inside:
            written.clear()
        disk.take(note)
        if note.op is Op.OPEN:
            names[note.process, note.file] = note.first.decode()
        elif note.op is Op.WRITE and inside:
            written.add(names[note.process, note.file].removeprefix(f"{recording.data}/"))
        if answer is not None and inside and _is_answer(note, answer.kind):
            _look(answer, disk, written, found)
            answer = next(answers, None)
            written.clear()
    return found


def _is_answer(note: Note, kind: str) -> bool:
    return note.op is Op.SEND and note.first.startswith(_SAID.get(kind, _HTTP))


def _look(answer: Acknowledged, disk: Disk, written: set[str], found: Ordered) -> None:
    found.answers[answer.kind] = found.answers.get(answer.kind, 0) + 1
    data = disk.root.names["data"]
    assert isinstance(data, Folder)
    for need in NEEDS[answer.kind]:
        if not any(path.startswith(need) for path in written):
            found.too_early.append(f"{answer.kind} {answer.promise}: nothing was written to {need}")
    for path, waiting in _waiting(data, ""):
        if waiting and path.startswith(NEEDS[answer.kind]):
            found.too_early.append(f"{answer.kind} {answer.promise}: {waiting} changes of {path} are not synced")


def _waiting(folder: Folder, path: str) -> Iterator[tuple[str, int]]:
    yield path, len([1 for _, names in folder.waiting if not all(name.endswith(_NOT_KEPT) for name in names)])
    for name, one in sorted(folder.names.items()):
        below = f"{path}{name}"
        if isinstance(one, Folder):
            yield from _waiting(one, f"{below}/")
        elif not name.endswith(_NOT_KEPT):
            yield below, len(one.waiting)


@dataclass(slots=True)
class Images:
    """What power cuts leave: images opened, promises looked for, and what was not there."""

    images: int = 0
    promises: int = 0
    lost: list[str] = field(default_factory=list)


async def check_images(recording: Recording, folder: Path, count: int, seed: int) -> Images:
    """Cut the power at ``count`` places of the notes; open each image, and look for all acknowledged before."""
    dice, found = random.Random(seed), Images()
    places = sorted(dice.randrange(1, len(recording.notes)) for _ in range(count))
    disk = Disk(recording.data.parent)
    disk.root.names["data"] = disk.root.synced["data"] = Folder()
    at = 0
    for place in places:
        for note in recording.notes[at:place]:
            disk.take(note)
        at = place
        image = folder / f"image-{found.images}"
        cut = Cut(dice, dice.choice((0.0, 0.1, 0.5, 0.9)))
        disk.write(image, cut)
        promised = [one for one in recording.answers if _said_before(recording, one, place)]
        try:
            await _open(image / "data", promised, found, place)
        finally:
            shutil.rmtree(image)
    return found


def _said_before(recording: Recording, answer: Acknowledged, place: int) -> bool:
    said = (at for at in range(answer.first, answer.last) if _is_answer(recording.notes[at], answer.kind))
    return next(said, place) < place


async def _open(data: Path, promised: list[Acknowledged], found: Images, place: int) -> None:
    found.images += 1
    settings = Settings(archive=Archive(enabled=False), log=Log(reserve_bytes=1 << 20))
    try:
        node = await compose(settings, data, SystemClock(), organisation="northside")
    except (GridspineError, OSError) as error:
        found.lost.append(f"cut at {place}: the node does not start: {error}")
        return
    values = await asyncio.to_thread(_values, node)
    for answer in promised:
        found.promises += 1
        if not _kept(node, answer, values):
            found.lost.append(f"cut at {place}: {answer.kind} {answer.promise} was acknowledged, and is gone")
    await node.stop()


def _values(node: Node) -> set[float]:
    first, following = node.log.bounds("readings")[0]
    return {
        value
        for record in scan(node.log, "readings", 0, first, following)
        for value in decode_batch(record.body).value.tolist()
    }


def _kept(node: Node, answer: Acknowledged, values: set[float]) -> bool:
    match answer.kind:
        case "readings" | "mqtt":
            return set(answer.promise) <= values
        case "grant":
            return node.gate.grant(answer.promise) is not None
        case _:
            return any(one.id == answer.promise for one in node.commands.commander.commands())
