"""Runs Starlark for its parent: ``python -m gridspine.infra.runtime.starlark_child MEMORY_BYTES``.

It reads frames (length as uint32, little-endian; MessagePack) from standard input and answers each on standard
output: `Load` with a `Loaded`, `Calls` with one `Done` or `Fault` a call, as each is known. The kernel bounds its
memory, and lets it open no file, no socket and no process; its parent ends it when an answer takes too long.
"""

import os
import sys

import msgspec

from gridspine.infra.runtime import starlark
from gridspine.infra.runtime.confine import confine, shut
from gridspine.infra.runtime.frame import frame, read_frame
from gridspine.infra.runtime.starlark_wire import (
    MAX_FRAME_BYTES,
    MAX_TEXT_BYTES,
    Calls,
    Fault,
    Load,
    Loaded,
    Request,
    Result,
)
from gridspine.kernel.errors import Invalid


def _load(programs: dict[str, starlark.Program], wanted: Load) -> Loaded:
    programs.pop(wanted.name, None)
    if not wanted.text:
        return Loaded()
    try:
        program = starlark.compile(wanted.text)
    except Invalid as problem:
        line = problem.extra.get("line")
        return Loaded(problem=problem.detail, line=line if isinstance(line, int) else None)
    programs[wanted.name] = program
    return Loaded(tuple(sorted(program.functions)))


def _call(program: starlark.Program | None, calls: Calls, raw: list[msgspec.Raw]) -> Result:
    if program is None:
        return Fault("missing", f"there is no program {calls.name}")
    return program.call(calls.function, *map(msgspec.msgpack.decode, raw), max_steps=calls.max_steps)


def _warm_up() -> None:
    """Let the interpreter load what it needs before no file can be opened any more."""
    starlark.compile("def f(x):\n    return x\n").call("f", {"a": [1.5, None, "ü"]})
    starlark.compile("x = 1\n" + "#" * (MAX_TEXT_BYTES - 100))


def main() -> int:
    """Answer until the parent closes the pipe."""
    stdin, stdout = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    _warm_up()
    confine(int(sys.argv[1]))
    shut(files=True)
    decoder = msgspec.msgpack.Decoder(Request)
    programs: dict[str, starlark.Program] = {}
    while (body := read_frame(stdin, MAX_FRAME_BYTES)) is not None:
        request = decoder.decode(body)
        if isinstance(request, Load):
            stdout.write(frame(_load(programs, request)))
        else:
            for raw in request.arguments:
                stdout.write(frame(_call(programs.get(request.name), request, raw)))
                stdout.flush()
        stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
