"""What clients say: announced devices, documents of DER, connection points, responses, subscriptions.

Each is checked, kept durably, and only then answered. What is not the client's own is not there.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec

from gridspine.adapters.ieee2030_5 import resources
from gridspine.adapters.ieee2030_5.commands import LeasedControls
from gridspine.adapters.ieee2030_5.der_document import TIME_MAX, der_readings, read_document
from gridspine.adapters.ieee2030_5.done import Done
from gridspine.adapters.ieee2030_5.end_device import key_of
from gridspine.adapters.ieee2030_5.identity import check_lfdi, check_nmi, sfdi_of
from gridspine.adapters.ieee2030_5.metering import read_condition
from gridspine.adapters.ieee2030_5.mirror import Mirror
from gridspine.adapters.ieee2030_5.record import MAX_RESPONSES, Announced, Answered, Said, Subscription
from gridspine.adapters.ieee2030_5.session import Sessions, Shown
from gridspine.adapters.ieee2030_5.settings import Settings
from gridspine.adapters.ieee2030_5.tree import digest_of, page_of, resource
from gridspine.adapters.ieee2030_5.view import DeviceView
from gridspine.adapters.ieee2030_5.wire import Element
from gridspine.energy.followed import FollowPort
from gridspine.kernel.errors import Conflict, Forbidden, Invalid, NotFound, Overloaded
from gridspine.kernel.ids import point_id
from gridspine.kernel.readings import named_readings
from gridspine.things.adapter import AdapterContext

OPTED_OUT, OPTED_IN, PARTLY_OUT, PARTLY_IN = 4, 5, 8, 9
STATUSES = frozenset({*range(1, 15), 252, 253, 254})
"""Response types of the function sets; all others are reserved."""
MAX_CONNECTION_POINT, MAX_URI = 32, 2_000


class Writes:
    """Takes what clients say."""

    def __init__(
        self, context: AdapterContext, settings: Settings, sessions: Sessions, follow: FollowPort, mirror: Mirror,
        commands: LeasedControls,
    ) -> None:  # fmt: skip
        self._context, self._settings, self._sessions = context, settings, sessions
        self._follow, self._mirror, self._commands = follow, mirror, commands

    async def put(self, shown: Shown, segments: Sequence[str], given: Element) -> Done:
        """Replace a resource; raise `NotFound`, `Invalid`."""
        match segments:
            case ["edev", key, "cp"]:
                return await self._connection_point(self._device(shown, key), given)
            case ["edev", key, "der", "1", name] if name in resources.DOCUMENTS:
                return await self._document(shown, self._device(shown, key), resources.DOCUMENTS[name], given)
            case ["mup", number]:
                return await self._mirror.replace(shown, number, given)
        raise NotFound("there is no such resource that can be written")

    async def post(self, shown: Shown, segments: Sequence[str], given: Element) -> Done:
        """Add a resource to a list, or readings; raise `NotFound`, `Invalid`, `Conflict`, `Overloaded`."""
        match segments:
            case ["edev"]:
                return await self._announce(shown, given)
            case ["edev", key, "rsp"]:
                return await self._response(shown, self._device(shown, key), given)
            case ["edev", key, "sub"]:
                return await self._subscribe(shown, self._device(shown, key), given)
            case ["mup"]:
                return await self._mirror.add(shown, given)
            case ["mup", number]:
                return await self._mirror.post(shown, number, given)
        raise NotFound("there is no such list that can be added to")

    async def delete(self, shown: Shown, segments: Sequence[str]) -> Done:
        """Take a resource away; raise `NotFound`."""
        match segments:
            case ["edev", key, "sub", number]:
                return await self._unsubscribe(shown, self._device(shown, key), number)
            case ["mup", number]:
                return await self._mirror.remove(shown, number)
            case ["edev", key]:
                return await self._withdraw(shown, self._device(shown, key))
        raise NotFound("there is no such resource that can be taken away")

    def _device(self, shown: Shown, key: str) -> DeviceView:
        found = shown.view.device(key)
        if found is None:
            raise NotFound("there is no such EndDevice")
        return found

    # -- EndDevices ----------------------------------------------------------------------------------------------------

    async def _announce(self, shown: Shown, given: Element) -> Done:
        """Note a device that its client announces: a person makes a Thing of it."""
        if given.name != "EndDevice":
            raise Invalid(f"an EndDevice is needed here, this is a {given.name[:60]}")
        lfdi, own = check_lfdi(given.said("lFDI") or ""), shown.view.lfdi
        sfdi = given.whole("sFDI", 0, 2**40)
        if sfdi != sfdi_of(lfdi):
            raise Invalid("sFDI: it does not belong to lFDI")
        aggregates = any(one.device.aggregator for one in shown.view.devices)
        if lfdi != own and not aggregates:
            raise Forbidden("lFDI: it is not that of the client's certificate")
        record = await self._sessions.book.client(own)
        if self._sessions.devices.get(lfdi) is not None or any(one.lfdi == lfdi for one in record.announced):
            raise Conflict("lFDI: the EndDevice is registered already")
        if len(record.announced) >= self._settings.max_announced:
            raise Overloaded(f"{self._settings.max_announced} EndDevices are announced and wait for somebody")
        category = int(given.hex("deviceCategory", 8) or "0", 16)
        made = Announced(lfdi, sfdi, category, self._context.clock.now_us())
        changed = msgspec.structs.replace(record, announced=(*record.announced, made))
        await self._sessions.book.put_client(own, changed)
        self._sessions.renew()
        self._context.trace("note", f"announced: lfdi={lfdi} by {own}")
        return Done(201, f"{self._settings.path}/edev/{key_of(lfdi)}")

    async def _withdraw(self, shown: Shown, one: DeviceView) -> Done:
        if one.device.thing:
            raise Forbidden("the EndDevice is a Thing of the node: its organisation takes it away")
        record = await self._sessions.book.client(shown.view.lfdi)
        kept = tuple(own for own in record.announced if own.lfdi != one.device.lfdi)
        await self._sessions.book.put_client(shown.view.lfdi, msgspec.structs.replace(record, announced=kept))
        self._sessions.renew()
        return Done(204)

    async def _connection_point(self, one: DeviceView, given: Element) -> Done:
        if given.name != "csipaus:ConnectionPoint":
            raise Invalid(f"a ConnectionPoint is needed here, this is a {given.name[:60]}")
        names = ("csipaus:connectionPointId", "connectionPointId", "csipaus:id", "id")
        id_ = next((said for name in names if (said := given.said(name))), "")
        if not 0 < len(id_) <= MAX_CONNECTION_POINT:
            raise Invalid(f"connectionPointId: 1 to {MAX_CONNECTION_POINT} characters are needed")
        if self._settings.connection_point == "nmi":
            check_nmi(id_)
        site = one.followed.site
        if site is not None and site.connection_point_id not in {"", id_}:
            raise Invalid("connectionPointId: it is known to be another one: ask the organisation that runs the site")
        record = await self._sessions.book.device(one.device.lfdi)
        changed = msgspec.structs.replace(record, connection_point=id_)
        await self._sessions.book.put_device(one.device.lfdi, changed)
        self._sessions.renew()
        return Done(201, f"{one.href}/cp")

    async def _document(self, shown: Shown, one: DeviceView, name: str, given: Element) -> Done:
        if not one.device.thing or one.device.aggregator:
            raise NotFound("there is no such DER")
        inner, now_us = read_document(given, name), self._context.clock.now_us()
        rows = [
            (point_id(one.device.thing, point), unit, observed_us, value, 0)
            for point, unit, value, observed_us in (der_readings(given) if name == "DERStatus" else ())
            if point in one.device.points
        ]
        if rows:
            await self._context.intake(named_readings(rows), shown.source)
        record = await self._sessions.book.device(one.device.lfdi)
        documents = {**record.documents, name: Said(inner, now_us)}
        await self._sessions.book.put_device(
            one.device.lfdi, msgspec.structs.replace(record, documents=documents)
        )  # fmt: skip
        self._sessions.renew()
        return Done(204)

    # -- responses, subscriptions --------------------------------------------------------------------------------------

    async def _response(self, shown: Shown, one: DeviceView, given: Element) -> Done:
        if not given.name.endswith("Response"):
            raise Invalid(f"a Response is needed here, this is a {given.name[:60]}")
        subject, status = given.hex("subject", 32), given.whole("status", 0, 255)
        if given.hex("endDeviceLFDI", 40) != one.device.lfdi:
            raise Invalid("endDeviceLFDI: it is not that of the EndDevice whose controls these are")
        event = None if subject is None else shown.event(one, subject)
        if subject is None or event is None:
            raise Invalid("subject: there is no such control of the EndDevice")
        if status is None or status not in STATUSES:
            raise Invalid("status: it is reserved")
        given.whole("createdDateTime", 0, TIME_MAX)
        if event and status in {OPTED_OUT, OPTED_IN, PARTLY_OUT, PARTLY_IN}:
            out = status in {OPTED_OUT, PARTLY_OUT}
            reason = f"IEEE 2030.5 response, status {status}"
            if not await self._follow.opt(shown.source, one.device.thing, event, out=out, reason=reason):
                self._context.trace(
                    "note", f"{one.device.thing}: {reason}: noted only, it is over or others are behind its site"
                )
        if not event:
            await self._commands.answered(one.device, subject, status)
        record = await self._sessions.book.device(one.device.lfdi)
        kept = (*record.responses, Answered(subject, status, self._context.clock.now_us()))[-MAX_RESPONSES:]
        await self._sessions.book.put_device(one.device.lfdi, msgspec.structs.replace(record, responses=kept))
        return Done(201, f"{one.href}/rsp")

    async def _subscribe(self, shown: Shown, one: DeviceView, given: Element) -> Done:
        if one is not shown.view.subscriber:
            raise NotFound("there is no such list")
        asked = self._subscription(shown, one, given)
        record = await self._sessions.book.client(shown.view.lfdi)
        alike = (own for own in record.subscriptions if (own.resource, own.uri) == (asked.resource, asked.uri))
        same = next(alike, None)
        if same is None and len(record.subscriptions) >= self._settings.max_subscriptions:
            raise Overloaded(f"a client may have {self._settings.max_subscriptions} subscriptions")
        number = str(record.numbered + 1) if same is None else same.number
        made = msgspec.structs.replace(asked, number=number)
        others = tuple(own for own in record.subscriptions if own.number != number)
        changed = msgspec.structs.replace(
            record, subscriptions=(*others, made), numbered=record.numbered + (same is None),
            certificate=shown.certificate,
        )  # fmt: skip
        await self._sessions.book.put_client(shown.view.lfdi, changed)
        self._sessions.renew()
        return Done(201 if same is None else 204, f"{one.href}/sub/{number}")

    def _subscription(self, shown: Shown, one: DeviceView, given: Element) -> Subscription:
        if given.name != "Subscription":
            raise Invalid(f"a Subscription is needed here, this is a {given.name[:60]}")
        target, uri = given.said("subscribedResource") or "", given.said("notificationURI") or ""
        if given.whole("encoding", 0, 255) != 0:
            raise Invalid("encoding: 0 (XML) is the one that is written here")
        limit = given.whole("limit", 0, 2**32 - 1) or 0
        path, _, query = target.partition("?")
        inside = path.startswith(f"{self._settings.path}/")
        segments = path[len(self._settings.path) + 1 :].split("/")
        found = resource(shown.view, segments, page_of(query)) if inside else None
        if found is None or found.attributes.get("subscribable", "0") == "0":
            raise Invalid("subscribedResource: there is no such resource that can be subscribed to")
        wanted = given.find("Condition")
        if wanted is not None and found.attributes["subscribable"] != resources.SUBSCRIBABLE_BOTH:
            raise Invalid("Condition: of readings only; what was asked for can be subscribed to without one")
        condition = None if wanted is None else read_condition(wanted)
        if not _is_address(uri):
            raise Invalid("notificationURI: an http or https address is needed")
        level = (given.said("level") or "+S1")[:16]
        made = Subscription("", one.device.key, path, uri, limit, level, condition=condition)
        return msgspec.structs.replace(made, digest=digest_of(shown.view, made))

    async def _unsubscribe(self, shown: Shown, one: DeviceView, number: str) -> Done:
        record = await self._sessions.book.client(shown.view.lfdi)
        kept = tuple(own for own in record.subscriptions if own.number != number)
        if one is not shown.view.subscriber or len(kept) == len(record.subscriptions):
            raise NotFound("there is no such subscription")
        await self._sessions.book.put_client(shown.view.lfdi, msgspec.structs.replace(record, subscriptions=kept))
        self._sessions.renew()
        return Done(204)


def _is_address(uri: str) -> bool:
    """Whether it is where notifications can go: http or https, without a user's name."""
    try:
        address = urlsplit(uri)
        port = address.port
    except ValueError:
        return False
    return (
        address.scheme in {"http", "https"} and bool(address.hostname) and not address.username and port != 0
        and len(uri) <= MAX_URI and uri.isprintable()
    )  # fmt: skip
