"""The adapter contract: all that an adapter knows of the node, first-party or a stranger's.

An adapter speaks one protocol. It arrives by the entry point group ``gridspine.adapters``, must be on the node's
allow-list, and gets an `AdapterContext`; it never imports another adapter, the log, the registry or the web.

::

    wire.py     pure bytes ↔ frozen values
    session.py  one connection: connect, retry, time-outs
    driver.py   the `Adapter`: maps the wire to points, and orders to the wire

Promises an adapter keeps:

* it acknowledges to its device only after ``intake`` has returned (then the log has it);
* an acknowledgement from a device is reported as a command's progress, never as a reading;
* it ends promptly when cancelled, and resumes after a restart from its private store.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.readings import Channel, ItemProblem, NamedReadings

ENTRY_POINT_GROUP = "gridspine.adapters"


class Source(msgspec.Struct, frozen=True):
    """Who sent readings: the authenticated principal, its organisation, and the session offences count against.

    ``epoch`` is the principal's when it proved itself: what was opened at an earlier one is void. ``roles`` narrow
    what it may act in; None leaves it all of its own.
    """

    principal: str
    organisation: str
    session: str
    epoch: int = 0
    roles: tuple[str, ...] | None = None


class Outcome(msgspec.Struct, frozen=True):
    """What became of a batch: ``received = accepted + suppressed + duplicate + refused``, always."""

    received: int
    accepted: int
    suppressed: int
    duplicate: int
    refused: int
    problems: tuple[ItemProblem, ...] = ()


class Binding(msgspec.Struct, frozen=True):
    """A Thing an adapter serves: where it is (``connection``, the adapter's own terms), and its model's document."""

    thing: str
    title: str
    organisation: str
    model: str
    connection: dict[str, Any]
    points: tuple[str, ...] = ()


class Planned(msgspec.Struct, frozen=True):
    """From ``from_us`` [µs since 1970] a point is to hold ``value`` [its unit]; None leaves the device to itself."""

    from_us: int
    value: float | None


class Order(msgspec.Struct, gc=False, frozen=True):
    """What a device must now do: hold ``value`` [the point's unit] on ``point`` until ``until_us``, then fall back.

    ``value`` None ends the lease at once: the device must return to ``fallback`` [the point's unit]. Orders for the
    same point replace each other; ``sequence`` rises, and a lower one must be ignored. ``traceparent`` (W3C Trace
    Context), where it is not empty, is to be told to the device if its protocol can.

    ``plan`` is what follows, as far as it is known today. A device that can hold it is given it whole, and goes by it
    when nobody reaches it any more; for all others each value comes as an order of its own when it is due.

    ``principals`` are those in whose names it is: of the lease that won, and of those that limit it.
    """

    command: str
    thing: str
    point: str
    value: float | None
    until_us: int
    fallback: float
    sequence: int
    traceparent: str = ""
    plan: tuple[Planned, ...] = ()
    principals: tuple[str, ...] = ()


class ReadRequest(msgspec.Struct, frozen=True):
    """Read a device now, not when it is due; ``points`` names what is wanted, none means all."""

    id: str
    thing: str
    points: tuple[str, ...] = ()


class ActionRequest(msgspec.Struct, frozen=True):
    """Carry out ``action`` of ``thing``, as its Thing Model names it, with ``input`` (None for nothing).

    No lease: it is done once, and answered. Nobody waits for it after ``until_us`` [µs since 1970]. ``input`` may hold
    secrets: it belongs in no log. ``traceparent`` (W3C Trace Context) is "" where nothing is traced.
    """

    id: str
    thing: str
    action: str
    input: Any
    until_us: int
    traceparent: str = ""


class Introduced(msgspec.Struct, frozen=True):
    """What a device that is no Thing yet says of itself; ``connection`` is how this adapter would serve it.

    ``thing_model`` is the id of a Thing Model it is one of, "" where that is not known.
    """

    make: str
    model: str
    serial: str
    firmware: str = ""
    thing_model: str = ""
    connection: dict[str, Any] = {}


RequestEnd = Literal["done", "refused", "failed"]
"""How a request ended: done, the device (or its protocol) refused it, or nobody knows whether it was done."""
ProgressState = Literal["sent", "acknowledged", "rejected", "failed"]


class PrivateStore(Protocol):
    """A small durable store of the adapter's own; durable when ``put`` returns."""

    async def get(self, key: str) -> bytes | None:
        """Return what was put under ``key``, or None."""
        ...

    async def put(self, key: str, value: bytes | None) -> None:
        """Keep ``value`` under ``key``; None forgets it."""
        ...

    async def items(self) -> Mapping[str, bytes]:
        """Return all that is kept, by key: for an adapter that holds it in memory, and reads it once."""
        ...


class WireTrace(Protocol):
    """What is said on the wire, for an operator who asks why a device does not work; off unless somebody does.

    Whole messages are handed in, not pieces of a stream: a secret that is cut in two is not recognised. Known secrets,
    and what stands where secrets stand, are taken out; what a device proves itself by is not handed in at all.
    """

    on: bool
    """Whether anybody looks: lets an adapter leave out what only costs time."""

    def __call__(
        self, direction: Literal["in", "out", "note"], said: bytes | str | Callable[[], str], *, peer: str = ""
    ) -> None:
        """Show what was said to (*out*) or by (*in*) ``peer``: bytes, a text, or a function that makes one if asked.

        Returns at once and never raises for what is said; what is too much is left out.
        """
        ...


Connection = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An ASGI 3.0 application, HTTP only; there is no lifespan: an adapter starts and ends by its own `Adapter.run`."""
CERTIFICATE_KEY = "client_certificate_der"


def certificate_of(scope: Scope) -> bytes | None:
    """Return the client certificate (DER) of a request's connection, proven by TLS, or None."""
    der = (scope.get("state") or {}).get(CERTIFICATE_KEY)
    return der if isinstance(der, bytes) else None


class AdapterContext(Protocol):
    """All an adapter gets from the node."""

    clock: Clock
    settings: Mapping[str, Any]
    """The adapter's own section of the node's settings."""
    secrets: Mapping[str, str]
    """The adapter's own secrets; never logged, never described."""
    store: PrivateStore
    keyring: PrivateStore
    """Secrets that change while it runs, such as refresh tokens, by the names of the adapter's secrets: kept where the
    node's own keys are, for nobody else to read. A person puts them there by ``gridspine account login``."""
    trace: WireTrace

    @property
    def controls(self) -> Any:
        """Sites and programmes, for energy-native adapters: `gridspine.energy.control_port.controls_of` types it.

        Raises `Unavailable` where there are none, as on an edge.
        """
        ...

    @property
    def notices(self) -> Any:
        """What adapters tell clients of the node's broker: `gridspine.things.adapter_notices.notices_of` types it."""
        ...

    def bindings(self) -> Sequence[Binding]:
        """Return the Things this adapter serves now."""
        ...

    async def bindings_changed(self) -> None:
        """Return when Things were added to or taken from `bindings`, or a source's standing changed.

        After the running task read `bindings`, so that what changes while it works is not missed; else after this call.
        Read `bindings` again first; then ask `may_publish` again for whoever is connected.
        """
        ...

    async def intake(
        self,
        readings: NamedReadings,
        source: Source,
        *,
        channel: Channel = Channel.REPORTED,
        backfill: bool = False,
    ) -> Outcome:
        """Hand in readings; returns once the accepted ones are durable.

        ``channel`` is *reported*, *planned* or *emulated*: what is commanded, leases say.
        Raises `Overloaded` when the queue is full and `DiskFull` when there is no room: nothing was kept then, and
        the device must not be acknowledged.
        """
        ...

    def source_of(self, thing: str) -> Source:
        """Return the source for a device the node itself polls: the adapter on behalf of ``thing``."""
        ...

    async def authorise(self, username: str, password: str, certificate_der: bytes | None = None) -> Source | None:
        """Return the source behind a device's credentials (password or client certificate), or None."""
        ...

    def issue_token(self, source: Source, *, life_s: int = 300) -> tuple[str, int]:
        """Return a plain access token of the node for ``source``, and how long it lives [s]: 300 s at most.

        For protocols that know nothing else; the node's own API does not take it. Raises `Overloaded` for a principal
        that asks too often, `Unauthenticated` when the source's proof holds no more.
        """
        ...

    def by_token(self, token: str) -> Source:
        """Return the source that a token of `issue_token` was made for; raise `Unauthenticated`, `Overloaded`."""
        ...

    def may_publish(self, source: Source, thing: str) -> bool:
        """Whether ``source`` may send readings of ``thing``; never when what it proved itself by holds no more."""
        ...

    def things_of(self, source: Source) -> Sequence[str]:
        """Return the Things of this adapter that `may_publish` says yes to for ``source``, without looking at all."""
        ...

    def orders(self) -> AsyncIterator[Order]:
        """Yield orders for this adapter's Things; first, after a start, every one still in force."""
        ...

    async def progress(self, command: str, state: ProgressState, reason: str = "", *, sequence: int = 0) -> None:
        """Record how far an order got. An acknowledgement changes the command's state only.

        ``sequence`` is the order's own: what is said of an order that a later one has replaced does not count. 0 is of
        whichever order the command has now, for devices that do not repeat it.
        """
        ...

    def reads(self) -> AsyncIterator[ReadRequest]:
        """Yield requests to read a device at once; for adapters that poll, the others need not ask."""
        ...

    def read_ended(self, id: str, problem: str = "") -> None:
        """Tell that request ``id`` is over: what was read is durable, or why it could not be."""
        ...

    async def announce(self, source: Source, said: Introduced) -> None:
        """Have a device wait until a person of ``source``'s organisation takes it in, or turns it away.

        Taken in, it is a Thing of this adapter, with that connection, which ``source``'s principal speaks for. Saying
        it again changes nothing. Raises `Invalid` for what no device says, `Overloaded` when too many wait.
        """
        ...

    def requests(self) -> AsyncIterator[ActionRequest]:
        """Yield requests to carry out actions of this adapter's Things; none that nobody waits for any more.

        An adapter that never asks for them carries out none, and whoever invokes one is told so. One that does answers
        each by `request_ended`, also those it does not know. Requests do not outlive a stop: none is made twice.
        """
        ...

    def request_ended(self, id: str, state: RequestEnd = "done", output: Any = None, reason: str = "") -> None:
        """Tell that request ``id`` is over: its ``output`` (JSON, 32 KiB at most), or the ``reason`` in words.

        What comes after the request's time, or a second time, is ignored.
        """
        ...

    async def listen(self, name: str, on_connection: Connection) -> tuple[str, int]:
        """Open the listener ``name`` of the settings; the node owns socket and TLS. Returns host and port.

        With ``tls = true`` in its section the node's certificate is used, and client certificates of the node's
        authority are taken (not required); without it the listener stays on loopback.
        """
        ...

    async def serve(self, name: str, app: Application) -> tuple[str, int]:
        """Serve ``app`` over HTTP/1.1 by the listener ``name`` of the settings. Returns host and port.

        The node owns socket, TLS and connections, with the bounds of its own API: heads, slow clients, requests at
        work; bodies have ``max_body_bytes`` of the section, 32 MiB at most. The client's certificate is told by
        `certificate_of`, its address by ``scope["client"]``. The section may ask for more than ``tls = true``: see
        `gridspine.things.adapter_tls.Tls`. Without TLS the listener stays on loopback and answers for local host names
        and those of ``names``. It ends with the adapter.
        """
        ...


class Adapter(Protocol):
    """One protocol."""

    name: str

    async def run(self, context: AdapterContext) -> None:
        """Serve until cancelled. An exception is logged and the adapter is started again with back-off."""
        ...
