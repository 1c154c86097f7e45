"""The menu: places in groups, each with what waits there; a caller sees those that are for the caller."""

from dataclasses import dataclass

from gridspine.apps.node.node import Node
from gridspine.apps.portal.may import May
from gridspine.infra.identity.caller import Caller
from gridspine.kernel.errors import NotFound


@dataclass(frozen=True, slots=True)
class MenuEntry:
    """A place; ``key`` names it in templates, ``count`` is what waits there."""

    key: str
    title: str
    href: str
    count: int = 0
    counted: str = ""


@dataclass(frozen=True, slots=True)
class MenuGroup:
    """Places that belong together; who goes to the group comes to the first of them."""

    title: str
    entries: tuple[MenuEntry, ...]

    @property
    def count(self) -> int:
        """What waits in all of them."""
        return sum(entry.count for entry in self.entries)

    @property
    def counted(self) -> str:
        """What it is that waits."""
        return ", ".join(entry.counted for entry in self.entries if entry.count)

    def has(self, key: str) -> bool:
        """Whether the place called ``key`` is one of them."""
        return any(entry.key == key for entry in self.entries)


def menu(node: Node, may: May) -> list[MenuGroup]:
    """Return the places a caller can go to, in groups."""
    groups = [
        ("Things", _things(may)),
        ("Control", _control(may)),
        ("Waiting", _waiting(node, may)),
        ("Sharing", _sharing(may)),
        ("Alarms", _alarms(node, may)),
        ("Status", [MenuEntry("status", "Status", "/portal/status")] if may.watch else []),
    ]
    return [MenuGroup(title, tuple(entries)) for title, entries in groups if entries]


def _things(may: May) -> list[MenuEntry]:
    if not may.read_things:
        return []
    return [
        MenuEntry("things", "All Things", "/"),
        MenuEntry("ensembles", "Ensembles", "/portal/ensembles"),
        MenuEntry("connections", "Connections", "/portal/connections"),
        MenuEntry("models", "Models", "/portal/models"),
        MenuEntry("edges", "Edges", "/portal/edges"),
    ]


def _control(may: May) -> list[MenuEntry]:
    if not may.read_things:
        return []
    return [
        MenuEntry("orders", "Orders to many", "/portal/orders"),
        MenuEntry("sites", "Sites", "/portal/sites"),
        MenuEntry("programmes", "Programmes", "/portal/programmes"),
        MenuEntry("bids", "Bids", "/portal/bids"),
        MenuEntry("behaviours", "Behaviours", "/portal/behaviours"),
    ]


def _waiting(node: Node, may: May) -> list[MenuEntry]:
    if not may.read_things:
        return []
    awaiting = sum(_owns(node, may.caller, one.lease.thing) for one in node.commands.commander.awaiting())
    entries = [MenuEntry("waiting", "For somebody", "/portal/waiting", awaiting, "wait for a second person")]
    if may.register:
        entries.append(MenuEntry("vouchers", "Vouchers", "/portal/vouchers"))
    if may.transfer:
        entries.append(MenuEntry("transfers", "Transfers", "/portal/transfers"))
    return entries


def _sharing(may: May) -> list[MenuEntry]:
    entries = [MenuEntry("products", "Products", "/portal/products")]
    if may.read_grants:
        entries.append(MenuEntry("grants", "Grants", "/portal/grants"))
    return entries


def _alarms(node: Node, may: May) -> list[MenuEntry]:
    if not may.read_things:
        return []
    unseen = sum(not alarm.acknowledged_by for alarm in node.alarms.of(may.caller.organisation))
    return [
        MenuEntry("alarms", "Alarms", "/portal/alarms", unseen, "not acknowledged"),
        MenuEntry("incidents", "Incidents", "/portal/incidents"),
    ]


def _owns(node: Node, caller: Caller, thing: str) -> bool:
    try:
        return node.things.get(thing).organisation == caller.organisation
    except NotFound:
        return False
