"""What a principal may be and do from now on: roles, passwords, back again, signed out; each change recorded.

All of it is for administrators: of the principal's organisation, or of the one that runs the node.
"""

import asyncio
from typing import Any

import msgspec
from litestar import Request, post
from litestar.params import FromPath, JSONBody

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.principal import PrincipalView, check_known_roles, keep_an_administrator, manageable, view
from gridspine.kernel.errors import Conflict


class NewRoles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All roles a principal shall have."""

    roles: tuple[str, ...]


class NewPassword(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A user's new password for the portal."""

    password: str


class DevicePasswordView(msgspec.Struct, frozen=True):
    """A device password, shown this once."""

    id: str
    password: str


@post("/principals/{principal_id:str}/roles", status_code=200, summary="Give other roles", tags=["identity"])
async def set_roles(
    request: Request[Any, Any, Any], node: TheNode, principal_id: FromPath[str], data: JSONBody[NewRoles]
) -> PrincipalView:
    """Give a principal exactly these roles; what it loses, its tokens, sessions and streams lose at once."""
    principal = manageable(node, request, principal_id)
    check_known_roles(data.roles)
    keep_an_administrator(node, principal, data.roles)
    change = node.identity.directory.set_roles
    return view(await asyncio.to_thread(change, principal_id, data.roles, actor=request.user.principal))


@post(
    "/principals/{principal_id:str}/reactivate", status_code=200, summary="Let a principal act again", tags=["identity"]
)
async def reactivate_principal(
    request: Request[Any, Any, Any], node: TheNode, principal_id: FromPath[str]
) -> PrincipalView:
    """Let a deactivated principal prove itself again; tokens and sessions from before stay void."""
    principal = manageable(node, request, principal_id, active=False)
    if principal.active:
        raise Conflict("the principal is active")
    change = node.identity.directory.reactivate
    return view(await asyncio.to_thread(change, principal_id, actor=request.user.principal))


@post("/principals/{principal_id:str}/sign-out", status_code=200, summary="Sign out everywhere", tags=["identity"])
async def sign_out_everywhere(
    request: Request[Any, Any, Any], node: TheNode, principal_id: FromPath[str]
) -> PrincipalView:
    """End all sessions, tokens, tickets and streams of a principal; its keys and passwords stay good."""
    principal = manageable(node, request, principal_id)
    await asyncio.to_thread(node.identity.sign_out_everywhere, principal_id, actor=request.user.principal)
    return view(principal)


@post("/principals/{principal_id:str}/password", status_code=200, summary="Set a user's password", tags=["identity"])
async def set_password(
    request: Request[Any, Any, Any], node: TheNode, principal_id: FromPath[str], data: JSONBody[NewPassword]
) -> PrincipalView:
    """Give a user another password; all sessions that rest on the old one end."""
    principal = manageable(node, request, principal_id)
    change = node.identity.set_password
    await asyncio.to_thread(change, principal_id, data.password, actor=request.user.principal)
    return view(principal)


@post(
    "/principals/{principal_id:str}/device-password",
    status_code=200,
    summary="Make a new device password",
    tags=["identity"],
)
async def new_device_password(
    request: Request[Any, Any, Any], node: TheNode, principal_id: FromPath[str]
) -> DevicePasswordView:
    """Make anew the password that a device, or an application, proves itself by at adapters; the old one ends.

    For an application it is the client secret of protocols that know no other proof, as OpenADR; this API takes none.
    """
    principal = manageable(node, request, principal_id)
    if principal.kind == "user":
        raise Conflict("a user has no device password: users sign in to the portal")
    make = node.identity.new_device_password
    return DevicePasswordView(principal_id, await asyncio.to_thread(make, principal_id, actor=request.user.principal))
