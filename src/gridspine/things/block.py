"""`Block`: Things to bind in a point table, as columns."""

from collections.abc import Sequence
from dataclasses import dataclass

from gridspine.kernel.names import PackedNames
from gridspine.kernel.readings import Int32Array


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Things to bind: their ids (all different), and for each its first point, and its place in ``models`` and
    ``organisations``; int32 (k,).
    """

    ids: PackedNames
    first: Int32Array
    models: Sequence[str]
    model: Int32Array
    organisations: Sequence[str]
    organisation: Int32Array
