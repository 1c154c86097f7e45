"""Following one VTN as a VEN: enrol, read, keep, report, again; slower while it does not answer.

::

    ven, resource, subscription ─► programs, events ─► `Mirror` ─► leases          every poll_s, or when it posts
                                                        └─► `Reports` ─► /reports  when an interval is over
"""

import asyncio
import hashlib
import hmac
import logging
from typing import Any

import httpx
import msgspec

from gridspine.adapters.openadr3.edition import newer
from gridspine.adapters.openadr3.remote import Connection
from gridspine.adapters.openadr3.remote_call import Remote
from gridspine.adapters.openadr3.remote_mirror import Mirror
from gridspine.adapters.openadr3.remote_report import Reports
from gridspine.adapters.openadr3.settings import Settings
from gridspine.infra.runtime.waiting import back_off_s, within
from gridspine.kernel.errors import GridspineError, Invalid, NotFound, Overloaded, Unavailable
from gridspine.kernel.ids import point_id
from gridspine.kernel.readings import named_readings
from gridspine.kernel.time import US
from gridspine.things.adapter import AdapterContext, Binding

_LOG = logging.getLogger(__name__)
_LONGEST_S = 600.0
_ENROL_US = 600 * US
"""How often it is asked anew by which words the VTN knows the VEN."""
NOTIFY = "notify"


class Follower:
    """The node as a VEN of one VTN, for one Thing."""

    def __init__(
        self, context: AdapterContext, binding: Binding, connection: Connection, settings: Settings,
        client: httpx.AsyncClient, making: asyncio.Lock,
    ) -> None:  # fmt: skip
        self._context, self._binding, self._connection = context, binding, connection
        self._remote = Remote(connection, binding.organisation, context, settings, client)
        self.mirror = Mirror(context, binding, connection, making)
        self._reports = Reports(self.mirror, self._remote, connection, connection.resource_name)
        self.key = hashlib.blake2b(binding.thing.encode(), digest_size=12).hexdigest()
        """What its callback is known by."""
        self._bearer = context.clock.randbytes(32).hex()
        self._wake = asyncio.Event()
        self._ven, self._words, self._enrolled_us = "", frozenset[str](), 0
        self._said = ""

    async def run(self) -> None:
        """Follow until cancelled."""
        await self.mirror.load()
        clock, attempt = self._context.clock, 0
        while True:
            self._wake.clear()
            try:
                await self.once()
                attempt, pause_s = 0, self._connection.poll_s
            except Overloaded as error:
                await self._tell(0, error.detail)
                pause_s = max(self._connection.poll_s, float(error.retry_after_s))
            except GridspineError as error:
                await self._tell(0, error.detail)
                longest_s = max(self._connection.poll_s, _LONGEST_S)
                pause_s = back_off_s(clock, attempt, least_s=min(5.0, self._connection.poll_s), most_s=longest_s)
                attempt += 1
            due_us = self._reports.next_us()
            if due_us:
                pause_s = min(pause_s, max(1.0, (due_us - clock.now_us()) / US))
            try:
                await within(clock, pause_s, self._wake.wait())
            except TimeoutError:
                continue

    async def once(self) -> None:
        """Read all, keep it, report what is due; raise what prevents it."""
        now_us = self._context.clock.now_us()
        if now_us - self._enrolled_us >= _ENROL_US:
            await self._enrol()
            self._enrolled_us = now_us
        programs = await self._remote.whole("/programs", self.mirror.programs)
        listed = [id_ for id_, one in self.mirror.events.items() if one.digest]
        events = await self._remote.whole("/events", listed)
        await self.mirror.take(programs, events, self._words)
        await self._reports.tell(self._context.clock.now_us())
        await self._tell(1, "; ".join(self.mirror.problems[:3]))

    def notified(self, bearer: str) -> bool:
        """Whether a notification is of the VTN; if so all is read at once. What it says itself is not looked at."""
        if not hmac.compare_digest(bearer.encode(), f"Bearer {self._bearer}".encode()):
            return False
        self._wake.set()
        return True

    def read_soon(self) -> None:
        """Read at once what is due later."""
        self._wake.set()

    async def _tell(self, connected: int, problem: str) -> None:
        """Report whether it answers, and log what is wrong once."""
        if problem != self._said:
            _LOG.warning("%s: %s", self._binding.thing, problem or "the VTN answers, and all of it is kept")
            self._said = problem
        self._context.trace("note", problem or "read", peer=self._connection.vtn)
        if "connected" not in self._binding.points:
            return
        row = (point_id(self._binding.thing, "connected"), "code", self._context.clock.now_us(), float(connected), 0)
        try:
            await self._context.intake(named_readings([row]), self._context.source_of(self._binding.thing))
        except GridspineError as error:
            _LOG.warning("%s: that it is connected was not kept: %s", self._binding.thing, error.detail)

    # -- who it is there -----------------------------------------------------------------------------------------

    async def _enrol(self) -> None:
        """Find the VEN and its resource, or make them; learn by which words events are aimed at it; subscribe."""
        old = self._connection.edition == "3.0.1"
        ven = await self._made("/vens", "venName", self._connection.name, {} if old else _TYPE["VEN"])
        self._ven = str(ven["id"])
        path, more = f"/vens/{self._ven}/resources", {}
        if not old:
            path, more = "/resources", {"venID": self._ven, **_TYPE["RESOURCE"]}
        await self._made(path, "resourceName", self._connection.resource_name, more)
        query = {} if old else {"venID": self._ven}
        resources = [one for one in await self._remote.all(path, query) if one.get("venID", self._ven) == self._ven]
        words = {self._connection.name}
        for one in (ven, *resources):
            found = newer(one, {}) if old else one
            words.update(str(word) for word in found.get("targets") or ())
            words.update(str(found[name]) for name in ("venName", "resourceName") if found.get(name))
        self._words = frozenset(words)
        if self._connection.callback:
            await self._subscribe()

    async def _made(self, path: str, name: str, wanted: str, more: dict[str, str]) -> dict[str, Any]:
        """Return the object of a name, made where there is none."""
        query = {name: wanted, **({"venID": more["venID"]} if "venID" in more else {})}
        for one in await self._remote.all(path, query):
            if one.get(name) == wanted:
                return one
        said = await self._remote.ask("POST", path, {name: wanted, **more})
        return _object(said.body)

    async def _subscribe(self) -> None:
        """Ask to be told of changes, under a token of this start."""
        url = f"{self._connection.callback.rstrip('/')}/openadr3/{NOTIFY}/{self.key}"
        old = self._connection.edition == "3.0.1"
        operations = ["POST", "PUT", "DELETE"] if old else ["CREATE", "UPDATE", "DELETE"]
        part = {
            "objects": ["PROGRAM", "EVENT"],
            "operations": operations,
            "callbackUrl": url,
            "bearerToken": self._bearer,
        }
        body: dict[str, Any] = {"clientName": self._connection.name, "objectOperations": [part]}
        try:
            for one in await self._remote.all("/subscriptions", {"clientName": self._connection.name}):
                parts = one.get("objectOperations")
                if isinstance(parts, list) and any(isinstance(p, dict) and p.get("callbackUrl") == url for p in parts):
                    await self._remote.ask("PUT", f"/subscriptions/{one['id']}", body)
                    return
            await self._remote.ask("POST", "/subscriptions", body)
        except (Invalid, NotFound) as error:  # it is asked every poll_s all the same
            _LOG.warning("%s: the VTN takes no subscription: %s", self._binding.thing, error.detail)


_TYPE = {"VEN": {"objectType": "VEN_VEN_REQUEST"}, "RESOURCE": {"objectType": "VEN_RESOURCE_REQUEST"}}


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Unavailable("what the VTN made is no object") from error
    if not isinstance(found.get("id"), str):
        raise Unavailable("what the VTN made has no id")
    return found
