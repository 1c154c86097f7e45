"""What is known of descriptions that differ only in what each device has of its own.

A fleet is described by one tool: most of each description is byte for byte that of the one before.

::

    document ─┬─ own   texts and numbers at its top: title, base, serial number …    checked each time
              └─ rest  properties, actions, forms, security, @context …  ─ hash ─►   checked, and read, once

Nothing is judged here but by `check_description`, `derive` and `consume`: a shape only remembers that the rest was
good, and what came of it. Whenever something is unusual, or wrong, the whole document is looked at.
"""

import hashlib
import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from gridspine.things.model import ThingModel
from gridspine.things.td.check import TD_11, check_description, is_valid
from gridspine.things.td.consume import Consumed, Reachable, consume
from gridspine.things.td.derive import Derived, derive
from gridspine.things.td.document import MAX_TD_BYTES, finding, refuse
from gridspine.things.td.rule import address_is_good
from gridspine.things.td.secret import may_hold_secrets, secrets_in

MAX_KEPT_BYTES = 2 << 20
"""What the documents behind the remembered shapes weigh together; a shape weighs about as much."""
_MAX_SHAPE_BYTES = 64 << 10
_MAX_WAYS = 16
_REST = frozenset({"security", "links", "forms"})
_SKELETON = {"@context": TD_11, "securityDefinitions": {"none": {"scheme": "nosec"}}, "security": "none"}
"""What a description needs besides its own part: without it the schema says nothing of that part."""
_BASE = re.compile(r"(https?)://[A-Za-z0-9][A-Za-z0-9.\-]*(?::[0-9]{1,4})?(/(?:[A-Za-z0-9_~\-][A-Za-z0-9._~\-]*/)*)?")
_HREF = re.compile(r"(/?)(?:[A-Za-z0-9_~\-][A-Za-z0-9._~\-]*/)*[A-Za-z0-9_~\-][A-Za-z0-9._~\-]*|[A-Za-z0-9+.\-]+://.*")
_HOST = b"shape.gridspine.invalid"
"""A host that no device has (RFC 2606): each device's own takes its place."""


class _Way(NamedTuple):
    """How a shape's Things are read: its connection as JSON, with ``prefix`` where each device's own address goes."""

    found: Consumed
    connection: bytes
    prefix: bytes


class Shape:
    """A description that was found good, whatever a device of its kind says of itself.

    ``model`` is the derived one of its points, once somebody has found it.
    """

    def __init__(self, document: Mapping[str, Any], size: int) -> None:
        self.derived: Derived = derive(document)
        self.model: ThingModel | None = None
        self.size = size
        self.ways: dict[tuple[str, str], _Way | None] = {}
        hrefs = [_HREF.fullmatch(str(form["href"])) for form in _forms(document)]
        self.plain = all(hrefs)
        self.rooted = any(found is not None and found[1] for found in hrefs)


class Shapes:
    """The shapes seen last. Lives on the event loop."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Shape] = OrderedDict()
        self._bytes = 0
        self._reach: Reachable | None = None

    def __len__(self) -> int:
        return len(self._known)

    def of(self, document: Mapping[str, Any]) -> Shape:
        """Return the shape of a Thing Description; raise `Invalid` with all that is wrong with it."""
        own = {name: value for name, value in document.items() if _is_own(name, value)}
        rest = msgspec.json.encode({name: value for name, value in document.items() if name not in own})
        text = msgspec.json.encode(own)
        if len(rest) + len(text) - 1 > MAX_TD_BYTES:
            refuse([finding((), f"a Thing Description has at most {MAX_TD_BYTES} bytes")])
        key = hashlib.blake2b(rest, digest_size=24, key=b"based" if own.get("base") else b"").digest()
        shape = self._known.get(key)
        if shape is not None and _is_good(own, text):
            self._known.move_to_end(key)
            return shape
        if findings := check_description(document):
            refuse(findings)
        shape = Shape(document, len(rest))
        if _HOST in rest:  # what it says of that host would be taken for what it says of its own
            shape.plain = False
        # A number without end is written as null: two documents must not look alike.
        elif len(rest) <= _MAX_SHAPE_BYTES and b"null" not in rest:
            self._remember(key, shape)
        return shape

    def consumed(
        self, shape: Shape, document: Mapping[str, Any], property_of: Mapping[str, str], model: str, reach: Reachable
    ) -> Consumed:
        """Return what `consume` returns for a document of ``shape``; ``property_of`` follows from it and the model."""
        if reach is not self._reach:
            self._reach = reach
            for known in self._known.values():
                known.ways.clear()
        found = _BASE.fullmatch(str(document.get("base") or ""))
        if found is None or not shape.plain or not _can_stand_in(found, shape, reach):
            return consume(document, property_of, model, reach)
        if (model, found[1]) not in shape.ways:
            if len(shape.ways) >= _MAX_WAYS:
                shape.ways.clear()
            shape.ways[model, found[1]] = _way(document, property_of, model, reach, found[1])
        way = shape.ways[model, found[1]]
        if way is None:
            return consume(document, property_of, model, reach)
        here = found[0] if found[2] else f"{found[0]}/"
        connection = msgspec.json.decode(way.connection.replace(way.prefix, here.encode()))
        return way.found._replace(connection=connection)

    def _remember(self, key: bytes, shape: Shape) -> None:
        before = self._known.pop(key, None)
        self._bytes += shape.size - (before.size if before else 0)
        self._known[key] = shape
        while self._bytes > MAX_KEPT_BYTES:
            self._bytes -= self._known.popitem(last=False)[1].size


def _is_own(name: str, value: Any) -> bool:
    return isinstance(value, str | int | float) and name not in _REST and not name.startswith("@")


def _is_good(own: Mapping[str, Any], text: bytes) -> bool:
    """Whether nothing is wrong with what a device says of itself, as JSON ``text``, the rest being good."""
    if not is_valid("td", {**_SKELETON, **own}):
        return False
    base = own.get("base")
    if base and not (_BASE.fullmatch(base) or address_is_good(base, absolute=True)):
        return False
    return b"{{" not in text and not (may_hold_secrets(text) and any(secrets_in(own)))


def _forms(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [form for one in document.get("properties", {}).values() for form in one.get("forms", ())]


def _can_stand_in(base: re.Match[str], shape: Shape, reach: Reachable) -> bool:
    """Whether another host could stand in for a device's, and nothing would change but that."""
    if shape.rooted and base[2] not in {None, "/"}:
        return False
    return not reach.own or not (base[0].startswith(reach.own) or reach.own.startswith(base[0].rstrip("/")))


def _way(
    document: Mapping[str, Any], property_of: Mapping[str, str], model: str, reach: Reachable, scheme: str
) -> _Way | None:
    prefix = f"{scheme}://{_HOST.decode()}/"
    found = consume({**document, "base": prefix}, property_of, model, reach)
    if _HOST in msgspec.json.encode(found._replace(connection={})):
        return None
    return _Way(found, msgspec.json.encode(found.connection), prefix.encode())
