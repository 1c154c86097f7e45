"""The reference page of device templates: the fields of one, and those that come with the house."""

import inspect
from collections.abc import Iterator
from typing import Any, get_args

import msgspec

from gridspine.energy.templates import load_templates
from gridspine.things import template as nouns
from gridspine.things.template import ModbusPoint, ModbusTemplate, Template, ValuePoint
from gridspine.things.template_fill import adapter_of
from gridspine.things.template_read import pick_of

_PARTS: tuple[tuple[str, type[msgspec.Struct]], ...] = (
    ("[source]", nouns.Source),
    ("[parameters.NAME]", nouns.Parameter),
    ("[points.NAME] of modbus", nouns.ModbusPoint),
    ("[points.NAME.write]", nouns.Write),
    ("[points.NAME.write.timer]", nouns.Timer),
    ("[points.NAME] of http, mqtt, webhook", nouns.ValuePoint),
    ("[modbus]", nouns.Modbus),
    ("[http]", nouns.Http),
    ("[mqtt]", nouns.Mqtt),
    ("[webhook]", nouns.Webhook),
)


def templates_page(note: str) -> str:
    """Return the page of device templates; ``note`` says how it came to be."""
    lines = ["# Device templates\n", note]
    lines.append(
        "A template says of a make and model of device where each point is: a register, a topic, a place in an "
        "answer, an OBIS code; in which unit, and with which sign. See "
        "[Use a device template](../how-to/use-a-device-template.md). `gridspine template schema` prints the "
        "JSON Schema.\n"
    )
    lines.append(
        "No device of these makes was at hand: each template is tested against a device played from it, which shows "
        "that the node reads what the template says. What the template says is from the document it names; `read` "
        "tells how that was read.\n"
    )
    lines += _index(load_templates())
    lines.append("\n# The fields of a template\n")
    lines += _fields("At the top", ModbusTemplate, leave=("points", "modbus"))
    for title, struct in _PARTS:
        lines += _fields(title, struct)
    lines.append("# The templates that come with the node\n")
    for name, one in load_templates().items():
        lines += _template(name, one)
    return "\n".join(lines).rstrip() + "\n"


def _index(templates: dict[str, Template]) -> Iterator[str]:
    yield "| template | device | class | read by |"
    yield "|---|---|---|---|"
    for name, one in templates.items():
        yield f"| [`{name}`](#{name}) | {one.maker} {one.product} | `{one.class_}` | `{adapter_of(one)}` |"


def _fields(title: str, struct: type[msgspec.Struct], leave: tuple[str, ...] = ()) -> Iterator[str]:
    yield f"## `{title}`\n" if title.startswith("[") else f"## {title}\n"
    words = next(base.__doc__ for base in struct.__mro__ if base.__doc__ and base.__name__ != "ModbusTemplate")
    yield inspect.cleandoc(words or "").replace("``", "`") + "\n"
    if struct is ModbusTemplate:
        protocols = ", ".join(f"`{one.__struct_config__.tag}`" for one in get_args(Template))
        yield f"`protocol` is one of {protocols}.\n"
    yield "| field | default |"
    yield "|---|---|"
    for field in msgspec.structs.fields(struct):
        if field.encode_name not in leave:
            default = "needed" if field.required else f"`{msgspec.json.encode(_default(field)).decode()}`"
            yield f"| `{field.encode_name}` | {default} |"
    yield ""


def _default(field: Any) -> Any:
    return field.default if field.default is not msgspec.NODEFAULT else field.default_factory()


def _template(name: str, one: Template) -> Iterator[str]:
    yield f"## {name}\n"
    yield f"{one.maker} {one.product}. Class `{one.class_}`, by `{adapter_of(one)}`, every {one.interval_s:g} s.\n"
    for words in (
        one.note,
        _given(one),
        f"Its class demands and it lacks: {', '.join(one.lacks)}." if one.lacks else "",
    ):
        if words:
            yield words + "\n"
    source = one.source
    version = f", {source.version}" if source.version else ""
    yield f"Source: {source.document}{version}, <{source.url}>. Read: {source.note}.\n"
    yield "| point | where | unit there | scale | sign |"
    yield "|---|---|---|---|---|"
    points: dict[str, ModbusPoint | ValuePoint] = dict(one.points)
    for key, point in sorted(points.items()):
        sign = point.sign.replace("_", " ")
        yield f"| `{key}` | {_where(one, point)} | {point.unit} | {point.scale:g} | {sign} |"
    yield ""


def _given(one: Template) -> str:
    given = [f"`{key}` ({parameter.title})" for key, parameter in one.parameters.items()]
    return f"Parameters: {', '.join(given)}." if given else ""


def _where(template: Template, point: ModbusPoint | ValuePoint) -> str:
    if isinstance(point, ModbusPoint):
        assert isinstance(template, ModbusTemplate)
        type_ = point.type or template.modbus.type
        return f"{point.entity or template.modbus.entity} {point.address}, {type_}"
    pick = pick_of(point)
    place = " + ".join(f"`{one}`" for one in pick.plus) + "".join(f" − `{one}`" for one in pick.minus)
    return f"`{point.at}`: {place}" if point.at else place
