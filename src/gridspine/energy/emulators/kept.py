"""What a fleet has become, as bytes: its arrays by path, and where its chance is.

::

    {"battery": State(stored_wh, Registers(import_wh, …)), …}  ─►  battery.stored_wh, battery.registers.import_wh, …

A zip file of arrays (NumPy's ``npz``), read without pickles: whatever the bytes are, nothing of them is executed. What
is read must have the shape and type of what is there; so a state of another fleet, or of another release, is refused.
"""

import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from gridspine.kernel.errors import Corrupt

_CHANCE = "random"
_FAULTS = (
    ValueError, OSError, KeyError, EOFError, TypeError, OverflowError, RuntimeError, MemoryError, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip
"""What NumPy and the standard library raise for a file that is none of ours."""


def pack(state: Mapping[str, Any], random: np.random.Generator, *, seed: int) -> bytes:
    """Return ``state`` as bytes: arrays and numbers in mappings and dataclasses, and where ``random`` is.

    What was drawn from ``seed`` is not among it: the state fits only to what was drawn from the same.
    """
    arrays = {path: np.asarray(value) for path, value in _leaves("", state)}
    arrays[_CHANCE] = np.frombuffer(json.dumps({"seed": seed, "state": random.bit_generator.state}).encode(), np.uint8)
    into = io.BytesIO()
    np.savez(into, **arrays)  # type: ignore[arg-type]
    return into.getvalue()


def unpack(kept: bytes, like: Mapping[str, Any], random: np.random.Generator, *, seed: int) -> dict[str, Any]:
    """Return what was packed, built as ``like`` is, and set ``random``; raise `Corrupt` for what is not like it."""
    try:
        with np.load(io.BytesIO(kept), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        chance = json.loads(arrays.pop(_CHANCE).tobytes())
    except _FAULTS as error:
        raise Corrupt(f"the state of an emulator cannot be read: {error}") from error
    if (
        not isinstance(chance, dict)
        or chance.get("seed") != seed
        or set(arrays) != {path for path, _ in _leaves("", like)}
    ):
        raise Corrupt("the state of an emulator is of another one")
    found: dict[str, Any] = _built("", like, arrays)
    try:
        random.bit_generator.state = chance["state"]
    except (TypeError, ValueError, KeyError) as error:
        raise Corrupt(f"the chance of an emulator cannot be read: {error}") from error
    return found


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    parts = _parts(value)
    if parts is None:
        yield path, value
        return
    for name, part in parts.items():
        yield from _leaves(f"{path}.{name}" if path else name, part)


def _parts(value: Any) -> Mapping[str, Any] | None:
    if isinstance(value, Mapping):
        return value
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return None


def _built(path: str, like: Any, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Any:
    parts = _parts(like)
    if parts is None:
        kept = arrays[path]
        if kept.shape != np.shape(like) or kept.dtype != np.asarray(like).dtype:
            raise Corrupt(f"the state of an emulator is of another one: {path}")
        return kept if isinstance(like, np.ndarray) else type(like)(kept[()])
    built = {name: _built(f"{path}.{name}" if path else name, part, arrays) for name, part in parts.items()}
    return built if isinstance(like, Mapping) else type(like)(**built)
