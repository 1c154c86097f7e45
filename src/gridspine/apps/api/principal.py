"""Organisations and principals: who takes part, and with which keys."""

import asyncio
from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath, JSONBody

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.node.node import Node
from gridspine.apps.policies.entities import ROLES
from gridspine.infra.identity.jws import import_key
from gridspine.infra.identity.principal import ADMINISTRATOR, Kind, Principal
from gridspine.kernel.errors import Conflict, Invalid, NotFound


class NewOrganisation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A participant to admit."""

    id: str
    name: str
    kind: str = ""


class NewPrincipal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A user, application or device.

    ``jwk`` is the public key of an application or device; a device may ask for a ``password`` instead. A user needs a
    ``first_password``, and signs in to the portal by its ``name``.
    """

    kind: Kind
    name: str
    roles: tuple[str, ...]
    id: str = ""
    organisation: str = ""
    jwk: dict[str, str] | None = None
    password: bool = False
    first_password: str = ""


class PrincipalView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A principal; ``password`` and ``bearer`` (demo profile: a plain token) are shown this once."""

    id: str
    organisation: str
    kind: str
    name: str
    roles: tuple[str, ...]
    active: bool
    password: str = ""
    bearer: str = ""


@get("/organisations", summary="List organisations", tags=["identity"])
async def list_organisations(node: TheNode) -> list[dict[str, str]]:
    """List who takes part."""
    return [{"id": o.id, "name": o.name, "kind": o.kind} for o in node.identity.directory.organisations()]


@post("/organisations", summary="Admit an organisation", tags=["identity"])
async def admit_organisation(
    request: Request[Any, Any, Any], node: TheNode, data: JSONBody[NewOrganisation]
) -> dict[str, str]:
    """Admit a participant; for administrators of the organisation that runs the node."""
    node.authority.on_organisation(request.user, "identity.manage", node.organisation)
    add = node.identity.directory.add_organisation
    made = await asyncio.to_thread(add, data.id, data.name, kind=data.kind, actor=request.user.principal)
    return {"id": made.id, "name": made.name, "kind": made.kind}


@get("/principals", summary="List principals", tags=["identity"])
async def list_principals(request: Request[Any, Any, Any], node: TheNode) -> list[PrincipalView]:
    """List the principals of the caller's organisation."""
    node.authority.on_organisation(request.user, "identity.manage", request.user.organisation)
    return [view(principal) for principal in node.identity.directory.principals(request.user.organisation)]


@post("/principals", summary="Add a principal", tags=["identity"])
async def add_principal(request: Request[Any, Any, Any], node: TheNode, data: JSONBody[NewPrincipal]) -> PrincipalView:
    """Add a principal of the caller's organisation; or of any, by an administrator of the one that runs the node."""
    wanted = data.organisation or request.user.organisation
    _may_manage(node, request, wanted)
    if data.kind == "user" and not data.first_password:
        raise Invalid("first_password: a user needs one")
    check_known_roles(data.roles)
    node.quotas.principals(len(node.identity.directory.principals(wanted)))
    return await asyncio.to_thread(_add, node, data, wanted, request.user.principal)


@post("/principals/{principal_id:str}/deactivate", status_code=200, summary="Deactivate a principal", tags=["identity"])
async def deactivate_principal(
    request: Request[Any, Any, Any], node: TheNode, principal_id: FromPath[str]
) -> PrincipalView:
    """End everything issued to a principal, at once."""
    keep_an_administrator(node, manageable(node, request, principal_id))
    deactivate = node.identity.directory.deactivate
    return view(await asyncio.to_thread(deactivate, principal_id, actor=request.user.principal))


def check_known_roles(roles: tuple[str, ...]) -> None:
    """Raise `Invalid` unless there is at least one role and the policies know them all."""
    unknown = [role for role in roles if role not in ROLES]
    if unknown or not roles:
        named = f"{unknown[0][:40]!r} is none" if unknown else "at least one is needed"
        raise Invalid(f"roles: {named}; there are {', '.join(ROLES)}")


def keep_an_administrator(node: Node, principal: Principal, roles: tuple[str, ...] = ()) -> None:
    """Raise `Conflict` when without ``principal`` (or with these roles) nobody could manage the node any more."""
    if principal.organisation != node.organisation or ADMINISTRATOR in roles:
        return
    others = node.identity.directory.principals(node.organisation)
    if not any(p.active and ADMINISTRATOR in p.roles and p.id != principal.id for p in others):
        raise Conflict("this is the node's last administrator: add another first")


def manageable(node: Node, request: Request[Any, Any, Any], principal_id: str, *, active: bool = True) -> Principal:
    """Return a principal that the caller may manage; raise `NotFound` alike for none and one of others.

    With ``active`` a deactivated one is none.
    """
    directory = node.identity.directory
    try:
        principal = directory.active(principal_id) if active else directory.principal(principal_id)
    except NotFound:
        principal = None
    runs_the_node = request.user.organisation == node.organisation
    if principal is None or not (runs_the_node or principal.organisation == request.user.organisation):
        node.authority.on_organisation(request.user, "identity.manage", request.user.organisation)
        raise NotFound("there is no such principal")
    _may_manage(node, request, principal.organisation)
    return principal


def _may_manage(node: Node, request: Request[Any, Any, Any], organisation: str) -> None:
    runs_the_node = request.user.organisation == node.organisation
    node.authority.on_organisation(
        request.user, "identity.manage", request.user.organisation if runs_the_node else organisation
    )


def _add(node: Node, data: NewPrincipal, organisation: str, actor: str) -> PrincipalView:
    directory = node.identity.directory
    if data.kind == "user":
        return view(node.identity.users.add(organisation, data.name, data.first_password, data.roles, actor=actor))
    if data.jwk is not None and directory.key(import_key(data.jwk)[0]) is not None:
        raise Conflict("jwk: this key is registered already; every principal has keys of its own")
    made = directory.add_principal(organisation, data.kind, data.name, data.roles, actor=actor, id=data.id or None)
    if data.jwk is not None:
        directory.add_key(made.id, data.jwk, actor=actor)
    password = node.identity.devices.set_new(made) if data.password and data.kind == "device" else ""
    bearer = node.identity.demo.issue(made.id) if node.identity.demo is not None else ""
    return msgspec.structs.replace(view(made), password=password, bearer=bearer)


def view(principal: Principal) -> PrincipalView:
    """Return a principal as it is answered."""
    return PrincipalView(
        principal.id, principal.organisation, principal.kind, principal.name, principal.roles, principal.active
    )
