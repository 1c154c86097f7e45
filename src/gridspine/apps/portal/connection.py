"""The page of connections: every Thing that an adapter serves, with whom, how it stands, when it was heard last, and
what the adapter said of it last.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from litestar import Response, get
from litestar.params import FromQuery

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.thing import readable
from gridspine.apps.node.adapter_words import AdapterWord
from gridspine.apps.node.node import Node
from gridspine.apps.portal.may import May
from gridspine.apps.portal.page import PortalRequest, is_part, page
from gridspine.energy.plant import ADAPTER as PLANT
from gridspine.infra.identity.caller import Caller
from gridspine.kernel.errors import Forbidden
from gridspine.kernel.quality import Quality
from gridspine.kernel.time import US
from gridspine.things.directory import Thing
from gridspine.things.twin import NEVER_US

SHOWN, SHOWN_EACH, MAX_NAMED = 100, 12, 50
"""Things shown of one adapter; of each where all are shown; named in an address."""
PROTOCOLS = {
    "edge": "an edge, beside the devices", "ieee2030_5": "IEEE 2030.5", "modbus": "Modbus", "mqtt": "MQTT",
    "ocpi": "OCPI", "ocpp": "OCPP", "openadr2": "OpenADR 2.0b", "openadr3": "OpenADR 3", "webhook": "what vendors post",
    "wot_http": "HTTP",
}  # fmt: skip
_AGE_STEP_US = 10 * US
"""How much later [µs] something must have been heard for a page to be told."""
_LOOK_US = US
"""How seldom [µs] it is looked which Things there are: a fleet that is being registered changes all the time."""
_STANDING = ("connected", "serverReached", "registration")
"""Points by which a Thing says itself how a connection stands."""
_GOOD = {"connected": 1, "serverReached": 1, "registration": 2}
_PEERS = (
    "station",
    "partner",
    "vtn",
    "utility",
    "venID",
    "resource",
    "host",
    "device",
    "href",
    "base",
    "url",
    "topic",
    "lfdi",
)


@dataclass(frozen=True, slots=True)
class ConnectionRow:
    """A connection as it is shown; ``heard_us`` is None where nothing was ever heard."""

    thing: str
    title: str
    peer: str
    state: str
    tone: str
    heard_us: int | None
    word: AdapterWord | None


@dataclass(frozen=True, slots=True)
class ConnectionGroup:
    """What one adapter serves: how many in all, the newest of them, and what is wrong with the adapter itself."""

    adapter: str
    protocol: str
    total: int
    rows: Sequence[ConnectionRow]
    problem: str


@get("/portal/connections")
async def connections_page(
    request: PortalRequest, node: TheNode, adapter: FromQuery[str] = ""
) -> Response[Any]:  # fmt: skip
    """Show the connections of the organisation, by adapter; of one ``adapter`` more of them, or ``thing`` by name."""
    caller = request.user
    if not May(caller, node.organisation).read_things:
        raise Forbidden("connections are for the people who look after Things")
    readable(node, caller, "thing.read")
    named = request.query_params.getall("thing", [])[:MAX_NAMED]
    if named and is_part(request):
        rows = connection_rows(node, caller, _named(node, caller, named))
        return page(request, node, "parts/connection_rows.html", rows=rows)
    served = node.things.roll.served(caller.organisation, SHOWN if adapter else SHOWN_EACH)
    groups = [
        ConnectionGroup(
            name, PROTOCOLS.get(name, name), total, connection_rows(node, caller, things), problem(node, caller, name)
        )
        for name, (total, things) in sorted(served.items())
        if name != PLANT and adapter in {"", name}
    ]
    return page(
        request, node, "parts/connections.html" if is_part(request) else "connections.html", current="connections",
        groups=groups, adapter=adapter[:60], listed=f"?adapter={quote(adapter[:60])}" if adapter else "",
    )  # fmt: skip


def connection_rows(node: Node, caller: Caller, things: Iterable[Thing]) -> list[ConnectionRow]:
    """Return Things of the caller's organisation as rows."""
    return [_row(node, thing) for thing in things if thing.organisation == caller.organisation]


def problem(node: Node, caller: Caller, adapter: str) -> str:
    """Return what is wrong with an adapter as a whole, "" for nothing; the very words to who may watch the node."""
    if adapter == "edge":
        return ""
    if adapter not in node.settings.adapters.allow:
        return "It is not switched on: adapters.allow in the settings does not name it."
    found = next((task for task in node.supervisor.states() if task.name == f"adapter:{adapter}"), None)
    if found is None or not found.failures:
        return ""
    watches = May(caller, node.organisation).watch
    return f"It has failed, and is tried again: {found.error}" if watches else "It has failed, and is tried again."


def pieces_of(things: Sequence[str]) -> str:
    """Return the query that names Things."""
    return "?" + "&".join(f"thing={quote(one, safe=':')}" for one in things[:MAX_NAMED])


def look_at(node: Node, organisation: str) -> Any:
    """Return how to look whether the page changed: Things come or gone, a word said, one heard or gone silent."""
    seen: list[Any] = [-1, ()]
    next_us = [0]

    def look() -> Any:
        now_us = node.clock.monotonic_us()
        if seen[0] != node.things.changes and now_us >= next_us[0]:
            next_us[0] = now_us + _LOOK_US
            served = node.things.roll.served(organisation, SHOWN_EACH)
            seen[:] = [node.things.changes, tuple(one for _, things in served.values() for one in things)]
        return seen[0], tuple((_seen(node, one), _word(node, one)) for one in seen[1])

    return look


def _named(node: Node, caller: Caller, ids: Sequence[str]) -> list[Thing]:
    found = (node.things.roll.get(id_) for id_ in ids)
    return [one for one in found if one is not None and not one.retired and one.organisation == caller.organisation]


def _row(node: Node, thing: Thing) -> ConnectionRow:
    state, tone, heard_us = _stands(node, thing)
    peer = next((str(thing.connection[name]) for name in _PEERS if thing.connection.get(name)), "").partition("?")[0]
    if thing.adapter == "modbus" and thing.connection.get("port"):
        peer = f"{peer}:{thing.connection['port']}, unit {thing.connection.get('unit', 1)}"
    return ConnectionRow(thing.id, thing.title, peer[:120], state, tone, heard_us, _word(node, thing))


def _stands(node: Node, thing: Thing) -> tuple[str, str, int | None]:
    """Return how a connection stands, its tone, and when it was heard of last [µs since 1970]."""
    model, best_us, silent = node.things.model(thing), NEVER_US, False
    for at, point in enumerate(model.points):
        twin = node.twins.get(thing.first + at)
        if point.name in _STANDING and twin.observed_us != NEVER_US:
            code = int(twin.value)
            words = (point.reading_type.codes or {}).get(str(code), str(code))
            tone = "good" if code == _GOOD[point.name] else "waiting" if point.name == "registration" else "bad"
            return _in_words(point.name, words), tone, twin.heard_us
        if twin.heard_us > best_us:
            best_us, silent = twin.heard_us, bool(twin.quality & Quality.OLD_DATA)
    if best_us == NEVER_US:
        return "never heard", "waiting", None
    return ("silent", "bad", best_us) if silent else ("heard", "good", best_us)


def _seen(node: Node, thing: Thing) -> tuple[str, int]:
    state, _, heard_us = _stands(node, thing)
    return state, (heard_us or 0) // _AGE_STEP_US


def _in_words(point: str, words: str) -> str:
    return {"it does": "answers", "it does not": "not reached", "none": "not registered"}.get(words, words)


def _word(node: Node, thing: Thing) -> AdapterWord | None:
    names = [thing.id, *thing.devices]
    if station := thing.connection.get("station"):
        names.append(str(station))
    utility = thing.connection.get("utility")
    if utility and thing.organisation == node.organisation:  # any may name one; it is of the settings of who runs it
        names.append(f"utility {utility}")
    return node.adapters.words.of(thing.adapter, *names)
