"""Which registers to read together: few requests, none too long, and a value never apart from its scale factor.

::

    wanted    [W]········[Hz]·······················[W_SF][Hz_SF]      two spans, each one value with its scale factor
               └────────────────────────────────────────┘
    blocks    [───────────────── one request ─────────────────]
"""

from collections.abc import Iterable
from dataclasses import dataclass

MAX_REGISTERS = 125
"""Registers in one read request at most (Modbus Application Protocol V1.1b3 §6.3)."""
MAX_WRITTEN = 123
"""Registers in one write request at most (Modbus Application Protocol V1.1b3 §6.12)."""
MAX_GAP = 16
"""Unwanted registers worth reading to save a request."""


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Registers ``[start, end)`` that must be read in one request."""

    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 < self.end - self.start <= MAX_REGISTERS:
            raise ValueError(f"one request reads 1 to {MAX_REGISTERS} registers, not {self.end - self.start}")


def plan_reads(spans: Iterable[Span], *, max_gap: int = MAX_GAP) -> list[Span]:
    """Return the blocks to read, in order of start, so that each span lies whole within a block.

    Neighbours are merged while the block stays within `MAX_REGISTERS` and at most ``max_gap`` unwanted registers
    lie between them. Give only spans of one model: blocks then never cross a model's bounds.
    """
    blocks: list[Span] = []
    for span in sorted(set(spans)):
        last = blocks[-1] if blocks else None
        if last and span.end <= last.end:
            continue
        if last and span.start - last.end <= max_gap and span.end - last.start <= MAX_REGISTERS:
            blocks[-1] = Span(last.start, span.end)
        else:
            blocks.append(span)
    return blocks
