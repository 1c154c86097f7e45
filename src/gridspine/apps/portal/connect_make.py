"""What connecting comes to: principals made known, Things registered by the API's own routes, and what to enter there.

Whatever a form asks for, the API's functions are called in the name of who sent it: the same policies decide, and the
same is recorded. What was made before a later step was refused is taken back.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from gridspine.apps.api.credential import KnownCertificate, know_certificate
from gridspine.apps.api.principal import NewPrincipal, PrincipalView, add_principal, deactivate_principal
from gridspine.apps.api.taking import keep_plain
from gridspine.apps.node.node import Node
from gridspine.apps.portal.connect_form import Field
from gridspine.apps.portal.page import PortalRequest
from gridspine.infra.identity.caller import Caller
from gridspine.kernel.errors import GridspineError, Invalid
from gridspine.things.adapter_host import LOOPBACK
from gridspine.things.directory import Thing

MODELS = "https://gridspine.org/models/"
Need = Literal["register", "connect", "identity", "identity-node", "enrol", "command"]
"""What making a connection takes; see `lacking`."""


@dataclass(frozen=True, slots=True)
class Enter:
    """Something to enter at the other side; a ``secret`` is shown this once."""

    label: str
    value: str
    secret: bool = False


@dataclass(frozen=True, slots=True)
class Made:
    """What was made: ids of Things, what to enter at the other side, and what else is to be done there or here.

    ``authority``: the other side needs the certificate of the node's own authority, to trust it.
    """

    things: Sequence[str]
    enter: Sequence[Enter] = ()
    words: Sequence[str] = ()
    authority: bool = False


Fields = Callable[[Node, Caller], Sequence[Field]]
Making = Callable[[PortalRequest, Node, Mapping[str, Any]], Awaitable[Made]]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of connection: who is at the other side, by which adapter, what it takes, and how it is made.

    ``settings`` is what a file of settings needs first; ``how_to`` is the page that tells all of it.
    """

    key: str
    title: str
    protocol: str
    words: str
    adapter: str
    needs: Sequence[Need]
    fields: Fields
    make: Making
    settings: str
    how_to: str
    listener: str = ""
    """The listener that the other side comes to, "" where the node goes there."""


@dataclass(frozen=True, slots=True)
class Door:
    """Where a listener of an adapter is reached: ``host`` as others name it, and whether that is this machine only."""

    host: str
    port: int
    tls: bool
    local: bool
    own_certificate: bool

    def url(self, scheme: str, path: str) -> str:
        """Return an address: ``scheme`` is ``http`` or ``ws``, an ``s`` is added where there is TLS."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}{'s' if self.tls else ''}://{host}:{self.port}{path}"


def section(node: Node, adapter: str) -> dict[str, Any]:
    """Return an adapter's section of the settings."""
    return node.settings.adapters.settings.get(adapter, {})


def door(node: Node, request: PortalRequest, adapter: str, listener: str) -> Door | None:
    """Return where an adapter listens, None while it does not; beyond this machine as the portal itself was reached."""
    address = node.adapters.listening.get(f"{adapter}.{listener}")
    if address is None:
        return None
    given = section(node, adapter).get(listener, {})
    names = [str(one) for one in given.get("names", ())]
    local = address[0] in LOOPBACK
    host = names[0] if names else address[0] if local else request.url.hostname or address[0]
    return Door(
        host, address[1], bool(given.get("tls")), local, bool(given.get("tls")) and not given.get("certificate")
    )


def lacking(node: Node, caller: Caller, needs: Sequence[Need]) -> list[str]:
    """Return what ``caller`` lacks for ``needs``, in words. It decides nothing: the policies are asked later."""
    roles, own = caller.roles, caller.organisation == node.organisation
    may_connect = (own and bool(roles & {"operator", "administrator"})) or (
        caller.organisation in node.settings.adapters.connect_for
    )
    has: dict[Need, tuple[bool, str]] = {
        "register": (bool(roles & {"operator", "administrator"}), "the role operator or administrator"),
        "connect": (may_connect, "leave to say where the node connects to (of who runs it, or adapters.connect_for)"),
        "identity": ("administrator" in roles, "the role administrator: it makes somebody known"),
        "identity-node": (
            own and "administrator" in roles, "an administrator of who runs the node, who knows certificates",
        ),
        "enrol": ("owner" in roles, "the role owner: it consents to be commanded"),
        "command": ("operator" in roles, "the role operator: it has the partner's Thing act"),
    }  # fmt: skip
    return [has[need][1] for need in needs if not has[need][0]]


@asynccontextmanager
async def speaker(request: PortalRequest, node: Node, wanted: NewPrincipal) -> AsyncIterator[PrincipalView]:
    """Make a principal known; it is deactivated, and its Things are retired, when what follows is refused."""
    made = await add_principal.fn(request, node, wanted)
    try:
        yield made
    except GridspineError:
        with suppress(GridspineError):
            for thing in list(node.things.of_device(made.id)):
                why = "connecting it was refused halfway"
                await node.things.retire(thing.id, actor=request.user.principal, reason=why)
            await deactivate_principal.fn(request, node, made.id)
        raise


async def know(request: PortalRequest, node: Node, principal: str, certificate: str) -> str:
    """Know a principal by a certificate (PEM); return the certificate's LFDI."""
    known = await know_certificate.fn(request, node, principal, KnownCertificate(certificate))
    return str(known.sha256[:40])


async def register(
    request: PortalRequest, node: Node, title: str, model: str, adapter: str, connection: Mapping[str, Any],
    devices: Sequence[str] = (), id: str = "",
) -> str:  # fmt: skip
    """Register a Thing of a model, one of ours by its short name, as the caller; return its id."""
    full = model if ":" in model else MODELS + model
    thing = Thing(
        id, request.user.organisation, title, full, adapter=adapter, connection=dict(connection), devices=tuple(devices)
    )
    answer = await keep_plain(node, request.user, thing)
    return str(msgspec.json.decode(answer.body)["id"])


def model_options(node: Node, organisation: str, *names: str) -> list[tuple[str, str]]:
    """Return the models of ``names`` to choose from."""
    found = ((name, node.things.models.get(MODELS + name, organisation)) for name in names)
    return [(name, model.title) for name, model in found if model is not None]


def own_thing(node: Node, caller: Caller, field: str, id: str) -> str:
    """Return the id of an own Thing that ``field`` names; raise `Invalid`, alike for none and one of others."""
    found = node.things.roll.get(id)
    if found is None or found.retired or found.organisation != caller.organisation:
        raise Invalid(f"{field}: your organisation has no such Thing")
    return id
