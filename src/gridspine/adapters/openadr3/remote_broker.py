"""What a followed VTN tells by MQTT, where it offers that: that something changed, so that all is read at once.

::

    /notifiers ─► broker, method   /notifiers/mqtt/topics/… ─► programs; each program's events; what is of the VEN
                      └─► CONNECT, SUBSCRIBE ─► PUBLISH ─► `changed`     gone, or refused: again, ever more slowly

Polling goes on beside it. The token is taken over TLS only (`plain_vtns` lets it go without), to the broker that the
VTN itself names, at an address that the settings let it. CERTIFICATE is not followed: it hands a private key about.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import httpx
import msgspec

from gridspine.adapters.openadr3 import mqtt_wire
from gridspine.adapters.openadr3.mqtt_place import MqttPlace, read_mqtt_place
from gridspine.adapters.openadr3.remote import Connection
from gridspine.adapters.openadr3.remote_call import Remote
from gridspine.adapters.openadr3.settings import Settings
from gridspine.infra.runtime.address_rule import AddressRule
from gridspine.infra.runtime.waiting import back_off_s, first_to_end, pause, within
from gridspine.kernel.errors import GridspineError, Invalid, NotFound, Unavailable
from gridspine.kernel.time import US
from gridspine.things.adapter import AdapterContext

MAX_TOPICS = 500
"""Topics that are subscribed to at most; of programs beyond that the poll tells."""
KEEP_ALIVE_S = 60
ASK_AGAIN_S = 600.0
"""How often a VTN is asked whether it offers MQTT now [s]."""
_LEAST_S, _LONGEST_S, _TIMEOUT_S = 5.0, 600.0, 20.0
_METHODS = {name: name for name in ("ANONYMOUS", "OAUTH2_BEARER_TOKEN")} | {"OAUTH2BEARERTOKEN": "OAUTH2_BEARER_TOKEN"}
"""Ways of a client to prove itself that are followed, by their names; the last is how openleadr-vtn 0.2.8 writes it."""
_CHUNK_BYTES = 65_536
_MAX_TOPIC = 1_024
_TOPICS = "/notifiers/mqtt/topics"
_LOG = logging.getLogger(__name__)


class _NotOffered(GridspineError):
    """The VTN offers no MQTT, or none that is followed."""


class _Login(NamedTuple):
    place: MqttPlace
    method: str
    username: str


class RemoteBroker:
    """Hears of one VTN. Lives on the event loop; `run` does the work."""

    def __init__(
        self, context: AdapterContext, thing: str, connection: Connection, remote: Remote, settings: Settings,
        changed: Callable[[], None],
    ) -> None:  # fmt: skip
        self._context, self._thing, self._connection = context, thing, connection
        self._remote, self._settings, self._changed = remote, settings, changed
        self._clock = context.clock
        self._rule = AddressRule(settings.allow, settings.only, "adapters.settings.openadr3")
        self._ven, self._programs = "", frozenset[str]()
        self._wanted = asyncio.Event()
        self._heard_us = 0
        self._said = ""

    def want(self, ven: str, programs: Collection[str]) -> None:
        """Hear of the VEN with the id ``ven``, and of these programs."""
        if (ven, frozenset(programs)) != (self._ven, self._programs):
            self._ven, self._programs = ven, frozenset(programs)
            self._wanted.set()

    async def run(self) -> None:
        """Hear of changes, until cancelled. Whatever goes wrong here, the poll goes on."""
        if self._connection.edition != "3.1.0":
            await asyncio.get_running_loop().create_future()
        await self._wanted.wait()
        attempt = 0
        while True:
            began_us = self._clock.monotonic_us()
            self._wanted.clear()
            try:
                await self._hear(await self._find())
                continue  # other programs are wanted
            except _NotOffered as error:
                self._tell(error.detail)
                pause_s = ASK_AGAIN_S
            except (GridspineError, OSError, TimeoutError, httpx.HTTPError) as error:
                self._tell(f"not told by MQTT: {getattr(error, 'detail', '') or type(error).__name__}")
                attempt = 0 if self._clock.monotonic_us() - began_us > _LONGEST_S * US else attempt + 1
                pause_s = back_off_s(self._clock, attempt, least_s=_LEAST_S, most_s=_LONGEST_S)
            await pause(self._clock, pause_s, self._wanted)

    async def _find(self) -> _Login:
        """Return where the broker is, and how it is proven to; raise `_NotOffered`."""
        try:
            document = _object((await self._remote.ask("GET", "/notifiers")).body)
        except (NotFound, Invalid) as error:
            raise _NotOffered("no notifiers are told of") from error
        offer: Any = document.get("MQTT")
        if not isinstance(offer, dict):
            raise _NotOffered("no MQTT is offered")
        told: Any = offer.get("authentication")
        uris = offer.get("URIS")
        told = told if isinstance(told, dict) else {}
        method = _METHODS.get(said := str(told.get("method")))
        if method is None or offer.get("serialization", "JSON") != "JSON":
            raise _NotOffered(f"MQTT by {said[:40]} is not followed")
        username = str(told.get("username", "{clientID}")).replace("{clientID}", self._connection.client_id)
        for uri in uris if isinstance(uris, list) else ():
            try:
                place = read_mqtt_place(str(uri))
            except Invalid:
                continue  # a web socket, or what is no address
            if place.tls or self._settings.plain_vtns:
                return _Login(place, method, username)
        raise _NotOffered("MQTT is offered at no address of mqtts://")

    async def _topics(self) -> list[str]:
        """Return the filters to subscribe to, those of changes that the VTN lets this VEN read."""
        of_ven = [f"/vens/{self._ven}{one}" for one in ("", "/programs", "/events")] if self._ven else []
        found: dict[str, None] = {}
        for path in ("/programs", *of_ven, *(f"/programs/{one}/events" for one in sorted(self._programs))):
            try:
                names: Any = _object((await self._remote.ask("GET", f"{_TOPICS}{path}")).body).get("topics")
            except (NotFound, Invalid):
                continue
            given = names if isinstance(names, dict) else {}
            parts = [given["ALL"]] if "ALL" in given else [given.get(one) for one in ("CREATE", "UPDATE", "DELETE")]
            found.update((one, None) for one in parts if isinstance(one, str) and 0 < len(one) <= _MAX_TOPIC)
            if len(found) >= MAX_TOPICS:
                break
        return list(found)[:MAX_TOPICS]

    async def _hear(self, login: _Login) -> None:
        """Listen until other programs are wanted; raise what ends it before."""
        topics = await self._topics()
        if not topics:
            raise _NotOffered("MQTT is offered, but no topics")
        password = await self._remote.bearer() if login.method == "OAUTH2_BEARER_TOKEN" else ""
        reader, writer = await within(self._clock, _TIMEOUT_S, self._open(login.place))
        try:
            name = hashlib.blake2b(f"{self._thing} {self._connection.vtn}".encode(), digest_size=10).hexdigest()
            writer.write(mqtt_wire.connect(name, login.username if password else "", password, KEEP_ALIVE_S))
            splitter = mqtt_wire.Splitter()
            mqtt_wire.check_connack(await within(self._clock, _TIMEOUT_S, _first(reader, splitter)))
            for at in range(0, len(topics), mqtt_wire.MAX_FILTERS):
                writer.write(mqtt_wire.subscribe(1 + at, topics[at : at + mqtt_wire.MAX_FILTERS]))
            self._heard_us = self._clock.monotonic_us()
            self._tell(f"told by MQTT, of {len(topics)} topics")
            self._changed()  # what came before is read now
            await first_to_end(self._read(reader, splitter), self._keep(writer))
            writer.write(mqtt_wire.GOODBYE)
            writer.close()  # and not waited for: a broker that is silent takes its time
        except BaseException:
            writer.transport.abort()
            raise

    async def _open(self, place: MqttPlace) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        address = str(await self._rule.find(place.host, place.port))
        if not place.tls:
            return await asyncio.open_connection(address, place.port)
        tls = httpx.create_ssl_context(trust_env=False)
        return await asyncio.open_connection(address, place.port, ssl=tls, server_hostname=place.host)

    async def _read(self, reader: asyncio.StreamReader, splitter: mqtt_wire.Splitter) -> None:
        """Say when something changed, for ever; raise when the broker is gone."""
        while True:
            chunk = await reader.read(_CHUNK_BYTES)
            if not chunk:
                raise Unavailable("the broker hung up")
            self._heard_us = self._clock.monotonic_us()
            for packet in splitter.feed(chunk):
                if packet.kind == mqtt_wire.PUBLISH:
                    self._context.trace("in", packet.body, peer=self._connection.vtn)
                    self._changed()
                elif packet.kind == mqtt_wire.SUBACK and (count := mqtt_wire.refused(packet)):
                    self._tell(f"told by MQTT, but for {count} topics, which the broker refuses")

    async def _keep(self, writer: asyncio.StreamWriter) -> None:
        """Keep the connection alive until other programs are wanted; raise when nothing comes any more."""
        while True:
            await pause(self._clock, KEEP_ALIVE_S / 2, self._wanted)
            if self._wanted.is_set():
                return
            if self._clock.monotonic_us() - self._heard_us > 1.5 * KEEP_ALIVE_S * US:
                raise Unavailable("nothing comes from the broker")
            writer.write(mqtt_wire.PING)

    def _tell(self, words: str) -> None:
        """Log what is new."""
        self._context.trace("note", words, peer=self._connection.vtn)
        if words != self._said:
            _LOG.info("%s: %s", self._thing, words)
            self._said = words


async def _first(reader: asyncio.StreamReader, splitter: mqtt_wire.Splitter) -> mqtt_wire.Packet:
    """Return the first packet of a broker, which must be alone: it says nothing else before it is asked."""
    while True:
        chunk = await reader.read(1)
        if not chunk:
            raise Unavailable("the broker hung up")
        for packet in splitter.feed(chunk):
            return packet


def _object(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Unavailable("the VTN answers no object") from error
