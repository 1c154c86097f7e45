"""Following one VTN as a VEN: enrol, read, keep, report, again; slower while it does not answer.

::

    ven, resource, subscription ─► programs, events ─► `Mirror` ─► leases          every poll_s, or when it tells
    `RemoteBroker`: MQTT          ─────────┘            ├─► `Reports` ─► /reports  when an interval is over
                                                        └─► `Opts` ─► /reports     when the owner opts out, or in
"""

import asyncio
import hashlib
import hmac
import logging
from typing import Any

import httpx

from gridspine.adapters.openadr3.remote import Connection
from gridspine.adapters.openadr3.remote_broker import RemoteBroker
from gridspine.adapters.openadr3.remote_call import Remote
from gridspine.adapters.openadr3.remote_mirror import Mirror
from gridspine.adapters.openadr3.remote_opt import Opts
from gridspine.adapters.openadr3.remote_record import Kept
from gridspine.adapters.openadr3.remote_report import Reports
from gridspine.adapters.openadr3.remote_ven import find_ven, targets_of
from gridspine.adapters.openadr3.settings import Settings
from gridspine.energy.control_port import controls_of
from gridspine.energy.upstream.pace import Pace
from gridspine.infra.runtime.waiting import first_to_end
from gridspine.kernel.errors import Invalid, NotFound
from gridspine.kernel.time import US
from gridspine.things.adapter import AdapterContext, Binding

_LOG = logging.getLogger(__name__)
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
        self._kept = Kept(context.store, binding.thing)
        self._mirror = Mirror(context, binding, connection, self._kept, making)
        self._reports = Reports(self._mirror, self._kept, self._remote, connection)
        self._opts = Opts(self._mirror, self._kept, self._remote, connection)
        self._pace = Pace(context, binding, connection.vtn)
        self._broker = RemoteBroker(context, binding.thing, connection, self._remote, settings, self._pace.wake)
        self.key = hashlib.blake2b(binding.thing.encode(), digest_size=12).hexdigest()
        """What its callback is known by."""
        self._bearer = context.clock.randbytes(32).hex()
        self._ven, self._words, self._enrolled_us = "", frozenset[str](), 0
        self._strange, self._consented = frozenset[str](), False
        self._read: tuple[list[dict[str, Any]], list[dict[str, Any]]] = [], []
        self._read_at: tuple[frozenset[str], int] = frozenset(), -1

    async def run(self) -> None:
        """Follow until cancelled."""
        await self._kept.load()
        polling = self._pace.run(self.once, lambda: self._connection.poll_s, self._reports.next_us)
        await first_to_end(polling, self._broker.run())

    async def close(self) -> None:
        """Do nothing: all followers are of one client."""

    async def once(self) -> str:
        """Read all, keep it, report what is due; raise what prevents it. Returns what could not be kept."""
        if not self._consented:  # what the owner takes back is taken back also where the VTN is away
            await self._mirror.consent()
            self._consented = True
        now_us = self._context.clock.now_us()
        if now_us - self._enrolled_us >= _ENROL_US:
            await self._enrol()
            self._enrolled_us, self._strange = now_us, frozenset()
        programs = await self._remote.whole("/programs", self._kept.programs)
        listed = [id_ for id_, one in self._kept.events.items() if one.digest]
        events = await self._remote.whole("/events", listed)
        await self._learn(programs, events)
        await self._take(programs, events)
        self._broker.want(self._ven, self._kept.programs)
        await self._reports.tell(self._context.clock.now_us())
        await self._opts.tell(self._context.clock.now_us())
        return "; ".join(self._mirror.problems[:3])

    async def _learn(self, programs: list[dict[str, Any]], events: list[dict[str, Any]]) -> None:
        """Ask by which words the VEN is known, at once where something is aimed at words that it was not known by."""
        if programs is self._read[0] and events is self._read[1]:
            return
        strange = targets_of(programs) | targets_of(events)
        if strange - self._words - self._strange:
            await self._enrol()
            self._strange = strange - self._words  # those are somebody else's

    async def _take(self, programs: list[dict[str, Any]], events: list[dict[str, Any]]) -> None:
        """Keep what was read, unless the VTN says that it is what was kept last, and nothing changed here either."""
        controls = controls_of(self._context)
        same = programs is self._read[0] and events is self._read[1]
        known = same and self._read_at == (self._words, controls.revision)
        if known and self._mirror.settled(self._context.clock.now_us()):
            return
        await self._mirror.take(programs, events, self._words)
        self._read, self._read_at = (programs, events), (self._words, controls.revision)

    def opted(self, enrolment: str) -> None:
        """Hear that an enrolment changed: if it is of a program that is followed, the VTN is told at once."""
        if self._opts.concerns(enrolment):
            self._pace.wake()

    def notified(self, bearer: str) -> bool:
        """Whether a notification is of the VTN; if so all is read at once. What it says itself is not looked at."""
        if not hmac.compare_digest(bearer.encode(), f"Bearer {self._bearer}".encode()):
            return False
        self._pace.wake()
        return True

    def read_soon(self) -> None:
        """Read at once what is due later."""
        self._pace.wake()

    # -- who it is there -----------------------------------------------------------------------------------------

    async def _enrol(self) -> None:
        """Learn who the node is there, by which words events are aimed at it; subscribe."""
        self._ven, self._words = await find_ven(self._remote, self._connection)
        if self._connection.callback:
            await self._subscribe()

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
