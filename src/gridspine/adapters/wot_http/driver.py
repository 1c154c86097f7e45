"""The `Adapter`: a poller for each Thing, all through one session."""

import asyncio
import logging
from dataclasses import dataclass

import msgspec

from gridspine.adapters.wot_http.guard import Guard, Settings
from gridspine.adapters.wot_http.proof import Security
from gridspine.adapters.wot_http.session import Session
from gridspine.adapters.wot_http.wire import decode_value
from gridspine.kernel.errors import GridspineError, Invalid, Overloaded, Unavailable
from gridspine.kernel.ids import point_id
from gridspine.kernel.readings import named_readings
from gridspine.things.adapter import AdapterContext, Binding

_LOG = logging.getLogger(__name__)
MIN_INTERVAL_S, MAX_BACKOFF_S = 1.0, 600.0
_ONLY_READS = "the wot_http adapter reads Things and commands none"


class Form(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where one point is read: ``href``; its value is in ``unit`` ("": the point's own), words have ``codes``."""

    href: str
    unit: str = ""
    codes: dict[str, float] = {}


class Connection(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The ``connection`` of a binding: ``forms`` by point, read every ``interval_s`` [s], proven by ``security``."""

    forms: dict[str, Form]
    security: Security = Security()
    interval_s: float = 60.0


@dataclass(frozen=True, slots=True)
class _Served:
    binding: Binding
    poller: "Poller"
    task: asyncio.Task[None]


class WotHttpAdapter:
    """Polls described Things over HTTP."""

    name = "wot_http"

    def __init__(self) -> None:
        self._served: dict[str, _Served] = {}

    async def run(self, context: AdapterContext) -> None:
        """Serve until cancelled."""
        # Both libraries log addresses or headers, and a key may be in either.
        for name in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)
        try:
            settings = msgspec.convert(dict(context.settings), Settings)
        except msgspec.ValidationError as error:
            raise Invalid(f"settings of the adapter wot_http: {error}") from error
        session = Session(Guard(settings, context.secrets), settings, context.clock, context.trace)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._refuse_orders(context))
                group.create_task(self._read_at_once(context))
                while True:
                    self._sync(context, session, group)
                    await context.bindings_changed()
        finally:
            self._served.clear()
            await session.close()

    def _sync(self, context: AdapterContext, session: Session, group: asyncio.TaskGroup) -> None:
        wanted = {binding.thing: binding for binding in context.bindings()}
        for thing, served in list(self._served.items()):
            if wanted.get(thing) != served.binding:
                served.task.cancel()
                del self._served[thing]
        for thing, binding in wanted.items():
            if thing in self._served:
                continue
            try:
                connection = msgspec.convert(binding.connection, Connection)
            except msgspec.ValidationError as error:
                _LOG.warning("%s cannot be served: connection: %s", thing, error)
                continue
            poller = Poller(context, session, binding, connection)
            self._served[thing] = _Served(binding, poller, group.create_task(poller.run(), name=f"wot_http {thing}"))

    async def _refuse_orders(self, context: AdapterContext) -> None:
        async for order in context.orders():
            await context.progress(order.command, "rejected", _ONLY_READS, sequence=order.sequence)

    async def _read_at_once(self, context: AdapterContext) -> None:
        async for request in context.reads():
            served = self._served.get(request.thing)
            problem = "the wot_http adapter does not serve this Thing"
            if served is not None:
                try:
                    problem = await served.poller.poll(request.points)
                except GridspineError as error:
                    problem = error.detail
            context.read_ended(request.id, problem)


class Poller:
    """Reads the properties of one Thing when they are due."""

    def __init__(self, context: AdapterContext, session: Session, binding: Binding, connection: Connection) -> None:
        self._context = context
        self._session = session
        self._binding = binding
        self._connection = connection
        self._interval_s = max(MIN_INTERVAL_S, connection.interval_s)
        self._said = ""
        self._polling = asyncio.Lock()

    async def run(self) -> None:
        """Poll until cancelled; ever more slowly while nothing answers."""
        # Things that were registered together are not read together.
        await self._context.clock.sleep(self._interval_s * self._context.clock.randbytes(1)[0] / 2560)
        pause_s = self._interval_s
        while True:
            try:
                problem = await self.poll()
                self._say(problem)
                pause_s = self._interval_s if not problem else min(max(pause_s * 2, self._interval_s), MAX_BACKOFF_S)
            except Overloaded as refusal:
                pause_s = float(refusal.retry_after_s)
            except GridspineError as refusal:
                self._say(refusal.detail)
            await self._context.clock.sleep(pause_s)

    async def poll(self, names: tuple[str, ...] = ()) -> str:
        """Read properties and hand in what came; return what went wrong where nothing did."""
        async with self._polling:
            wanted = {name: form for name, form in self._connection.forms.items() if not names or name in names}
            found = await asyncio.gather(*(self._read(name, form) for name, form in wanted.items()))
        rows = [row for row in found if not isinstance(row, str)]
        problems = [row for row in found if isinstance(row, str)]
        if rows:
            await self._context.intake(named_readings(rows), self._context.source_of(self._binding.thing))
        if problems and rows:
            self._say(problems[0])
        return "" if rows or not problems else problems[0]

    async def _read(self, name: str, form: Form) -> tuple[str, str, int, float, int] | str:
        try:
            body, media = await self._session.get(form.href, self._connection.security, self._binding.organisation)
            value = decode_value(body, media, form.codes)
        except (Invalid, Unavailable) as error:
            return f"{name}: {error.detail}"
        # The device gives no time with its value: it is as old as its answer.
        return point_id(self._binding.thing, name), form.unit, self._context.clock.now_us(), value, 0

    def _say(self, problem: str) -> None:
        """Log what is wrong once, and that it is over."""
        if problem == self._said:
            return
        _LOG.warning("%s: %s", self._binding.thing, problem or "answers again")
        self._said = problem
