"""Runs emulators for its parent: ``python -m gridspine.apps.node.emulation_child``.

The models and what they lean on are heavy; here they take memory only while a twin is emulated, and their steps never
hold up the node.
"""

import os
import sys

import msgspec
import numpy as np

from gridspine.apps.node.emulation_wire import (
    MAX_FRAME_BYTES,
    Begin,
    Begun,
    Instruct,
    Instructed,
    Keep,
    Kept,
    Reply,
    Request,
    Step,
    Stepped,
)
from gridspine.energy.emulators.fleet import Fleet
from gridspine.energy.emulators.mix import Mix
from gridspine.infra.runtime.frame import frame, read_frame
from gridspine.kernel.errors import Corrupt, GridspineError


class Emulators:
    """The fleets at work, by cohort."""

    def __init__(self) -> None:
        self._fleets: dict[str, Fleet] = {}

    def answer(self, request: Request) -> Reply:
        """Carry out a request."""
        if isinstance(request, Begin):
            return self._begin(request)
        fleet = self._fleets[request.cohort]
        if isinstance(request, Instruct):
            return Instructed(_instruct(fleet, request))
        if isinstance(request, Keep):
            return Kept(fleet.keep())
        assert isinstance(request, Step)
        return Stepped(fleet.step(request.step_s).astype("<f8").tobytes())

    def _begin(self, wanted: Begin) -> Begun:
        self._fleets.pop(wanted.cohort, None)
        if not wanted.count:
            return Begun()
        try:
            fleet = Fleet(Mix.of_model(wanted.model, wanted.count), wanted.seed, wanted.start_us)
        except GridspineError as error:
            return Begun(problem=error.detail)
        self._fleets[wanted.cohort] = fleet
        (block,) = fleet.layout.blocks
        return Begun(block.points, block.settings, lost=_go_on(fleet, wanted))


def _go_on(fleet: Fleet, wanted: Begin) -> str:
    """Let a fleet be what it was, now; return why it cannot."""
    if not wanted.kept:
        return ""
    try:
        fleet.go_on(wanted.kept)
    except Corrupt as error:
        return error.detail
    fleet.now_us = wanted.start_us
    return ""


def _instruct(fleet: Fleet, wanted: Instruct) -> bool:
    (block,) = fleet.layout.blocks
    if wanted.point not in block.settings:
        return False
    place = block.first + wanted.place * len(block.points) + block.points.index(wanted.point)
    value = float("nan") if wanted.value is None else wanted.value
    taken = fleet.order(np.array([place], np.int32), np.array([value]), np.array([wanted.until_us], np.int64))
    return bool(taken[0])


def main() -> int:
    """Answer until the parent closes the pipe."""
    stdin, stdout = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    decoder = msgspec.msgpack.Decoder(Request)
    emulators = Emulators()
    while (body := read_frame(stdin, MAX_FRAME_BYTES)) is not None:
        stdout.write(frame(emulators.answer(decoder.decode(body))))
        stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
