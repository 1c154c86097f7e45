"""Who the node is at somebody else's VTN: its VEN and resource, found or made, and the words events reach it by.

::

    /vens of the name ─► one? ─► it        refused: the VTN keeps one VEN for each client, and made ours before
                      └► none ─► POST ─► made
                                  └► refused ─► /vens of the client id ─► it

Source: OpenADR 3.1.0, its OpenAPI document (ven, resource; *clientID*, *venName*, *targets*).
"""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from gridspine.adapters.openadr3.edition import newer
from gridspine.adapters.openadr3.remote import Connection
from gridspine.adapters.openadr3.remote_call import Remote
from gridspine.kernel.errors import Invalid, Unavailable

_TYPE = {"VEN": {"objectType": "VEN_VEN_REQUEST"}, "RESOURCE": {"objectType": "VEN_RESOURCE_REQUEST"}}


async def find_ven(remote: Remote, connection: Connection) -> tuple[str, frozenset[str]]:
    """Return the VEN's id, and its words: names and targets of itself and of its resources.

    Raises what `Remote.ask` does, `Unavailable` for what is no object.
    """
    old = connection.edition == "3.0.1"
    ven = await _ven(remote, connection, {} if old else _TYPE["VEN"])
    id_ = str(ven["id"])
    path, more = f"/vens/{id_}/resources", {}
    if not old:
        path, more = "/resources", {"venID": id_, **_TYPE["RESOURCE"]}
    await _made(remote, path, "resourceName", connection.resource_name, more)
    resources = [one for one in await remote.all(path, {} if old else {"venID": id_}) if one.get("venID", id_) == id_]
    words = {connection.name}
    for one in (ven, *resources):
        found = newer(one, {}) if old else one
        words.update(str(word) for word in found.get("targets") or ())
        words.update(str(found[name]) for name in ("venName", "resourceName") if found.get(name))
    return id_, frozenset(words)


def targets_of(documents: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Return the words that programs or events of either edition are aimed at; what is no word is left out."""
    given = (one["targets"] for one in documents if isinstance(one.get("targets"), list))
    found: set[str] = set()
    for word in itertools.chain.from_iterable(given):
        values = word.get("values") if isinstance(word, dict) else [word]  # 3.0.1: {"type": …, "values": [word]}
        if isinstance(values, list):
            found.update(one for one in values if isinstance(one, str))
    return frozenset(found)


async def _ven(remote: Remote, connection: Connection, more: dict[str, str]) -> dict[str, Any]:
    """Return the VEN of the connection's name, or else the one that the VTN keeps for its client."""
    try:
        return await _made(remote, "/vens", "venName", connection.name, more)
    except Invalid:
        for one in await remote.all("/vens"):
            if one.get("clientID") == connection.client_id:
                return one
        raise


async def _made(remote: Remote, path: str, name: str, wanted: str, more: dict[str, str]) -> dict[str, Any]:
    """Return the object of a name, made where there is none."""
    query = {name: wanted, **({"venID": more["venID"]} if "venID" in more else {})}
    for one in await remote.all(path, query):
        if one.get(name) == wanted:
            return one
    said = await remote.ask("POST", path, {name: wanted, **more})
    return _object(said.body)


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Unavailable("what the VTN made is no object") from error
    if not isinstance(found.get("id"), str):
        raise Unavailable("what the VTN made has no id")
    return found
