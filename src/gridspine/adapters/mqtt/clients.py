"""Who is and was connected to the embedded broker: sessions by principal and client identifier, kept over restarts.

A client identifier belongs to its principal: nobody takes over another's session by knowing its name. What a
persistent session keeps is small, because orders in force are told again anyway: its subscriptions (durable), and
the packet identifiers of QoS 2 messages between PUBREC and PUBREL (in memory: after a restart a repetition reaches
intake, which counts it as a duplicate).
"""

import asyncio
import contextlib
from collections import OrderedDict
from typing import Protocol

import msgspec

from gridspine.adapters.mqtt.notices import NoticeIndex, NoticeQueue, NoticeRoom
from gridspine.adapters.mqtt.room import Room
from gridspine.kernel.errors import Overloaded
from gridspine.things.adapter import Order, PrivateStore, Source
from gridspine.things.adapter_notices import ANY_VERB, Notice, NoticeTopic


class Session(Protocol):
    """A connection that can be told things.

    After ``until_us`` [µs, monotonic], where it is not None, who connected has to prove itself anew.
    """

    until_us: int | None

    def enqueue(self, order: Order) -> None:
        """Send ``order`` as soon as there is room."""
        ...

    def end(self, reason: str) -> None:
        """Close the connection."""
        ...


class ClientState:
    """What outlives a connection: ``subscriptions`` (filter → QoS), ``receiving`` (QoS 2), ``room`` in flight, and
    the ``notices`` that wait: it is a `gridspine.things.adapter_notices.NoticeReader`.

    The room is the principal's: reconnecting, or connecting twice, does not widen what may be in flight.
    """

    def __init__(
        self, source: Source, client_id: str, room: Room, notices: NoticeQueue, *, persistent: bool
    ) -> None:  # fmt: skip
        self.source = source
        self.client_id = client_id
        self.persistent = persistent
        self.subscriptions: dict[str, int] = {}
        self.receiving: set[int] = set()
        self.room = room
        self.notices = notices
        self.session: Session | None = None

    def tell(self, topic: NoticeTopic, notice: Notice) -> None:
        """Queue a notice, by the better of the subscriptions that it matches."""
        wanted = (str(topic), str(topic._replace(verb=ANY_VERB)))
        self.notices.put(wanted[0], notice, max(self.subscriptions.get(one, 0) for one in wanted))


class _Principal:
    def __init__(self, room: Room) -> None:
        self.room = room
        self.clients: OrderedDict[str, ClientState] = OrderedDict()


class Clients:
    """All client states; at most ``per_principal`` each, the longest absent forgotten first."""

    def __init__(
        self, store: PrivateStore, *, per_principal: int, max_in_flight: int, max_in_flight_bytes: int
    ) -> None:
        self._store = store
        self._per_principal = per_principal
        self._max_in_flight = max_in_flight
        self._max_in_flight_bytes = max_in_flight_bytes
        self._principals: dict[str, _Principal] = {}
        self._subscribed: dict[str, set[ClientState]] = {}
        self.index: NoticeIndex[ClientState] = NoticeIndex()
        self.notices = NoticeRoom()
        self._loading = asyncio.Lock()

    async def connect(
        self, source: Source, client_id: str, session: Session, *, clean: bool
    ) -> tuple[ClientState, bool]:
        """Return the state for a new connection, and whether it is an old session taken up again.

        A connection of the same principal and identifier is ended (MQTT 3.1.1 §3.1.4). Raises `Overloaded` when the
        principal has as many connections as it may.
        """
        principal = await self._principal(source)
        old = principal.clients.get(client_id)
        self._make_room(principal, client_id)
        if old is not None and old.session is not None:
            old.session.end("taken over by a new connection")
        if old is not None and old.persistent and not clean:
            if (old.source.roles, old.source.epoch) != (source.roles, source.epoch):
                old.notices.clear()  # what waits was for who it was then
            old.source, old.session = source, session
            principal.clients.move_to_end(client_id)
            return old, True
        if old is not None:
            self._forget(principal, old)
        state = self._new_state(source, client_id, principal.room, persistent=not clean)
        state.session = session
        principal.clients[client_id] = state
        try:
            if state.persistent or (old is not None and old.persistent):
                await self.save(source.principal)
        except BaseException:
            self.disconnect(state, session)
            raise
        return state, False

    def disconnect(self, state: ClientState, session: Session) -> None:
        """Note that ``session`` ended; one that was taken over has no state left to clear."""
        if state.session is not session:
            return
        state.session = None
        principal = self._principals[state.source.principal]
        if not state.persistent and principal.clients.get(state.client_id) is state:
            self._forget(principal, state)

    async def subscribe(self, state: ClientState, topic: str, qos: int) -> None:
        """Add a subscription, durably for a persistent session."""
        if state.subscriptions.get(topic) == qos:
            return
        state.subscriptions[topic] = qos
        self._subscribed.setdefault(topic, set()).add(state)
        if state.persistent:
            await self.save(state.source.principal)

    async def unsubscribe(self, state: ClientState, topics: list[str]) -> None:
        """Take subscriptions away, durably for a persistent session."""
        for topic in topics:
            if state.subscriptions.pop(topic, None) is not None:
                self._unlist(topic, state)
        if state.persistent:
            await self.save(state.source.principal)

    def subscribed(self, topic: str) -> list[Session]:
        """Return the connections that subscribed to ``topic``."""
        return [state.session for state in self._subscribed.get(topic, ()) if state.session is not None]

    def connected(self) -> list[tuple[Session, ClientState]]:
        """Return all connections."""
        states = [state for principal in self._principals.values() for state in principal.clients.values()]
        return [(state.session, state) for state in states if state.session is not None]

    async def save(self, name: str) -> None:
        """Keep the subscriptions of the principal's persistent sessions."""
        kept = {s.client_id: s.subscriptions for s in self._principals[name].clients.values() if s.persistent}
        await self._store.put(_key(name), msgspec.json.encode(kept) if kept else None)

    def _make_room(self, principal: _Principal, client_id: str) -> None:
        others = [state for name, state in principal.clients.items() if name != client_id]
        while len(others) >= self._per_principal:
            absent = next((state for state in others if state.session is None), None)
            if absent is None:
                raise Overloaded(f"{self._per_principal} connections of one principal are the most")
            self._forget(principal, absent)
            others.remove(absent)

    def _forget(self, principal: _Principal, state: ClientState) -> None:
        del principal.clients[state.client_id]
        for topic in state.subscriptions:
            self._unlist(topic, state)
        state.notices.clear()

    def _new_state(self, source: Source, client_id: str, room: Room, *, persistent: bool) -> ClientState:
        queue = NoticeQueue(self.notices.share(source.organisation))
        return ClientState(source, client_id, room, queue, persistent=persistent)

    def _unlist(self, topic: str, state: ClientState) -> None:
        self.index.discard(topic, state)
        states = self._subscribed.get(topic, set())
        states.discard(state)
        if not states:
            self._subscribed.pop(topic, None)

    async def _principal(self, source: Source) -> _Principal:
        async with self._loading:
            principal = self._principals.get(source.principal)
            if principal is not None:
                return principal
            principal = _Principal(Room(self._max_in_flight, self._max_in_flight_bytes))
            body = await self._store.get(_key(source.principal))
            with contextlib.suppress(msgspec.MsgspecError):
                saved = msgspec.json.decode(body, type=dict[str, dict[str, int]]) if body else {}
                for client_id, subscriptions in saved.items():
                    state = self._new_state(source, client_id, principal.room, persistent=True)
                    state.subscriptions = subscriptions
                    principal.clients[client_id] = state
                    for topic in subscriptions:
                        self._subscribed.setdefault(topic, set()).add(state)
            self._principals[source.principal] = principal
            return principal


def _key(principal: str) -> str:
    return f"sessions/{principal}"
