"""Entities as Cedar sees them, and decisions as everyone else does."""

from collections.abc import Mapping
from typing import Any

import msgspec

from gridspine.kernel.errors import Forbidden


class Entity(msgspec.Struct, frozen=True):
    """Something that acts or is acted on: its kind, its id, and the attributes and parents policies look at.

    An attribute is a text, whole number, truth value, list (a set to Cedar), mapping, or the ``ref`` of another entity.
    """

    kind: str
    id: str
    attributes: Mapping[str, Any] = {}
    parents: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"

    @property
    def uid(self) -> dict[str, str]:
        """The entity's name in Cedar's JSON form."""
        return {"type": self.kind, "id": self.id}

    def document(self) -> dict[str, Any]:
        """Return the entity in Cedar's JSON form."""
        parents = [{"type": kind, "id": name} for kind, name in self.parents]
        return {"uid": self.uid, "attrs": dict(self.attributes), "parents": parents}


def ref(kind: str, id: str) -> dict[str, dict[str, str]]:
    """Return a reference to an entity, for use as an attribute or in a context (Cedar's JSON form)."""
    return {"__entity": {"type": kind, "id": id}}


class Decision(msgspec.Struct, frozen=True, rename="camel"):
    """Permit or deny, with its reason. ``policies`` are the ids of those that determined it; none: nothing permits it.

    ``principal`` and ``resource`` read ``kind id``; ``time_us`` [µs since 1970].
    """

    id: str
    allowed: bool
    reason: str
    policies: tuple[str, ...]
    principal: str
    action: str
    resource: str
    time_us: int

    def check(self, *, explain: bool) -> "Decision":
        """Return the decision when it permits; raise `Forbidden` when not.

        The reason goes to those who may know it (``explain``), to others only the decision's id.
        """
        if self.allowed:
            return self
        detail = self.reason if explain else f"decision {self.id}: an auditor of this node can say why"
        raise Forbidden(detail, decision=self.id)
