"""VENs and their resources: who takes part, and by which targets who runs programmes knows them.

::

    BL_VEN_REQUEST    who runs programmes: any clientID of its organisation, with targets     ┐ only these count for
    VEN_VEN_REQUEST   a VEN itself: its own clientID, no targets                              ┘ what it may see
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from gridspine.adapters.openadr3 import edition
from gridspine.adapters.openadr3.book import no_such
from gridspine.adapters.openadr3.call import Answer, Call, must, said
from gridspine.adapters.openadr3.vtn import Vtn
from gridspine.adapters.openadr3.wire import (
    BlResourceRequest,
    BlVenRequest,
    Kind,
    Record,
    VenResourceRequest,
    VenVenRequest,
    body_of,
)
from gridspine.kernel.errors import Conflict, Forbidden, Invalid, NotFound

VenRequest = BlVenRequest | VenVenRequest
ResourceRequest = BlResourceRequest | VenResourceRequest
_NAMES: dict[Kind, str] = {"VEN": "venName", "RESOURCE": "resourceName"}


async def search(vtn: Vtn, call: Call) -> Answer:
    """Answer ``GET /vens``."""
    return said([_shown(vtn, one, call) for one in call.page(_matching(vtn, call, "VEN"))])


async def get(vtn: Vtn, call: Call) -> Answer:
    """Answer ``GET /vens/{venID}``."""
    return said(_shown(vtn, _find(vtn, call, "VEN", call.path[1]), call))


async def create(vtn: Vtn, call: Call) -> Answer:
    """Answer ``POST /vens``."""
    call.check_ven()
    request, further = _read(call, "VEN", VenRequest)
    record = await _make(vtn, call, "VEN", request, further, "")
    return said(_shown(vtn, record, call), 201)


async def update(vtn: Vtn, call: Call) -> Answer:
    """Answer ``PUT /vens/{venID}``."""
    call.check_ven()
    before = _find(vtn, call, "VEN", call.path[1])
    request, further = _read(call, "VEN", VenRequest)
    record = await _change(vtn, call, before, request, further)
    return said(_shown(vtn, record, call))


async def delete(vtn: Vtn, call: Call) -> Answer:
    """Answer ``DELETE /vens/{venID}``: its resources go with it."""
    call.check_ven()
    found = _find(vtn, call, "VEN", call.path[1])
    shown = _shown(vtn, found, call)
    await vtn.gone([*vtn.book.below(found.id), found])
    return said(shown)


async def search_resources(vtn: Vtn, call: Call) -> Answer:
    """Answer ``GET /resources``; of 3.0.1 ``GET /vens/{venID}/resources``."""
    of = call.one("venID") if call.edition == "3.1.0" else _find(vtn, call, "VEN", call.path[1]).id
    found = (one for one in _matching(vtn, call, "RESOURCE") if of in {None, one.parent})
    return said([_shown(vtn, one, call) for one in call.page(found)])


async def get_resource(vtn: Vtn, call: Call) -> Answer:
    """Answer ``GET /resources/{resourceID}``."""
    return said(_shown(vtn, _resource(vtn, call), call))


async def create_resource(vtn: Vtn, call: Call) -> Answer:
    """Answer ``POST /resources``."""
    call.check_ven()
    if call.edition == "3.0.1":
        _find(vtn, call, "VEN", call.path[1])
    request, further = _read(call, "RESOURCE", ResourceRequest)
    record = await _make(vtn, call, "RESOURCE", request, further, request.ven_id)
    return said(_shown(vtn, record, call), 201)


async def update_resource(vtn: Vtn, call: Call) -> Answer:
    """Answer ``PUT /resources/{resourceID}``."""
    call.check_ven()
    before = _resource(vtn, call)
    request, further = _read(call, "RESOURCE", ResourceRequest)
    if request.ven_id != before.parent:
        raise Invalid("venID: a resource stays with its VEN")
    record = await _change(vtn, call, before, request, further)
    return said(_shown(vtn, record, call))


async def delete_resource(vtn: Vtn, call: Call) -> Answer:
    """Answer ``DELETE /resources/{resourceID}``."""
    call.check_ven()
    found = _resource(vtn, call)
    await vtn.gone([found])
    return said(_shown(vtn, found, call))


def _read(call: Call, kind: Kind, type_: Any) -> tuple[Any, edition.Further]:
    """Return a request; in 3.0.1, which knows no difference, it is by who asks."""
    fixed: dict[str, Any] = {"objectType": f"{'BL' if call.bl else 'VEN'}_{kind}_REQUEST", "clientID": call.client}
    if kind == "RESOURCE" and len(call.path) > 1:
        fixed["venID"] = call.path[1]
    request, further = edition.read_request(call, kind, type_, fixed)
    if call.edition == "3.0.1" and not call.bl and further.types:
        raise Forbidden("targets: who runs programmes gives them, not the VEN itself")
    if isinstance(request, BlVenRequest | BlResourceRequest):
        call.check_bl()
    return request, further


async def _make(vtn: Vtn, call: Call, kind: Kind, request: Any, further: edition.Further, parent: str) -> Record:
    granted = isinstance(request, BlVenRequest | BlResourceRequest)
    client = request.client_id if granted else call.client
    if kind == "RESOURCE":
        try:
            ven = _find(vtn, call, "VEN", parent)
        except NotFound as error:
            raise Invalid("venID: there is no such VEN") from error
        client = ven.client
    body = _body(request)
    _check_name(vtn, call, kind, body, parent, "")
    vtn.book.check_room(kind, call.organisation, "" if call.bl else call.client)
    record = Record(
        kind=kind, id=vtn.new_id(), organisation=call.organisation, client=client, created_us=call.now_us,
        modified_us=call.now_us, body=body, parent=parent, granted=granted, types=further.types,
    )  # fmt: skip
    return await vtn.kept(record, "CREATE")


async def _change(vtn: Vtn, call: Call, before: Record, request: Any, further: edition.Further) -> Record:
    """Change a VEN or resource; what its VEN says of itself leaves targets as they were given."""
    granted, body = isinstance(request, BlVenRequest | BlResourceRequest), _body(request)
    client, types = before.client, further.types
    name = _NAMES[before.kind]
    if granted:
        client = before.client if call.edition == "3.0.1" or before.kind == "RESOURCE" else request.client_id
    else:
        must(not before.granted or body[name] == before.body[name], f"{name}: who runs programmes gave it")
        types = before.types
        if "targets" in before.body:
            body["targets"] = before.body["targets"]
    _check_name(vtn, call, before.kind, body, before.parent, before.id)
    record = msgspec.structs.replace(
        before, body=body, client=client, modified_us=call.now_us, granted=granted or before.granted, types=types
    )
    await vtn.kept(record, "UPDATE")
    if client != before.client:
        for one in vtn.book.below(before.id):
            await vtn.kept(msgspec.structs.replace(one, client=client, modified_us=call.now_us), "UPDATE")
    return record


def _body(request: Any) -> dict[str, Any]:
    body = body_of(request)
    body.pop("clientID", None)
    return body


def _check_name(vtn: Vtn, call: Call, kind: Kind, body: dict[str, Any], parent: str, own: str) -> None:
    """Raise `Conflict` for a name that is taken: of a VEN in the organisation, of a resource in its VEN."""
    name = _NAMES[kind]
    for one in vtn.book.below(parent) if parent else vtn.book.all(kind):
        if (
            one.kind == kind
            and one.organisation == call.organisation
            and one.id != own
            and one.body[name] == body[name]
        ):
            raise Conflict(f"{name}: {body[name]!r} is taken")


def _matching(vtn: Vtn, call: Call, kind: Kind) -> Iterator[Record]:
    call.port.check("programme.read")
    name, wanted = call.one(_NAMES[kind]), call.targets()
    for one in vtn.book.all(kind):
        if call.sees(one) and name in {None, one.body[_NAMES[kind]]} and (wanted is None or one.targets & wanted):
            yield one


def find(vtn: Vtn, call: Call, id: str) -> Record:
    """Return a VEN that the asker may see; raise `NotFound`."""
    return _find(vtn, call, "VEN", id)


def _find(vtn: Vtn, call: Call, kind: Kind, id: str) -> Record:
    call.port.check("programme.read")
    found = vtn.book.get(kind, id)
    if not call.sees(found):
        raise no_such(kind)
    return found


def _resource(vtn: Vtn, call: Call) -> Record:
    found = _find(vtn, call, "RESOURCE", call.path[-1])
    if call.edition == "3.0.1" and found.parent != call.path[1]:
        raise no_such("RESOURCE")
    return found


def _shown(vtn: Vtn, record: Record, call: Call) -> dict[str, Any]:
    if call.edition == "3.1.0" or record.kind != "VEN":
        return edition.shown(record, call.edition)
    resources = [edition.shown(one, call.edition) for one in vtn.book.below(record.id)]
    return edition.shown(record, call.edition, {"resources": resources})
