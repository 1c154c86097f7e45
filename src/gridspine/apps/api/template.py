"""Device templates: listed, shown, and Things registered by them.

::

    GET  /templates                  those that come with the node, and the operator's own
    GET  /templates/{template}           one, whole
    POST /templates/{template}/things    a device of this make at an address ─► a Thing that is read
"""

import asyncio
from typing import Annotated, Any

import msgspec
from litestar import Response, get, post
from litestar.params import JSONBody, Parameter

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.description import AnyRequest
from gridspine.apps.api.problems import response
from gridspine.apps.api.taking import keep_plain
from gridspine.apps.node.templates import all_templates, get_template
from gridspine.things.template import Template, point_names
from gridspine.things.template_fill import adapter_of, fill
from gridspine.things.thing import Thing

MAX_BODY = 16_384
Name = Annotated[str, Parameter(max_length=64)]
"""A template's name, in a path."""


class TemplateView(msgspec.Struct, frozen=True, rename={"class_": "class"}):
    """A device template in short; ``parameters`` are what must or may be said of a device of it."""

    name: str
    maker: str
    product: str
    class_: str
    protocol: str
    adapter: str
    points: list[str]
    parameters: list[str]


class NewByTemplate(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A device of a template: where it is (``at``), its ``parameters``, and by which of the adapter's secrets
    (``secret``, a name) the node or the device proves itself. ``devices`` are principals that speak for it.
    """

    title: str
    at: str = ""
    id: str = ""
    parameters: dict[str, str] = {}
    secret: str = ""
    devices: tuple[str, ...] = ()


@get("/templates", summary="List device templates", tags=["things"])
async def list_templates(request: AnyRequest, node: TheNode) -> list[TemplateView]:
    """List the device templates: make, product, class, and which points a device of it has."""
    node.authority.on_own(request.user, "thing.read")
    templates, _ = await asyncio.to_thread(all_templates, node.paths.templates)
    return [view(name, one) for name, one in sorted(templates.items())]


@get("/templates/{template:str}", summary="Read a device template", tags=["things"])
async def read_template(request: AnyRequest, node: TheNode, template: Name) -> dict[str, Any]:
    """Return a device template whole: where each point is, its unit and sign there, and where that is documented."""
    node.authority.on_own(request.user, "thing.read")
    found: dict[str, Any] = msgspec.to_builtins(await asyncio.to_thread(get_template, node.paths.templates, template))
    return {"name": template, **found}


@post(
    "/templates/{template:str}/things", summary="Register a device by a template", tags=["things"],
    request_max_body_size=MAX_BODY,
    status_code=201,
)  # fmt: skip
async def register_by_template(
    request: AnyRequest, node: TheNode, template: Name, data: JSONBody[NewByTemplate]
) -> Response[bytes]:
    """Register a Thing of a template: its model, adapter and connection are made of it.

    It takes the right to say where the node connects to, as a Thing with a `connection` does.
    """
    caller = request.user
    node.authority.on_thing(caller, "thing.register", Thing(data.id, caller.organisation, data.title, ""))
    if caller.organisation not in node.settings.adapters.connect_for:
        node.authority.on_node(caller, "node.connect")  # before it is said which templates there are
    found = await asyncio.to_thread(get_template, node.paths.templates, template)
    made = fill(found, data.at, data.parameters, data.secret)
    thing = Thing(
        data.id, caller.organisation, data.title, made.model,
        adapter=made.adapter, connection=made.connection, devices=data.devices,
    )  # fmt: skip
    return response(await keep_plain(node, caller, thing))


def view(name: str, template: Template) -> TemplateView:
    """Return a template in short."""
    protocol = str(msgspec.to_builtins(template)["protocol"])
    return TemplateView(
        name, template.maker, template.product, template.class_, protocol, adapter_of(template),
        list(point_names(template)), sorted(template.parameters),
    )  # fmt: skip
