"""A Thing made of a template: where the device is and what differs from others, as an adapter's connection.

::

    tcp://192.0.2.7:502/1            modbus over TCP: host, port (502), unit (the template's)
    rtu:///dev/ttyUSB0/1             modbus over a serial line: device, unit
    http://192.0.2.9                 asked over HTTP; a cloud's template knows its address itself
    (nothing)                        MQTT and webhooks: the device comes to us
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import msgspec

from gridspine.kernel.errors import Invalid
from gridspine.things.td.document import Finding, finding, refuse
from gridspine.things.template import (
    HttpTemplate,
    ModbusPoint,
    ModbusTemplate,
    MqttTemplate,
    Template,
    WebhookTemplate,
)
from gridspine.things.template_read import pick_of

MODELS = "https://gridspine.org/models/"
_HOLE = re.compile(r"\{([^{}]*)\}")
_ADAPTERS = {ModbusTemplate: "modbus", HttpTemplate: "wot_http", MqttTemplate: "mqtt", WebhookTemplate: "webhook"}
_PORT = 502


class Filled(NamedTuple):
    """What a Thing of a template is: its model's id, its adapter, and the adapter's connection."""

    model: str
    adapter: str
    connection: dict[str, Any]


def fill(template: Template, at: str = "", given: Mapping[str, str] | None = None, secret: str = "") -> Filled:
    """Return what a Thing of ``template`` at the address ``at`` is.

    ``given`` are parameters by name, ``secret`` names the adapter's secret that proves it. Raises `Invalid` with what
    is wrong, field by field.
    """
    values, findings = _values(template, given or {})
    if findings:
        refuse(findings)
    if isinstance(template, ModbusTemplate):
        connection = _modbus(template, at, secret)
    elif isinstance(template, HttpTemplate):
        connection = _http(template, at, values, secret)
    elif isinstance(template, MqttTemplate):
        connection = _mqtt(template, at, values, secret)
    else:
        connection = _webhook(template, at, values, secret)
    model = template.class_ if ":" in template.class_ else MODELS + template.class_
    # As it is kept: what is asked for again can then be told from what is there.
    return Filled(model, adapter_of(template), msgspec.json.decode(msgspec.json.encode(connection)))


def adapter_of(template: Template) -> str:
    """Return the adapter that serves Things of a template."""
    return _ADAPTERS[type(template)]


def _values(template: Template, given: Mapping[str, str]) -> tuple[dict[str, str], list[Finding]]:
    findings = [
        finding(("parameters", name), "the template has no such parameter")
        for name in sorted(given)
        if name not in template.parameters
    ]
    values: dict[str, str] = {}
    for name, parameter in template.parameters.items():
        value = given.get(name, parameter.default)
        if not value:
            findings.append(finding(("parameters", name), f"it must be given: {parameter.title}"))
        elif not re.fullmatch(parameter.pattern, value):
            findings.append(finding(("parameters", name), f"{value[:60]!r} is not as its pattern {parameter.pattern}"))
        values[name] = value
    return values, findings


def _put(text: str, values: Mapping[str, str], *, safe: str | None = None) -> str:
    """Return a text with parameters put in; for an address, percent-encoded but for ``safe``."""

    def one(hole: re.Match[str]) -> str:
        value = values[hole[1]]
        return value if safe is None else quote(value, safe=safe)

    return _HOLE.sub(one, text)


def _modbus(template: ModbusTemplate, at: str, secret: str) -> dict[str, Any]:
    if secret:
        refuse([finding(("secret",), "Modbus has no proof of who asks")])
    connection = _modbus_place(template, at)
    connection |= {"intervalS": template.interval_s, "timeoutS": template.modbus.timeout_s}
    registers: dict[str, Any] = {}
    for name, point in template.points.items():
        served: dict[str, Any] = {"read": _register(template, point, point.address, point.entity, point.type)}
        if point.unit:
            served["unit"] = point.unit
        if point.write is not None:
            write = point.write
            served["write"] = _register(
                template, point, write.address, write.entity or point.entity, write.type or point.type
            )
            if write.single:
                served["write"]["single"] = True
            if write.timer is not None:
                timer = {"entity": write.timer.entity or "holding", "address": write.timer.address}
                served["timer"] = timer | {"type": write.timer.type} | _orders(template)
                if write.timer.single:
                    served["timer"]["single"] = True
            else:
                served["held"] = True
        registers[name] = served
    return connection | {"registers": registers}


def _register(template: ModbusTemplate, point: ModbusPoint, address: int, entity: str, type_: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "entity": entity or template.modbus.entity, "address": address, "type": type_ or template.modbus.type,
    }  # fmt: skip
    if point.factor != 1.0:
        found["factor"] = point.factor
    return found | _orders(template)


def _orders(template: ModbusTemplate) -> dict[str, Any]:
    swapped = {"wordSwap": template.modbus.word_order, "byteSwap": template.modbus.byte_order}
    return {name: True for name, order in swapped.items() if order == "low_first"}


def _modbus_place(template: ModbusTemplate, at: str) -> dict[str, Any]:
    try:
        place = _place(template, at)
    except ValueError:
        place = None
    if place is None:
        refuse([finding(("at",), "tcp://host:port/unit or rtu:///dev/ttyUSB0/unit is needed")])
    return place


def _place(template: ModbusTemplate, at: str) -> dict[str, Any] | None:
    """Return where an address leads, None where it is none; raise `ValueError` for one whose port is no number."""
    parts = urlsplit(at)
    head, _, last = parts.path.rstrip("/").rpartition("/")
    unit = int(last) if last.isdecimal() and len(last) <= 3 else template.modbus.unit
    if parts.query or parts.fragment or parts.username is not None or not 0 <= unit <= 255:
        return None
    if parts.scheme in {"tcp", "modbus+tcp"} and parts.hostname and not head and (not last or last.isdecimal()):
        return {"transport": "tcp", "host": parts.hostname, "port": parts.port or _PORT, "unit": unit}
    device = head if last.isdecimal() else parts.path
    if parts.scheme != "rtu" or parts.netloc or not device.startswith("/dev/"):
        return None
    line = {"baudrate": template.modbus.baudrate, "parity": template.modbus.parity}
    return {"transport": "rtu", "device": device, "stopbits": template.modbus.stopbits, "unit": unit} | line


def _http(template: HttpTemplate, at: str, values: Mapping[str, str], secret: str) -> dict[str, Any]:
    base = (at or _put(template.http.base, values)).rstrip("/")
    parts = urlsplit(base)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        refuse([finding(("at",), "the device's address is needed: http(s)://host[:port]")])
    forms: dict[str, Any] = {}
    for name, point in template.points.items():
        path = _put(point.at or template.http.at, values, safe="/,:")
        form: dict[str, Any] = {"href": base + path, "pick": msgspec.to_builtins(_pick(point, values))}
        if point.unit:
            form["unit"] = point.unit
        if template.http.form != "json":
            form["form"] = template.http.form
        forms[name] = form
    connection: dict[str, Any] = {"forms": forms, "intervalS": template.interval_s}
    if template.http.items:
        connection["listing"] = {name: getattr(template.http, name) for name in ("items", "key", "next")}
        connection["item"] = _put(template.http.item, values)
    return connection | {"security": _security(template, values, secret)}


def _security(template: HttpTemplate, values: Mapping[str, str], secret: str) -> dict[str, Any]:
    scheme = template.http.scheme
    if scheme == "nosec" or (template.http.optional and not secret):
        if secret:
            refuse([finding(("secret",), "this device asks for no proof")])
        return {"scheme": "nosec"}
    if not secret:
        refuse([finding(("secret",), f"it is asked with a proof ({scheme}): name the adapter's secret")])
    security: dict[str, Any] = {"scheme": scheme, "secret": secret}
    if scheme == "apikey":
        security |= {"in": template.http.place, "name": template.http.name}
    if scheme == "oauth2":
        security |= {"token": _put(template.http.token, values), "scopes": template.http.scopes}
        if template.http.grant != "client_credentials":
            security["grant"] = template.http.grant
        if template.http.client != "header":
            security["client"] = template.http.client
    return security


def _mqtt(template: MqttTemplate, at: str, values: Mapping[str, str], secret: str) -> dict[str, Any]:
    if at or secret:
        refuse([finding(("at",), "an MQTT device comes to the broker: it has no address or secret here")])
    topics: dict[str, Any] = {}
    for name, point in template.points.items():
        pick = _pick(point, values)
        topic: dict[str, Any] = {"topic": _put(point.at or template.mqtt.at, values)}
        topic |= {"path": pick.plus[0], "scale": pick.scale} if not pick.codes else {"path": pick.plus[0]}
        if point.unit:
            topic["unit"] = point.unit
        if pick.codes:
            topic["codes"] = pick.codes
        topics[name] = topic
    return {"topics": topics}


def _webhook(template: WebhookTemplate, at: str, values: Mapping[str, str], secret: str) -> dict[str, Any]:
    if at or not secret:
        refuse(
            [finding(("secret",), "a vendor posts to the node: name the adapter's secret that proves it, no address")]
        )
    points: dict[str, Any] = {}
    for name, point in template.points.items():
        points[name] = {"pick": msgspec.to_builtins(_pick(point, values)), "unit": point.unit}
    hook = msgspec.to_builtins(template.webhook)
    return {"secret": secret, "points": points, **{_camel(name): value for name, value in hook.items()}}


def _pick(point: Any, values: Mapping[str, str]) -> Any:
    try:
        pick = pick_of(point, lambda text: _put(text, values))
        pick.check()
    except Invalid as error:
        refuse([finding(("parameters",), error.detail)])
    return pick


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)
