"""A device of a known make, connected by a device template: its form is made of what the template leaves open."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from gridspine.apps.api.principal import NewPrincipal
from gridspine.apps.node.node import Node
from gridspine.apps.node.templates import all_templates
from gridspine.apps.portal.connect_device import TITLE
from gridspine.apps.portal.connect_form import Field, WrongFields
from gridspine.apps.portal.connect_make import Enter, Kind, Made, Need, door, register, speaker
from gridspine.apps.portal.page import PortalRequest
from gridspine.kernel.errors import Invalid, NotFound
from gridspine.things.template import HttpTemplate, ModbusTemplate, MqttTemplate, Template, WebhookTemplate
from gridspine.things.template_fill import Filled, adapter_of, fill

PREFIX = "template."
"""What the key of such a kind begins with; the template's name follows."""
_PARAMETER = "parameters."
_USE = '\norganisations = ["{organisation}"]'
_SETTINGS = {
    "modbus": "",
    "mqtt": "\n[adapters.settings.mqtt.mqtt]\nport = 1883",
    "webhook": "\n[adapters.settings.webhook.webhook]\nport = 8643\n[adapters.settings.webhook.secrets.NAME]" + _USE,
    "wot_http": '\n# where a secret is needed:\n[adapters.settings.wot_http.secrets.NAME]\norigins = ["https://…"]'
    + _USE,
}
"""What the settings need besides the adapter's name."""


async def templates_by_name(node: Node) -> dict[str, Template]:
    """Return the templates at hand."""
    found, bad = await asyncio.to_thread(all_templates, node.paths.templates)
    return {name: one for name, one in sorted(found.items()) if name not in bad}


async def template_kind(node: Node, key: str) -> Kind:
    """Return the kind that a template is; raise `NotFound`."""
    name = key.removeprefix(PREFIX)
    template = (await templates_by_name(node)).get(name)
    if template is None:
        raise NotFound("There is no such device template.")
    adapter = adapter_of(template)
    needs: tuple[Need, ...] = ("register", "connect")
    if isinstance(template, MqttTemplate):
        needs += ("identity",)
    settings = f'[adapters]\nallow = ["{adapter}"]{_SETTINGS.get(adapter, "")}'
    return Kind(
        key, f"{template.maker} {template.product}", f"{template.class_}, by {adapter}", template.note, adapter, needs,
        lambda _node, _caller: _fields(template), _maker(template), settings, "use-a-device-template",
        "webhook" if isinstance(template, WebhookTemplate) else "",
    )  # fmt: skip


def _fields(template: Template) -> Sequence[Field]:
    fields = [TITLE]
    if isinstance(template, ModbusTemplate):
        fields.append(Field("at", "Where it is", hint="tcp://host:port/unit, or rtu:///dev/ttyUSB0/unit.",
                            placeholder="tcp://192.0.2.7:502/1"))  # fmt: skip
    if isinstance(template, HttpTemplate):
        known = template.http.base
        fields.append(Field("at", "Where it is", "url", f"{known} by default." if known else "", needed=not known,
                            most=2_000, placeholder="http://192.0.2.9"))  # fmt: skip
    fields += [
        Field(_PARAMETER + name, one.title, value=one.default, needed=not one.default)
        for name, one in template.parameters.items()
    ]
    asks = isinstance(template, HttpTemplate) and template.http.scheme != "nosec"
    if asks or isinstance(template, WebhookTemplate):
        needed = not (isinstance(template, HttpTemplate) and template.http.optional)
        variable = f"GRIDSPINE_SECRET_{adapter_of(template).upper()}_…"
        hint = f"By its name: the secret itself is in the node's environment, {variable}"
        fields.append(Field("secret", "Secret", hint=hint, needed=needed, most=64))
    return tuple(fields)


def _maker(template: Template) -> Any:
    async def make(request: PortalRequest, node: Node, given: Mapping[str, Any]) -> Made:
        filled = _filled(template, given)
        if not isinstance(template, MqttTemplate):
            thing = await register(request, node, given["title"], filled.model, filled.adapter, filled.connection)
            return Made((thing,), _enter(request, node, template, thing), _words(template, given))
        wanted = NewPrincipal("device", given["title"][:100], ("device",), password=True)
        async with speaker(request, node, wanted) as device:
            thing = await register(request, node, given["title"], filled.model, "mqtt", filled.connection, (device.id,))
        at = door(node, request, "mqtt", "mqtt")
        broker = (Enter("Broker", f"{at.host}:{at.port}{', by TLS' if at.tls else ''}"),) if at else ()
        enter = (*broker, Enter("User name", device.id), Enter("Password", device.password, secret=True))
        words = ["They are for the broker that the node is; one of your own has users of its own."]
        words += [f"It publishes to {one['topic']}" for one in _topics(filled)]
        return Made((thing,), enter, words)

    return make


def _filled(template: Template, given: Mapping[str, Any]) -> Filled:
    parameters = {name: given[_PARAMETER + name] for name in template.parameters if given[_PARAMETER + name]}
    try:
        return fill(template, given.get("at", ""), parameters, given.get("secret", ""))
    except Invalid as error:
        found = error.extra.get("validationErrors") or []
        wrong = {one["field"]: one["description"] for one in found if one["field"] in given}
        if wrong:
            raise WrongFields(wrong) from error
        raise


def _topics(filled: Filled) -> list[dict[str, Any]]:
    topics: dict[str, dict[str, Any]] = {one["topic"]: one for one in filled.connection["topics"].values()}
    return list(topics.values())[:5]


def _enter(request: PortalRequest, node: Node, template: Template, thing: str) -> Sequence[Enter]:
    at = door(node, request, "webhook", "webhook") if isinstance(template, WebhookTemplate) else None
    return (Enter("Address to post to", at.url("http", f"/{quote(thing, safe=':')}")),) if at else ()


def _words(template: Template, given: Mapping[str, Any]) -> list[str]:
    if isinstance(template, HttpTemplate) and template.http.grant == "authorization_code":
        secret = given.get("secret", "")
        return [f"Somebody must log in there once, on the node's machine: gridspine account login {secret}"]
    return []


def offered(templates: Mapping[str, Template]) -> list[tuple[str, str, str]]:
    """Return what can be chosen: its key, its words, and by what it is read."""
    found = [(PREFIX + name, f"{one.maker} {one.product}", adapter_of(one)) for name, one in templates.items()]
    return sorted(found, key=lambda one: one[1].casefold())
