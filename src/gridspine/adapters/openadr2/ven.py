"""Which Things stand for which VEN, and for the resources that it reports of.

::

    connection of a Thing
    {"venID": "ven-17"} ───────────────────────────────────────────────────► the VEN itself
    {"venID": "ven-17", "role": "resource", "resourceID": "heat-pump"} ─────► what of it is reported as that resource

A VEN is who its certificate says: it speaks for its Thing, as the node's operator said, and has that Thing's venID. A
venID on the wire opens nothing that the certificate does not.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from gridspine.adapters.openadr2.client.connection import is_follower
from gridspine.kernel.errors import Invalid
from gridspine.things.adapter import Binding

_NAMES = {"ven_id": "venID", "ven_name": "venName", "resource_id": "resourceID"}


class Connection(msgspec.Struct, frozen=True, rename=_NAMES, forbid_unknown_fields=True):
    """The ``connection`` of a binding.

    ``ven_id`` is the VEN's. ``role``: *ven*, itself; *resource*, what it reports of as ``resource_id``. ``ven_name``
    is what it calls itself, where one certificate speaks for several. ``points``: which point a report's rID is, where
    its description does not say. ``signature``: whether its messages are signed, where that is not as in the settings.
    """

    ven_id: str
    role: Literal["ven", "resource"] = "ven"
    ven_name: str = ""
    resource_id: str = ""
    points: dict[str, str] = {}
    signature: Literal["", "verified", "required"] = ""


@dataclass(slots=True)
class Resource:
    """A Thing that reports can be of: its points by name, and by rID where that was said."""

    thing: str
    points: frozenset[str]
    by_rid: dict[str, str]


@dataclass(slots=True)
class Ven:
    """A VEN and its resources, by resourceID; its own is "". ``signature`` "" is as the settings say."""

    id: str
    name: str = ""
    thing: str = ""
    signature: str = ""
    resources: dict[str, Resource] = field(default_factory=dict)


class Vens:
    """All VENs that Things are bound to; ``problems`` are the bindings left out, and why."""

    def __init__(self, bindings: Iterable[Binding]) -> None:
        self.problems: list[str] = []
        self._of: dict[str, Ven] = {}
        self._organisations: dict[str, str] = {}
        for binding in bindings:
            if is_follower(binding.connection):
                continue
            try:
                self._add(binding, read_connection(binding))
            except Invalid as error:
                self.problems.append(f"{binding.thing}: {error.detail}")
        for one in list(self._of.values()):
            if not one.thing:
                self.problems.append(f"{next(iter(one.resources.values())).thing}: no Thing is the VEN {one.id!r}")
                del self._of[one.id]
        self._of_thing = {one.thing: one for one in self._of.values()}

    def get(self, id: str) -> Ven | None:
        """Return the VEN with that venID."""
        return self._of.get(id)

    def of_thing(self, thing: str) -> Ven | None:
        """Return the VEN that is that Thing."""
        return self._of_thing.get(thing)

    def all(self) -> Sequence[Ven]:
        """Return all of them."""
        return list(self._of.values())

    def _add(self, binding: Binding, connection: Connection) -> None:
        one = self._of.setdefault(connection.ven_id, Ven(connection.ven_id))
        if self._organisations.setdefault(connection.ven_id, binding.organisation) != binding.organisation:
            raise Invalid("connection: the venID is another organisation's")
        name = connection.resource_id if connection.role == "resource" else ""
        if name in one.resources:
            raise Invalid(f"connection: another Thing is {f'resource {name!r} of ' if name else ''}that VEN already")
        one.resources[name] = Resource(binding.thing, frozenset(binding.points), connection.points)
        if connection.role == "ven":
            one.thing, one.name = binding.thing, connection.ven_name
            one.signature = connection.signature


def read_connection(binding: Binding) -> Connection:
    """Return the connection of a binding; raise `Invalid` naming what is wrong."""
    try:
        found = msgspec.convert(binding.connection, Connection)
    except msgspec.ValidationError as error:
        raise Invalid(f"connection: {error}") from error
    if not 0 < len(found.ven_id) <= 128:
        raise Invalid("connection: venID has 1 to 128 characters")
    if (found.role == "resource") != bool(found.resource_id):
        raise Invalid("connection: resourceID belongs to the role resource, and to that only")
    return found
