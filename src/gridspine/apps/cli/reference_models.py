"""The reference page of Thing Models: our terms in them, and the models that come with the house."""

import inspect
import re
import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin

import msgspec

from gridspine.energy.models import load_models
from gridspine.kernel.reading_type import ReadingType
from gridspine.things.action import actions_of
from gridspine.things.model import LeaseRule, PointModel, ScreenRule, ThingModel

_TERMS: dict[str, type[msgspec.Struct]] = {
    "gs:readingType": ReadingType,
    "gs:screen": ScreenRule,
    "gs:lease": LeaseRule,
}
_TYPES = {str: "text", float: "number", int: "whole number", bool: "true or false"}


def models_page(note: str) -> str:
    """Return the page of the terms ``gs:…`` and of the Thing Models known; ``note`` says how it came to be."""
    lines = ["# Thing Models\n", note]
    lines.append(
        "A Thing Model is a document of W3C Web of Things (Thing Description 1.1). A property that carries readings "
        "has three terms of ours, under `gs:` (`https://gridspine.org/terms#`).\n"
    )
    for term, struct in _TERMS.items():
        lines += _term(term, struct)
    lines.append("# The models that come with the node\n")
    for name, model in load_models().items():
        lines += _model(name, model)
    return "\n".join(lines).rstrip() + "\n"


def _term(term: str, struct: type[msgspec.Struct]) -> Iterator[str]:
    fields = msgspec.structs.fields(struct)
    words = inspect.cleandoc(struct.__doc__ or "").replace("``", "`")
    for field in fields:
        words = re.sub(rf"`{field.name}`", f"`{field.encode_name}`", words)
    yield f"## {term}\n"
    yield words + "\n"
    yield "| field | value | default |"
    yield "|---|---|---|"
    for field in fields:
        default = "needed" if field.required else f"`{msgspec.json.encode(_made(field)).decode()}`"
        yield f"| `{field.encode_name}` | {_type(field.type)} | {default} |"
    yield ""


def _made(field: Any) -> Any:
    return field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default


def _type(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return ", ".join(f"`{one}`" for one in get_args(kind))
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join("none" if one is type(None) else _type(one) for one in get_args(kind))
    return _TYPES.get(kind, "object of texts")


def _model(name: str, model: ThingModel) -> Iterator[str]:
    yield f"## {name}\n"
    yield f"`{model.id}`, version {model.version}: {model.title}. {model.document.get('description', '')}\n"
    yield "| point | unit | kind | flow | possible | operating limits | may be commanded |"
    yield "|---|---|---|---|---|---|---|"
    yield from (_point(point) for point in model.points)
    yield ""
    named = [action for action in actions_of(model, frozenset({"request", "maintain"})) if action.requested]
    if named:
        words = ", ".join(f"`{action.name}`" for action in named)
        yield f"Actions, where the adapter carries them out: {words}.\n"


def _point(point: PointModel) -> str:
    kind, screen, lease = point.reading_type, point.screen, point.lease
    commanded = _commanded(lease) if lease else ""
    possible = _range(screen.possible_min, screen.possible_max)
    limits = _range(screen.limit_min, screen.limit_max)
    flow = "" if kind.flow == "none" else kind.flow
    return f"| `{point.name}` | {kind.unit} | {kind.kind} | {flow} | {possible} | {limits} | {commanded} |"


def _commanded(lease: LeaseRule) -> str:
    words = f"{lease.role} {lease.minimum:g} … {lease.maximum:g}, then {lease.fallback:g}"
    if lease.ramp_per_s:
        words += f"; {lease.ramp_per_s:g} a second"
    if lease.min_on_s or lease.min_off_s:
        words += f"; on for {lease.min_on_s:g} s, off for {lease.min_off_s:g} s at least"
    return words


def _range(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return ""
    return f"{'' if low is None else f'{low:g}'} … {'' if high is None else f'{high:g}'}".strip()
