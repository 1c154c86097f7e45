"""What a charge point tells in several messages under one number, for whoever asked for it.

::

    GetDERControl 7 ─► Accepted     ReportDERControl 7, tbc ─► part     ReportDERControl 7 ─► part, whole
"""

import asyncio
from typing import Any

import msgspec

MAX_REPORTS = 4
"""Reports of a charge point that are waited for at once."""
MAX_BYTES = 24_000


class Report:
    """One report, as it comes; what is beyond `MAX_BYTES` is left out, and ``cut`` says so."""

    def __init__(self) -> None:
        self.whole = asyncio.Event()
        self.parts: list[dict[str, Any]] = []
        self.cut = False
        self._bytes = 0

    def add(self, said: dict[str, Any]) -> None:
        """Take in a message of it."""
        part = {key: value for key, value in said.items() if key not in {"requestId", "tbc", "customData"}}
        self._bytes += len(msgspec.json.encode(part))
        if self._bytes <= MAX_BYTES:
            self.parts.append(part)
        else:
            self.cut = True
        if not said.get("tbc", False):
            self.whole.set()
