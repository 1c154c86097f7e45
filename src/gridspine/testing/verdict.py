"""What becomes of each rule when an adapter is judged."""

from typing import Literal

import msgspec

State = Literal["passed", "failed", "claimed", "exempt", "todo"]


class Failed(Exception):
    """A rule is not kept; the text says how that was seen."""


class Finding(msgspec.Struct, frozen=True):
    """One rule: *passed* and *failed* were seen by a machine; *claimed* names a test or a document that says so."""

    rule: str
    level: str
    state: State
    words: str = ""


class Verdict(msgspec.Struct, frozen=True):
    """All rules of one adapter, and the ``level`` it has: gold, silver, bronze, or none."""

    adapter: str
    package: str
    version: str
    claims: str
    level: str
    findings: tuple[Finding, ...]

    @property
    def problems(self) -> list[Finding]:
        """What was seen to fail."""
        return [one for one in self.findings if one.state == "failed"]
