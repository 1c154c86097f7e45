"""Pages of Thing Models, and of adding a Thing: by a model, or by a description that is pasted or uploaded."""

import json
from collections.abc import Mapping
from typing import Any

from litestar import Response, get, post
from litestar.params import FromQuery

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.thing import may_connect
from gridspine.apps.node.node import Node
from gridspine.apps.portal.command import number_of, redirect_part
from gridspine.apps.portal.page import PortalRequest, form, is_part, page
from gridspine.kernel.errors import Invalid, NotFound
from gridspine.things.directory import Thing
from gridspine.things.model import ThingModel
from gridspine.things.registrar import Caller as Registering
from gridspine.things.td import check_description, check_model, read_document, refuse
from gridspine.things.td.thing_model import filled, holes

MAX_FORM_BYTES = 1 << 20
"""A form with a document in it: percent-encoding makes three bytes of many."""
MAX_HOLES = 100
HOLE = "hole:"
"""What the name of a placeholder's field begins with."""


@get("/portal/models")
async def models_page(request: PortalRequest, node: TheNode, q: FromQuery[str] = "") -> Response[Any]:
    """List the Thing Models that the organisation may use."""
    _may_read(node, request)
    every = node.things.models.list(request.user.organisation)
    words = q[:200].casefold().split()
    found = [one for one in every if all(word in f"{one.title} {one.id}".casefold() for word in words)]
    return page(
        request, node, "parts/models.html" if is_part(request) else "models.html",
        current="models", models=found[:200], found=len(found), total=len(every), q=q,
    )  # fmt: skip


@get("/portal/models/one")
async def model_page(request: PortalRequest, node: TheNode, id: FromQuery[str]) -> Response[Any]:
    """Show one Thing Model: its points, how they are screened and what may be commanded."""
    _may_read(node, request)
    model = node.things.models.get(id[:500], request.user.organisation)
    if model is None:
        raise NotFound("there is no such Thing Model")
    documented = model.document.get("properties", {})
    words = {name: str(body.get("description", "")) for name, body in documented.items() if isinstance(body, dict)}
    return page(
        request, node, "model.html", current="models", model=model, words=words,
        description=str(model.document.get("description", "")),
        document=json.dumps(model.document, indent=2, ensure_ascii=False)[:300_000],
    )  # fmt: skip


@get("/portal/add")
async def add_page(request: PortalRequest, node: TheNode, model: FromQuery[str] = "") -> Response[Any]:
    """Show the forms that add a Thing."""
    node.authority.on_thing(request.user, "thing.register", Thing("", request.user.organisation, "any", ""))
    models = node.things.models.list(request.user.organisation)
    return page(request, node, "add.html", current="things", models=models, chosen=model)


@post("/portal/add/by-model", status_code=200)
async def add_by_model(request: PortalRequest, node: TheNode) -> Response[Any]:
    """Register a Thing of a known model, and go to it."""
    fields, caller = await form(request), request.user
    at = fields.get("latitude", ""), fields.get("longitude", "")
    place = (number_of(at[0], "Latitude"), number_of(at[1], "Longitude")) if any(at) else None
    thing = Thing(
        fields.get("id", ""), caller.organisation, fields.get("title", ""), fields.get("model", ""), location=place
    )
    _may_register(node, request, thing)
    kept = await node.things.register(thing, actor=caller.principal)
    return redirect_part(f"/portal/things/{kept.id}")


@post("/portal/add/by-description", status_code=200, request_max_body_size=MAX_FORM_BYTES)
async def add_by_description(request: PortalRequest, node: TheNode) -> Response[Any]:
    """Register the Thing that a description, or a Thing Model filled in, describes; say what is wrong, field by field.

    A Thing Model with placeholders is answered with a field for each of them.
    """
    fields = await form(request)
    text = fields.get("document", "")
    given = {name.removeprefix(HOLE): value for name, value in fields.items() if name.startswith(HOLE)}
    wanted: list[str] = []
    try:
        document = read_document(text.encode())
        if _is_model(document):
            wanted = sorted(set(holes(document)))[:MAX_HOLES]
            if any(not given.get(name) for name in wanted):
                return _described(request, node, wanted, given, [])
            document = _filled(node, document, given, request.user.organisation)
        thing = await _register(request, node, document)
    except Invalid as error:
        wrong = error.extra.get("validationErrors") or [{"field": "(document)", "description": error.detail}]
        return _described(request, node, wanted, given, wrong)
    return redirect_part(f"/portal/things/{thing.id}/about")


async def _register(request: PortalRequest, node: Node, document: dict[str, Any]) -> Thing:
    caller, id_ = request.user, document.get("id", "")
    if not isinstance(id_, str):
        raise Invalid("id: a text is needed", validationErrors=[{"field": "id", "description": "a text is needed"}])
    _may_register(node, request, Thing(id_, caller.organisation, "any", ""))
    who = Registering(caller.organisation, caller.principal, lambda: may_connect(node, caller))
    thing, _ = await node.registrar.create(document, who, id_)
    return thing


def _filled(node: Node, model: dict[str, Any], given: Mapping[str, str], organisation: str) -> dict[str, Any]:
    """Return the description that a Thing Model becomes; a number that was typed is a number."""
    if findings := check_model(model):
        refuse(findings)

    def known(id_: str) -> Mapping[str, Any] | None:
        found: ThingModel | None = node.things.models.get(id_, organisation)
        return None if found is None else found.document

    document = filled(model, {name: _value(text) for name, text in given.items()}, known)
    if findings := check_description(document):
        refuse(findings)
    return dict(document)


def _value(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, int | float) else text


def _is_model(document: Mapping[str, Any]) -> bool:
    kinds = document.get("@type", ())
    return "tm:ThingModel" in ([kinds] if isinstance(kinds, str) else kinds if isinstance(kinds, list) else ())


def _described(
    request: PortalRequest, node: Node, wanted: list[str], given: Mapping[str, str], wrong: list[dict[str, str]]
) -> Response[Any]:
    return page(request, node, "parts/described.html", wanted=wanted, given=given, wrong=wrong, hole=HOLE)


def _may_register(node: Node, request: PortalRequest, thing: Thing) -> None:
    """Raise `Forbidden` or `Overloaded`, as the API does."""
    node.authority.on_thing(request.user, "thing.register", thing)
    node.quotas.things(node.things.count(request.user.organisation))


def _may_read(node: Node, request: PortalRequest) -> None:
    node.authority.on_thing(request.user, "thing.read", Thing("", request.user.organisation, "any", ""))
