"""Actions: what can be asked of a Thing besides writing a property; the node carries them out.

::

    hold      keep a property at a value for a time, then let it fall back     every Thing with a point to command
    stop      end all set-points of the Thing: it goes to its fallback         the same
    readNow   ask the device for its values at once                            where its adapter can
    request   have the adapter carry it out: the device is asked once          named in the model, where the adapter can
    maintain  the same, for who may manage the Thing, not only command it      the same

A Thing Model may name actions of its own: ``gs:does`` says which of these an action is, ``gs:property`` which
property it holds; its input then is the value alone. ``gs:timeLimitS`` [s] says how long a request may take (120 at
most 3600). An action that no service here carries out is not offered.

Source: W3C Web of Things (WoT) Thing Description 1.1, class ActionAffordance; the ``gs:`` terms are ours.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, get_args

import msgspec

from gridspine.things.model import PointModel, ThingModel

Service = Literal["hold", "stop", "readNow", "request", "maintain"]
"""What the node can do."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}", re.ASCII)
_SERVICES = frozenset(get_args(Service))
USUAL_LIMIT_S, LONGEST_LIMIT_S = 120.0, 3_600.0
"""How long a request may take [s] where its model does not say, and at most."""
_REASON = {"type": "string", "maxLength": 500, "title": "Why; it stands in the command's story"}
_STEP = {
    "type": "object",
    "properties": {"afterS": {"type": "number", "unit": "s"}, "value": {"type": "number"}},
    "required": ["afterS", "value"],
}
_STOPPED = {"type": "object", "properties": {"ended": {"type": "integer", "title": "Commands that were ended"}}}
_HELD = {
    "type": "object",
    "properties": {"command": {"type": "string"}, "state": {"type": "string"}, "reason": {"type": "string"}},
}


class ActionModel(msgspec.Struct, frozen=True):
    """An action: the service that carries it out, and its data schemas (TD 1.1, class DataSchema).

    ``point`` is the property it holds; "" where its input names it. ``safe`` (TD 1.1): it changes nothing of the Thing.
    A request has ``limit_s`` [s] to be done.
    """

    name: str
    title: str
    description: str
    does: Service
    output: dict[str, Any]
    input: dict[str, Any] | None = None
    point: str = ""
    more: dict[str, Any] = {}
    safe: bool = False
    limit_s: float = USUAL_LIMIT_S

    @property
    def requested(self) -> bool:
        """Whether the adapter carries it out."""
        return self.does in {"request", "maintain"}


def actions_of(model: ThingModel, services: frozenset[str]) -> tuple[ActionModel, ...]:
    """Return the actions that Things of ``model`` have on a node that carries out ``services``, by their names."""
    return _actions_of(Same(model), services)


class Same:
    """A model as what is looked up by: its document, which is never changed, cannot be hashed."""

    __slots__ = ("model",)

    def __init__(self, model: ThingModel) -> None:
        self.model = model

    def __hash__(self) -> int:
        return hash(self.model.id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other.model is self.model


@lru_cache(maxsize=1024)
def _actions_of(key: Same, services: frozenset[str]) -> tuple[ActionModel, ...]:
    model = key.model
    commandable = [point for point in model.points if point.lease is not None]
    found = {action.name: action for action in _named(model, services)}
    if commandable and "hold" in services:
        found.setdefault("hold", _hold(commandable))
    if commandable and "stop" in services:
        found.setdefault("stop", _stop())
    if model.points and "readNow" in services:
        found.setdefault("readNow", _read_now())
    return tuple(found[name] for name in sorted(found))


def _named(model: ThingModel, services: frozenset[str]) -> list[ActionModel]:
    """Return the actions of the model's own that can be carried out."""
    actions = model.document.get("actions")
    if not isinstance(actions, Mapping):
        return []
    points = {point.name: point for point in model.points}
    made = [_own(str(name), given, points) for name, given in actions.items() if isinstance(given, Mapping)]
    return [action for action in made if action is not None and action.does in services]


def _own(name: str, given: Mapping[str, Any], points: Mapping[str, PointModel]) -> ActionModel | None:
    does, point = str(given.get("gs:does")), str(given.get("gs:property", ""))
    if does not in _SERVICES or not _NAME.fullmatch(name):
        return None
    held = points.get(point)
    if does == "hold" and (held is None or held.lease is None):
        return None
    if does in {"request", "maintain"}:
        return _requested(name, given, "maintain" if does == "maintain" else "request")
    known = {"hold": _hold([held] if held else []), "stop": _stop(), "readNow": _read_now()}[does]
    schema = _value(held) if held is not None and does == "hold" else known.input
    title, words = str(given.get("title", known.title)), str(given.get("description", known.description))
    more = {key: value for key, value in given.items() if key not in {"forms", "title", "description", "uriVariables"}}
    more = {key: value for key, value in more.items() if not key.startswith("tm:")}
    return ActionModel(name, title, words, known.does, known.output, schema, point if does == "hold" else "", more)


def _requested(name: str, given: Mapping[str, Any], does: Service) -> ActionModel:
    """Return an action that the Thing's adapter carries out; its schemas are the model's."""
    schema, output, limit = given.get("input"), given.get("output"), given.get("gs:timeLimitS", USUAL_LIMIT_S)
    limit_s = float(limit) if isinstance(limit, int | float) and limit > 0 else USUAL_LIMIT_S
    left_out = {"forms", "title", "description", "uriVariables", "input", "output", "safe", "gs:timeLimitS"}
    return ActionModel(
        name, str(given.get("title", name)), str(given.get("description", "")), does,
        dict(output) if isinstance(output, Mapping) else {},
        dict(schema) if isinstance(schema, Mapping) else None,
        more={key: value for key, value in given.items() if key not in left_out and not key.startswith("tm:")},
        safe=given.get("safe") is True, limit_s=min(limit_s, LONGEST_LIMIT_S),
    )  # fmt: skip


def _value(point: PointModel) -> dict[str, Any]:
    assert point.lease is not None
    low, high = point.lease.minimum, point.lease.maximum
    return {"type": "number", "unit": point.reading_type.unit, "minimum": low, "maximum": high, "title": point.title}


def _hold(points: list[PointModel]) -> ActionModel:
    properties = {
        "property": {"type": "string", "enum": [point.name for point in points]},
        "value": {"type": "number", "title": "In the property's unit"},
        "durationS": {"type": "number", "exclusiveMinimum": 0, "unit": "s", "title": "How long; or say until when"},
        "until": {"type": "string", "format": "date-time"},
        "priority": {"type": "integer", "default": 0, "title": "Which set-point is heard first"},
        "key": {"type": "string", "maxLength": 200, "title": "Makes a repetition harmless"},
        "reason": _REASON,
        "steps": {"type": "array", "items": _STEP, "title": "What follows the value, within the same time"},
        "randomiseStartS": {"type": "number", "minimum": 0, "unit": "s", "title": "It may begin so much later"},
        "randomiseEndS": {"type": "number", "minimum": 0, "unit": "s", "title": "It may end so much sooner"},
    }
    schema = {"type": "object", "properties": properties, "required": ["property", "value"]}
    words = "Hold a value for a time; then the device falls back without anyone's help. Running while it holds."
    return ActionModel("hold", "Hold a value", words, "hold", _HELD, schema)


def _stop() -> ActionModel:
    schema = {"type": "object", "properties": {"reason": _REASON}}
    words = "End every set-point of this Thing, running or to come: it goes to its fallback. Limits stay."
    return ActionModel("stop", "Stop", words, "stop", _STOPPED, schema)


def _read_now() -> ActionModel:
    words = "Ask the device for its values now, instead of waiting for its next report. The values come as readings."
    output = {"type": "object", "title": "The values by their properties' names"}
    return ActionModel("readNow", "Read now", words, "readNow", output)
