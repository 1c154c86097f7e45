"""What is kept of the wire beside the node's documents: the words of devices, and ids. In the adapter's private store.

Of an EndDevice: what it said of its DER, its usage points, the connection point it claims, its responses. Of a client:
the EndDevices it announced, its subscriptions. Which EndDevice an mRID is of, as nobody may write another's.
"""

from collections import OrderedDict
from typing import TypeVar

import msgspec

from gridspine.adapters.ieee2030_5.meter import UsagePoint
from gridspine.things.adapter import PrivateStore

CACHED = 20_000
"""Records in memory at most; the others are read again."""
MAX_USAGE_POINTS, MAX_RESPONSES = 50, 200
T = TypeVar("T")


class Said(msgspec.Struct, frozen=True):
    """A DER document as its device said it: what is within, and when [µs since 1970]."""

    inner: str
    at_us: int


class Answered(msgspec.Struct, frozen=True):
    """A response to the event ``subject`` (an mRID): its status, and when [µs since 1970]."""

    subject: str
    status: int
    at_us: int


class DeviceRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of an EndDevice that is ``thing`` since ``since_us`` [µs since 1970], "" while it is announced."""

    thing: str = ""
    since_us: int = 0
    documents: dict[str, Said] = {}
    connection_point: str = ""
    usage_points: tuple[UsagePoint, ...] = ()
    numbered: int = 0
    responses: tuple[Answered, ...] = ()

    def usage_point(self, number: str) -> UsagePoint | None:
        """Return the usage point of that number."""
        return next((one for one in self.usage_points if one.number == number), None)


class Announced(msgspec.Struct, frozen=True):
    """An EndDevice that a client announced, and no Thing is yet."""

    lfdi: str
    sfdi: int
    category: int
    at_us: int


class Condition(msgspec.Struct, frozen=True):
    """Of readings, those below ``lower`` or above ``upper`` are told of, in their ReadingType's numbers."""

    lower: int
    upper: int


class Subscription(msgspec.Struct, frozen=True):
    """A subscription to ``resource`` (a path): lists up to ``limit`` go to ``uri``. ``digest``: as it was then."""

    number: str
    device: str
    resource: str
    uri: str
    limit: int
    level: str = "+S1"
    digest: bytes = b""
    condition: Condition | None = None


class ClientRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of a client; ``certificate`` (DER) is what it subscribed with: who it is now is asked by that."""

    announced: tuple[Announced, ...] = ()
    subscriptions: tuple[Subscription, ...] = ()
    numbered: int = 0
    certificate: bytes = b""


class Book:
    """The records; written whole, and durable when ``put`` returns."""

    def __init__(self, store: PrivateStore) -> None:
        self._store = store
        self._devices: OrderedDict[str, DeviceRecord] = OrderedDict()
        self._clients: OrderedDict[str, ClientRecord] = OrderedDict()

    async def device(self, lfdi: str) -> DeviceRecord:
        """Return what is kept of the EndDevice with that LFDI."""
        found = self._devices.get(lfdi)
        if found is None:
            raw = await self._store.get(f"device/{lfdi}")
            found = self._devices.get(lfdi) or _decoded(raw, DeviceRecord)
            _remember(self._devices, lfdi, found)
        return found

    async def of_thing(self, lfdi: str, thing: str, now_us: int) -> DeviceRecord:
        """Return what is kept of an EndDevice that ``thing`` is: nothing of what it was as another Thing."""
        found = await self.device(lfdi)
        if found.thing != thing:
            if found.thing:
                await self.forget(lfdi)
                found = DeviceRecord()
            found = msgspec.structs.replace(found, thing=thing, since_us=now_us)
            await self.put_device(lfdi, found)
        return found

    async def put_device(self, lfdi: str, record: DeviceRecord) -> None:
        """Keep what is known of an EndDevice."""
        await self._store.put(f"device/{lfdi}", msgspec.msgpack.encode(record))
        _remember(self._devices, lfdi, record)

    async def client(self, lfdi: str) -> ClientRecord:
        """Return what is kept of the client with that LFDI."""
        found = self._clients.get(lfdi)
        if found is None:
            raw = await self._store.get(f"client/{lfdi}")
            found = self._clients.get(lfdi) or _decoded(raw, ClientRecord)
            _remember(self._clients, lfdi, found)
        return found

    async def put_client(self, lfdi: str, record: ClientRecord) -> None:
        """Keep what is known of a client; who has subscriptions is found again after a restart."""
        before = await self.client(lfdi)
        await self._store.put(f"client/{lfdi}", msgspec.msgpack.encode(record))
        _remember(self._clients, lfdi, record)
        if bool(before.subscriptions) != bool(record.subscriptions):
            subscribers = set(await self.subscribers())
            subscribers = subscribers | {lfdi} if record.subscriptions else subscribers - {lfdi}
            await self._store.put("subscribers", msgspec.msgpack.encode(sorted(subscribers)))

    async def forget(self, lfdi: str) -> None:
        """Keep nothing any more of an EndDevice, as nobody's Thing is it."""
        found = await self.device(lfdi)
        for point in found.usage_points:
            for mrid in point.mrids:
                await self.own(mrid, "")
        await self._store.put(f"device/{lfdi}", None)
        self._devices.pop(lfdi, None)

    async def welcome(self, client: str, lfdi: str) -> None:
        """Let an EndDevice wait no more that ``client`` announced: a Thing is it now."""
        found = await self.client(client)
        kept = tuple(one for one in found.announced if one.lfdi != lfdi)
        if len(kept) < len(found.announced):
            await self.put_client(client, msgspec.structs.replace(found, announced=kept))

    async def subscribers(self) -> list[str]:
        """Return the LFDIs of the clients that have subscriptions."""
        raw = await self._store.get("subscribers")
        return [] if raw is None else msgspec.msgpack.decode(raw, type=list[str])

    async def owner(self, mrid: str) -> str:
        """Return the LFDI of the EndDevice that an mRID is of, "" for nobody's."""
        raw = await self._store.get(f"mrid/{mrid}")
        return "" if raw is None else raw.decode()

    async def own(self, mrid: str, lfdi: str) -> None:
        """Give an mRID to an EndDevice, or ("") to nobody."""
        await self._store.put(f"mrid/{mrid}", lfdi.encode() or None)


def _decoded(raw: bytes | None, type_: type[T]) -> T:
    return type_() if raw is None else msgspec.msgpack.decode(raw, type=type_)


def _remember(kept: OrderedDict[str, T], key: str, record: T) -> None:
    kept[key] = record
    kept.move_to_end(key)
    while len(kept) > CACHED:
        kept.popitem(last=False)
