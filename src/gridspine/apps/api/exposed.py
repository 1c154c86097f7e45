"""What a Thing offers to one caller at one address: what its Thing Description is made for."""

from litestar.types import Scope

from gridspine.apps.api.authenticate import origin
from gridspine.apps.node.node import Node
from gridspine.infra.identity.caller import Caller
from gridspine.things.directory import Thing
from gridspine.things.exposed import Reach

SERVICES = frozenset({"hold", "stop", "readNow", "request", "maintain"})
"""The services by which this node carries out actions."""


_OF_ADAPTERS = frozenset({"request", "maintain"})


def services_of(node: Node, thing: Thing) -> frozenset[str]:
    """Return the services that can carry out actions of a Thing: who has no adapter is not read on request.

    Those its adapter carries out are there while it runs, and where it carries out any.
    """
    if not thing.adapter:
        return SERVICES - {"readNow"} - _OF_ADAPTERS
    return SERVICES if node.adapters.requests.served(thing.adapter) else SERVICES - _OF_ADAPTERS


def reach_of(node: Node, caller: Caller, scope: Scope, thing: Thing) -> Reach:
    """Return what ``caller`` may do to a Thing it may read, and where. It offers; whatever is asked is decided anew."""
    may = {action: node.authority.would_allow(caller, action, thing) for action in ("thing.command", "alarm.read")}
    return Reach(origin(scope), may["thing.command"], may["alarm.read"], services_of(node, thing))
