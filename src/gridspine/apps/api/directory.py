"""The directory of Things as the Web of Things knows it: Thing Descriptions listed, registered, changed and removed.

::

    GET    /things[?limit&offset&format]   TDs by id, in pages; compact by Accept: application/vnd.gridspine.things+json
    POST   /things                         a TD without an id, or a Thing of a known model       201, Location
    GET    /things/{id}                    the TD, with what the directory knows of it; ?forms=node: by this node
    PUT    /things/{id}                    a TD with that id                                     201 or 204
    PATCH  /things/{id}                    a merge patch (RFC 7396)                              204
    DELETE /things/{id}                    it leaves the directory, and stays in the history     204

Source: W3C WoT Discovery (Recommendation of 5 December 2023), "Things API". Titles of problems are those of our types,
not the status text: RFC 9457 §3.1.2 wants the latter of ``about:blank`` only.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NoReturn
from urllib.parse import quote

import msgspec
from litestar import Request, Response, delete, get, patch, post, put
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, FromQuery, Parameter, QueryParameter

from gridspine.apps.api.answer import JSON, Answer, json_answer
from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.description import documents, taken
from gridspine.apps.api.exposed import reach_of
from gridspine.apps.api.geo import GEO_JSON, features, place_of, those_in
from gridspine.apps.api.negotiate import preferred
from gridspine.apps.api.problems import response
from gridspine.apps.api.takes import TakesDescription, TakesPatch, TakesThing
from gridspine.apps.api.taking import MAX_BODY, as_registrar, check_media, created, media_type, registering, take_thing
from gridspine.apps.api.thing import ThingView, check_speakers, permitted, readable, view
from gridspine.apps.node.node import Node
from gridspine.energy.plant import ADAPTER
from gridspine.kernel.errors import Invalid, NotFound, PreconditionFailed
from gridspine.kernel.ids import MAX_ID_LENGTH
from gridspine.things.change import Changes
from gridspine.things.description import DISCOVERY
from gridspine.things.directory import Thing
from gridspine.things.exposed import LD_JSON, TD_JSON, thing_url
from gridspine.things.registrar import Caller
from gridspine.things.roll import Ordered
from gridspine.things.td.document import finding, read_document, refuse
from gridspine.things.td.merge_patch import MEDIA_TYPE as MERGE_PATCH

AnyRequest = Request[Any, Any, Any]
COMPACT, COMPACT_LIST = "application/vnd.gridspine.thing+json", "application/vnd.gridspine.things+json"
MAX_PAGE, PAGE = 5_000, 1_000
_OWN = {"gs:model": "model", "gs:adapter": "adapter", "gs:connection": "connection", "gs:devices": "devices"}
"""Members of a merge patch that say how the node serves a Thing."""
_PLAIN = {"title", "geo:lat", "geo:long"}
"""What else may be patched on a Thing that is described by its model."""
Id = Annotated[str, Parameter(max_length=MAX_ID_LENGTH)]


@get(
    "/things", summary="List Things", tags=["things"],
    responses={200: ResponseSpec(list[ThingView], generate_examples=False, description="Thing Descriptions")},
)  # fmt: skip
async def list_things(
    request: AnyRequest,
    node: TheNode,
    after: Id = "",
    limit: Annotated[int, Parameter(ge=1, le=MAX_PAGE)] = PAGE,
    offset: Annotated[int, Parameter(ge=0, le=10_000_000)] = 0,
    form: Annotated[Literal["array", "collection"], QueryParameter(name="format")] = "array",
    bbox: Annotated[str, Parameter(max_length=200)] = "",
    within: Annotated[str, Parameter(max_length=200)] = "",
) -> Response[bytes]:
    """List the Things of the caller's organisation in the order of their ids; to a device those it speaks for.

    At most ``limit`` at once: the `Link` header leads to the next ones. By ``after`` it begins after an id. Each is a
    Thing Description; as `application/json` those described by their models have `organisation`, `model`, `adapter`
    and `points` besides. `bbox` (west,south,east,north) and `within` (latitude,longitude,radius in metres) narrow the
    list to a place; as `application/geo+json` it is a map's layer.
    """
    if request.query_params.keys() & {"sort_by", "sort_order"}:
        raise Invalid("sort_by, sort_order: Things are sorted by their ids only")
    media = preferred(request.headers.get("accept", ""), (JSON, LD_JSON, TD_JSON, COMPACT_LIST, GEO_JSON))
    place = place_of(bbox, within)
    things = readable(node, request.user, "thing.read")
    if place is not None:
        things = those_in(node, things, place)
    start = offset if not after else _after(things, after)
    page = list(things[start : start + limit])
    more = start + limit < len(things)
    following = f"/things?offset={start + limit}&limit={limit}" + ("&format=collection" if form == "collection" else "")
    following += "".join(f"&{name}={quote(text)}" for name, text in (("bbox", bbox), ("within", within)) if text)
    headers = {"Link": _links(node, request, following if more else "")}
    if media == COMPACT_LIST:
        answer = json_answer([view(node, thing) for thing in page])
        return response(answer._replace(media_type=media, headers=headers))
    if media == GEO_JSON:
        return response(json_answer(features(page))._replace(media_type=media, headers=headers))
    members = await documents(node, request, page, plain=media == JSON)
    body: Any = members
    if form == "collection":
        body = {
            "@context": DISCOVERY, "@type": "ThingCollection", "total": len(things), "members": members,
            "@id": f"/things?offset={start}&limit={limit}&format=collection", **({"next": following} if more else {}),
        }  # fmt: skip
    return response(Answer(200, msgspec.json.encode(body), media, headers))


@post(
    "/things", summary="Register a Thing", tags=["things"], request_max_body_size=MAX_BODY, operation_class=TakesThing,
    responses={201: ResponseSpec(ThingView, generate_examples=False, description="The Thing, or a report on it")},
)  # fmt: skip
async def register_thing(request: AnyRequest, node: TheNode) -> Response[bytes]:
    """Register a Thing of the caller's organisation; its points may report when this has answered.

    Body: a Thing Description without an id (`application/td+json`), or `title` and `model` (`application/json`; `id`,
    `adapter`, `connection` and `devices` may be left out).
    """
    return response(await take_thing(node, request.user, _media(request), await request.body()))


@get(
    "/things/{thing_id:str}", summary="Read one Thing", tags=["things"],
    responses={200: ResponseSpec(ThingView, generate_examples=False, description="A Thing Description")},
)  # fmt: skip
async def read_thing(
    request: AnyRequest, node: TheNode, thing_id: FromPath[str], forms: FromQuery[Literal["own", "node"]] = "own"
) -> Response[bytes]:
    """Return the Thing Description of a Thing, as it was given or as this node exposes it.

    `forms=node`: as this node exposes it in any case. `Accept: application/vnd.gridspine.thing+json`: a compact form.
    """
    thing = permitted(node, request, thing_id, "thing.read")
    media = preferred(request.headers.get("accept", ""), (JSON, TD_JSON, LD_JSON, COMPACT))
    headers = {"ETag": _tag(node, request, thing, media, forms)}
    # An ensemble's description names its members, who come and go without a version of it.
    if thing.adapter != ADAPTER and headers["ETag"] in request.headers.get("if-none-match", "").split(", "):
        return Response(b"", status_code=304, headers=headers)
    if media == COMPACT:
        return response(json_answer(view(node, thing))._replace(media_type=media, headers=headers))
    if thing.described:
        headers["Link"] = f'<{thing_url("", thing.id)}?forms=node>; rel="alternate"; type="{TD_JSON}"'
    (document,) = await documents(node, request, [thing], exposed=forms == "node", plain=media == JSON)
    return response(Answer(200, msgspec.json.encode(document), media, headers))


@get("/things/{thing_id:str}/report", summary="Read how a Thing is served", tags=["things"])
async def read_report(request: AnyRequest, node: TheNode, thing_id: FromPath[str]) -> Response[bytes]:
    """Return which points the node reads, and which parts of a Thing's own description do not work here, and why."""
    thing = permitted(node, request, thing_id, "thing.read")
    return response(json_answer(taken(thing, await node.registrar.of(thing))))


@put(
    "/things/{thing_id:str}", summary="Put a Thing Description", tags=["things"], request_max_body_size=MAX_BODY,
    operation_class=TakesDescription,
)  # fmt: skip
async def put_thing(request: AnyRequest, node: TheNode, thing_id: FromPath[str]) -> Response[bytes]:
    """Register a Thing Description under its id (201), or give a Thing this one (204); `If-Match` is heeded."""
    known = _known(node, thing_id)
    if known is None:
        caller = registering(node, request.user, thing_id)
        if request.headers.get("if-match"):
            raise PreconditionFailed("there is no such Thing: leave If-Match out to register it")
    else:
        caller = _changing(node, request, known)
    check_media(_media(request), TD_JSON, JSON, LD_JSON)
    document = read_document(await request.body())
    if known is None:
        thing, _ = await node.registrar.create(document, caller, thing_id)
        return response(created(thing, b"", _tag(node, request, thing)))
    thing, _ = await node.registrar.replace(known, document, caller, _expected(request, known))
    return Response(b"", status_code=204, headers={"ETag": _tag(node, request, thing)})


@patch(
    "/things/{thing_id:str}", summary="Patch a Thing", tags=["things"], request_max_body_size=MAX_BODY,
    operation_class=TakesPatch,
)  # fmt: skip
async def patch_thing(request: AnyRequest, node: TheNode, thing_id: FromPath[str]) -> Response[bytes]:
    """Merge a patch (RFC 7396) into a Thing Description.

    `gs:model`, `gs:adapter`, `gs:connection` and `gs:devices` say how the node serves it. Of a Thing that is described
    by its model only those, the title and the place (`geo:lat`, `geo:long`) can be patched.
    """
    known = _known(node, thing_id)
    if known is None:
        _refused(node, request, thing_id)
    caller = _changing(node, request, known)
    check_media(_media(request), MERGE_PATCH)
    patch_ = read_document(await request.body())
    own = _own(node, request, patch_, caller)
    check_speakers(node, request.user, msgspec.structs.replace(known, **own), known)
    rest = {name: value for name, value in patch_.items() if name not in _OWN}
    expected = _expected(request, known)
    if known.described:
        thing, _ = await node.registrar.patch(known, rest, caller, expected, own)
    else:
        own.update(_plain(known, rest))
        shown = {name: value for name, value in rest.items() if name in _PLAIN}
        thing = await node.things.change(
            known.id, actor=caller.principal, expected=expected, note={"diff": shown}, **own
        )
    return Response(b"", status_code=204, headers={"ETag": _tag(node, request, thing)})


@delete("/things/{thing_id:str}", status_code=204, summary="Remove a Thing", tags=["things"])
async def remove_thing(request: AnyRequest, node: TheNode, thing_id: FromPath[str]) -> None:
    """Take a Thing out of the directory: set-points end, its devices' rights too; its history stays."""
    known = _known(node, thing_id)
    if known is None:
        _refused(node, request, thing_id, "thing.manage")
    node.authority.on_thing(request.user, "thing.manage", known)
    _expected(request, known)
    why = "it was removed from the directory"
    await node.lives.move(known, "retired", by=request.user.principal, why=why)


def _changing(node: Node, request: AnyRequest, thing: Thing) -> Caller:
    """Return the caller when it may change a Thing; raise `Forbidden`."""
    node.authority.on_thing(request.user, "thing.change", thing)
    return as_registrar(node, request.user)


def _refused(node: Node, request: AnyRequest, id: str, action: str = "thing.change") -> NoReturn:
    """Raise what those are told who ask for what there is not: the same as those whose it is not."""
    node.authority.on_thing(request.user, action, None, id)
    raise NotFound("there is no such Thing")


def _known(node: Node, id: str) -> Thing | None:
    try:
        thing = node.things.get(id)
    except NotFound:
        return None
    return None if thing.retired else thing


def _own(node: Node, request: AnyRequest, given: Mapping[str, Any], caller: Caller) -> Changes:
    """Return what a patch says of how the node serves a Thing; raise `Invalid`, `Forbidden`."""
    found: dict[str, Any] = {}
    kinds: dict[str, Any] = {
        "gs:model": str, "gs:adapter": str, "gs:connection": dict[str, Any], "gs:devices": tuple[str, ...],
    }  # fmt: skip
    for member, field in _OWN.items():
        if member in given:
            value = given[member]
            if value is None and member != "gs:model":
                value = kinds[member]()
            try:
                found[field] = msgspec.convert(value, kinds[member])
            except msgspec.ValidationError as error:
                refuse([finding((member,), str(error))])
    if found.get("connection") and not caller.connect():
        node.authority.on_node(request.user, "node.connect")
    return found  # type: ignore[return-value]


def _plain(thing: Thing, given: Mapping[str, Any]) -> Changes:
    """Return what a patch says of a Thing that is described by its model; raise `Invalid`."""
    words = "it follows from the Thing Model: PUT a whole description to give the Thing its own"
    if others := [finding((name,), words) for name in given if name not in _PLAIN]:
        refuse(others)
    fields: Changes = {}
    if "title" in given:
        if not isinstance(given["title"], str):
            refuse([finding(("title",), "a text is needed")])
        fields["title"] = given["title"]
    if given.keys() & {"geo:lat", "geo:long"}:
        place = [
            given.get(name, before)
            for name, before in zip(("geo:lat", "geo:long"), thing.location or (None, None), strict=True)
        ]
        if place == [None, None]:
            fields["location"] = None
        elif all(isinstance(one, int | float) and not isinstance(one, bool) for one in place):
            fields["location"] = (float(place[0]), float(place[1]))
        else:
            refuse([finding(("geo:lat",), "latitude and longitude are two numbers [degrees], or both null")])
    return fields


def _tag(node: Node, request: AnyRequest, thing: Thing, media: str = JSON, forms: str = "own") -> str:
    """Return the tag of a Thing at its version as this caller gets it: in which form, from where, with what rights.

    What a caller may do shows in the description, so one tag must not stand for the descriptions of two callers; the
    time at which it was retrieved apart. By its first part, the version, a change can be asked for (``If-Match``).
    """
    reach = reach_of(node, request.user, request.scope, thing)
    seen = (media, forms, reach.base, reach.command, reach.alarms, sorted(reach.services))
    return f'"{thing.version}-{_digest(seen)}"'


def _digest(seen: Any) -> str:
    return hashlib.blake2b(msgspec.json.encode(seen), digest_size=6).hexdigest()


def _links(node: Node, request: AnyRequest, following: str) -> str:
    caller = request.user
    own = caller.principal if caller.kind == "device" else ""  # it sees those it speaks for, and no others
    may = node.authority.would_allow(caller, "thing.command", Thing("", caller.organisation, "any", ""))
    etag = f"{node.things.order_tag(caller.organisation)}-{_digest((own, may))}"
    canonical = f'</things>; rel="canonical"; etag="{etag}"'
    return f'<{following}>; rel="next", {canonical}' if following else canonical


def _after(things: Sequence[Thing], id: str) -> int:
    return things.after(id) if isinstance(things, Ordered) else bisect_right(things, id, key=lambda one: one.id)


def _expected(request: AnyRequest, thing: Thing) -> int | None:
    """Return the version that ``If-Match`` wants, None for any; raise `PreconditionFailed` when it is another."""
    given = request.headers.get("if-match", "").strip()
    if given in {"", "*"}:
        return None
    wanted = [one.strip().removeprefix("W/") for one in given.split(",")]
    if str(thing.version) not in [one.strip('"').partition("-")[0] for one in wanted]:
        raise PreconditionFailed(f'the Thing is at version "{thing.version}": read it again')
    return thing.version


def _media(request: AnyRequest) -> str:
    return media_type(str(request.headers.get("content-type", "")))
