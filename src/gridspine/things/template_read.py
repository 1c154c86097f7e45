"""Templates read from files, and what is wrong with them, field by field."""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from gridspine.kernel.codecs.pick import Pick, parts_of
from gridspine.kernel.errors import GridspineError, Invalid, TooLarge
from gridspine.kernel.units import conversion, unit
from gridspine.things.model import PointModel, ThingModel
from gridspine.things.td.document import Finding, finding, refuse
from gridspine.things.template import (
    HttpTemplate,
    ModbusPoint,
    ModbusTemplate,
    MqttTemplate,
    Template,
    ValuePoint,
    WebhookTemplate,
)

MAX_BYTES, MAX_POINTS, MAX_FILES = 65_536, 200, 1_000
_NAME = re.compile(r"[a-z0-9][a-z0-9_\-]{0,63}")
_HOLE = re.compile(r"\{([^{}]*)\}")
_PLACE = re.compile(r" - at `\$\.?(.*)`$")
_LAST_ADDRESS = 0xFFFF
_COUNT = {"int32": 2, "uint32": 2, "float32": 2, "int64": 4, "uint64": 4, "float64": 4}
Models = Callable[[str], ThingModel | None]


def read_template(text: bytes, models: Models) -> Template:
    """Return the template that TOML holds; raise `Invalid` with all that is wrong, field by field."""
    template = decode_template(text)
    if findings := check_template(template, models):
        refuse(findings)
    return template


def decode_template(text: bytes) -> Template:
    """Return a template whose fields are known and of their types; it is not checked further."""
    if len(text) > MAX_BYTES:
        raise TooLarge(f"a template has at most {MAX_BYTES} bytes")
    try:
        document = tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"this is not TOML: {error}", validationErrors=[]) from error
    try:
        template: Template = msgspec.convert(document, Template)
    except msgspec.ValidationError as error:
        words = str(error)
        place = _PLACE.search(words)
        field = tuple(place[1].replace("[...]", ".(one)").split(".")) if place else ()
        refuse([finding(field, _PLACE.sub("", words))])
    return template


def read_folder(folder: Path, models: Models) -> tuple[dict[str, Template], dict[str, str]]:
    """Return the templates in a folder's ``*.toml`` by the names of their files, and why others are none."""
    good: dict[str, Template] = {}
    bad: dict[str, str] = {}
    for file in sorted(folder.glob("*.toml"))[:MAX_FILES] if folder.is_dir() else ():
        try:
            if not _NAME.fullmatch(file.stem):
                raise Invalid("a template's file is called by small letters, digits, - and _")
            with file.open("rb") as opened:
                good[file.stem] = read_template(opened.read(MAX_BYTES + 1), models)
        except GridspineError as error:
            bad[file.stem[:64]] = error.detail
        except OSError as error:
            bad[file.stem[:64]] = error.strerror or "it cannot be read"
    return good, bad


def check_template(template: Template, models: Models) -> list[Finding]:
    """Return what is wrong with a template; an empty list when nothing is."""
    found = list(_parameters(template))
    model = models(template.class_)
    if model is None:
        return [*found, finding(("class",), f"no Thing Model {template.class_[:100]!r} is known here")]
    if not 0 < len(template.points) <= MAX_POINTS:
        found.append(finding(("points",), f"1 to {MAX_POINTS} are needed"))
    found += _against(template, model)
    found += _asked(template)
    for name, point in template.points.items():
        one = next((point_ for point_ in model.points if point_.name == name), None)
        path = ("points", name)
        if one is None:
            known = ", ".join(one.name for one in model.points)
            found.append(finding(path, f"the class {template.class_} has no such point; it has {known}"))
            continue
        found += (finding((*path, field), words) for field, words in _meaning(point, one))
        found += (finding((*path, field), words) for field, words in _place(template, point, one))
    return found


def _against(template: Template, model: ThingModel) -> Iterator[Finding]:
    """Yield which points of the class are neither there nor said to be lacking."""
    optional = {str(path).rpartition("/")[2] for path in model.document.get("tm:optional", ())}
    names = {point.name for point in model.points}
    for name in sorted(names - optional - set(template.points) - set(template.lacks)):
        yield finding(("points", name), "its class demands this point: map it, or say in `lacks` that it is not there")
    for name in template.lacks:
        if name not in names or name in template.points:
            yield finding(("lacks",), f"{name[:64]} is no point of the class, or is there after all")


def _asked(template: Template) -> Iterator[Finding]:
    """Yield what is wrong with how a device or cloud is asked."""
    if not isinstance(template, HttpTemplate):
        return
    http = template.http
    if http.scheme == "oauth2" and not http.token:
        yield finding(("http", "token"), "where a token is had is needed")
    if (http.scheme, http.grant) == ("oauth2", "authorization_code") and not http.authorise:
        yield finding(("http", "authorise"), "where a person logs in is needed")
    if bool(http.items) != bool(http.item) or (http.next and not http.items):
        yield finding(("http", "item"), "a listing has items, their key, and which of them this device is")
    if http.items and http.form != "json":
        yield finding(("http", "form"), "only JSON lists several devices")
    for name in ("items", "key", "next"):
        try:
            parts_of(getattr(http, name))
        except Invalid as error:
            yield finding(("http", name), error.detail)


def _meaning(point: ModbusPoint | ValuePoint, model: PointModel) -> Iterator[tuple[str, str]]:
    reading_type = model.reading_type
    codes = getattr(point, "codes", {})
    if reading_type.unit == "code":
        if point.unit or point.sign:
            yield "unit", "a state has neither unit nor sign"
        for word, code in codes.items():
            if not float(code).is_integer() or (reading_type.codes and str(int(code)) not in reading_type.codes):
                yield "codes", f"{word[:40]}: {code:g} is no code of the class"
    elif not point.unit:
        yield "unit", f"the unit at the device is needed, one of {reading_type.unit}'s kind"
    else:
        try:
            conversion(unit(point.unit), unit(reading_type.unit))
        except Invalid as error:
            yield "unit", error.detail
    signed = reading_type.flow == "net"
    if signed and not point.sign:
        yield (
            "sign",
            "the point is import positive: say whether the device's number is import_positive or export_positive",
        )
    if not signed and point.sign:
        yield "sign", "the point has no direction of its own: only net flows have a sign"
    if point.scale == 0.0 or (reading_type.kind == "register" and point.scale < 0.0):
        yield "scale", "a number other than 0, and of a register more than 0"


def _place(template: Template, point: ModbusPoint | ValuePoint, model: PointModel) -> Iterator[tuple[str, str]]:
    if isinstance(point, ModbusPoint):
        yield from _register(template, point, model)
        return
    places = [point.pointer is not None, bool(point.obis), bool(point.plus or point.minus)]
    if sum(places) != 1:
        yield "pointer", "one of pointer, obis, and plus with minus says where the value is"
    if (point.obis or _obis(template)) and isinstance(template, MqttTemplate | WebhookTemplate):
        yield "obis", "telegrams come over HTTP only"
    if (point.plus or point.minus) and isinstance(template, MqttTemplate):
        yield "plus", "a topic's values are not added up"
    if isinstance(template, MqttTemplate) and not (point.at or template.mqtt.at):
        yield "at", "the topic it comes on is needed, here or in [mqtt]"
    if isinstance(template, WebhookTemplate) and point.at:
        yield "at", "a webhook has one address"
    try:
        pick_of(point).check()
    except Invalid as error:
        yield "pointer", error.detail


def _register(template: Template, point: ModbusPoint, model: PointModel) -> Iterator[tuple[str, str]]:
    assert isinstance(template, ModbusTemplate)
    entity, type_ = point.entity or template.modbus.entity, point.type or template.modbus.type
    if not 0 <= point.address <= _LAST_ADDRESS + 1 - _COUNT.get(type_, 1):
        yield "address", f"{point.address} is none of 0 to {_LAST_ADDRESS}"
    if (entity in {"coil", "discrete"}) != (type_ == "bit"):
        yield "type", f"a {entity} register does not hold a {type_}"
    write = point.write
    if write is None:
        return
    if model.lease is None:
        yield "write", "its class does not let it be commanded"
    elif write.reversion == "safe_to_persist" and model.lease.reversion != "safe-to-persist":
        yield "write.reversion", "its class does not call these states safe to keep: somebody must end a lease"
    if (write.reversion == "timer") != (write.timer is not None):
        yield "write.timer", "the device's timer goes with the reversion `timer`"
    if (write.entity or entity) not in {"coil", "holding"}:
        yield "write.entity", "only coils and holding registers can be written"


def _parameters(template: Template) -> Iterator[Finding]:
    """Yield what is wrong with parameters: patterns that are none, holes that nobody fills, and the other way."""
    for name, parameter in template.parameters.items():
        try:
            pattern = re.compile(parameter.pattern)
        except re.error as error:
            yield finding(("parameters", name, "pattern"), f"no regular expression: {error}")
            continue
        if parameter.default and not pattern.fullmatch(parameter.default):
            yield finding(("parameters", name, "default"), "it does not match its pattern")
    used = {hole for text in texts(template) for hole in _HOLE.findall(text)}
    for name in sorted(used - set(template.parameters)):
        yield finding(("parameters",), f"{{{name[:64]}}} stands in the template and is no parameter")
    for name in sorted(set(template.parameters) - used):
        yield finding(("parameters", name), "it stands nowhere in the template")


def texts(template: Template) -> Sequence[str]:
    """Return the texts of a template in which parameters may stand."""
    if isinstance(template, ModbusTemplate):
        return ()
    found = [text for point in template.points.values() for text in (point.at, point.pointer or "", *point.plus)]
    found += [text for point in template.points.values() for text in point.minus]
    if isinstance(template, HttpTemplate):
        found += [
            template.http.at,
            template.http.base,
            template.http.token,
            template.http.authorise,
            template.http.item,
        ]
    elif isinstance(template, MqttTemplate):
        found.append(template.mqtt.at)
    return found


def pick_of(point: ValuePoint, fill: Callable[[str], str] = lambda text: text) -> Pick:
    """Return where a point's value is, as an adapter looks for it; ``fill`` puts parameters in."""
    plus: tuple[str, ...] = point.plus
    if point.obis:
        plus = (point.obis,)
    elif point.pointer is not None:
        plus = (point.pointer,)
    return Pick(
        tuple(_pointer(fill(text)) for text in plus), tuple(_pointer(fill(text)) for text in point.minus),
        point.factor, dict(point.codes),
    )  # fmt: skip


def _pointer(text: str) -> str:
    """Return a pointer; an OBIS code is the name of an object in a telegram."""
    return f"/{text}" if text and not text.startswith("/") else text


def _obis(template: Template) -> bool:
    return isinstance(template, HttpTemplate) and template.http.form == "telegram"


def by_short_name(models: Mapping[str, ThingModel]) -> Models:
    """Return what finds a Thing Model by its short name or its id."""
    ids: dict[str, Any] = {model.id: model for model in models.values()}
    return lambda name: models.get(name) or ids.get(name)
