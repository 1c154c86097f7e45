"""What is said about programs: results, and what a `Runner` and its child say. It imports no interpreter."""

from typing import Any, Literal

import msgspec

MAX_TEXT_BYTES = 64 << 10
"""A program's text, at most."""
MAX_STEPS = 100_000
"""Instructions of one call unless it is told otherwise; some 0.05 µs each."""
STEPS_GRAIN = 1_000
"""Steps are looked at this often, and counted so exactly."""
MAX_RESULT_BYTES = 1 << 20
Kind = Literal["text", "missing", "arguments", "steps", "depth", "error", "result", "time", "memory"]


class Done(msgspec.Struct, frozen=True, tag="done"):
    """What a function returned, and the steps it took, rounded down to `STEPS_GRAIN`."""

    value: Any
    steps: int = 0


class Fault(msgspec.Struct, frozen=True, tag="fault"):
    """Why a call has no answer: ``kind`` for programs, ``detail`` for people, ``line`` of the text where known."""

    kind: Kind
    detail: str
    line: int | None = None
    steps: int = 0


Result = Done | Fault

MAX_FRAME_BYTES = 16 << 20


class Load(msgspec.Struct, frozen=True, tag="load"):
    """Compile ``text`` and know it as ``name`` from now on; an empty text forgets the name."""

    name: str
    text: str


class Calls(msgspec.Struct, frozen=True, tag="calls"):
    """Call ``function`` of program ``name`` with each of ``arguments``."""

    name: str
    function: str
    arguments: list[list[msgspec.Raw]]
    max_steps: int


class Loaded(msgspec.Struct, frozen=True, tag="loaded"):
    """The functions of a program that was compiled, or why it was not."""

    functions: tuple[str, ...] = ()
    problem: str = ""
    line: int | None = None


Request = Load | Calls
Reply = Result | Loaded
