"""Resources as they are written: of what a client is shown, each a `Part`. Pure; no I/O.

Elements stand in the order of the schema (IEEE 2030.5-2018 ``sep.xsd``, extensions of CSIP-AUS).
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from gridspine.adapters.ieee2030_5.der_document import NAMES
from gridspine.adapters.ieee2030_5.der_program import Assignment, DerControl, DerProgram
from gridspine.adapters.ieee2030_5.identity import sfdi_of
from gridspine.adapters.ieee2030_5.meter import UsagePoint
from gridspine.adapters.ieee2030_5.mrid import mrid
from gridspine.adapters.ieee2030_5.power import power
from gridspine.adapters.ieee2030_5.record import Subscription
from gridspine.adapters.ieee2030_5.settings import Settings
from gridspine.adapters.ieee2030_5.view import MAX_LIMIT, ClientView, DeviceView, Page
from gridspine.adapters.ieee2030_5.wire import Part, link, part, text
from gridspine.energy.control import Control
from gridspine.energy.mapping.xml import element
from gridspine.kernel.time import US

DOCUMENTS = {"dercap": "DERCapability", "derg": "DERSettings", "ders": "DERStatus", "dera": "DERAvailability"}
"""How the documents of a DER are called in paths."""
RESPONSES_WANTED = "07"
"""Bits 0 to 2 of responseRequired: that it was received, what became of it, and what people decided."""
SUBSCRIBABLE, SUBSCRIBABLE_BOTH = "1", "3"
"""Values of subscribable: without conditions; with or without."""
_SYNCHRONISED = 4
"""Quality of the time: known to be accurate to a clock that is synchronised with others."""


def listed(
    tag: str, href: str, items: Sequence[tuple[int, Callable[[], str]]], page: Page, *, rate_s: int | None = None,
    subscribable: bool = False,
) -> Part:  # fmt: skip
    """Return a page of a list; ``items`` are each when it changed [µs since 1970], and how it is written."""
    chosen = [write for changed_us, write in items if not page.after_us or changed_us > page.after_us]
    shown = [write() for write in chosen[page.start : page.start + min(page.limit, MAX_LIMIT)]]
    return part(
        tag, *shown, href=href, all=str(len(chosen)), results=str(len(shown)),
        pollRate=None if rate_s is None else str(rate_s), subscribable=SUBSCRIBABLE if subscribable else None,
    )  # fmt: skip


def device_capability(view: ClientView) -> Part:
    """Where all else is found."""
    path, mirrored = view.settings.path, sum(len(one.record.usage_points) for one in view.devices)
    return part(
        "DeviceCapability",
        link("TimeLink", f"{path}/tm"), link("UsagePointListLink", f"{path}/upt", mirrored),
        link("EndDeviceListLink", f"{path}/edev", len(view.devices)),
        link("MirrorUsagePointListLink", f"{path}/mup", mirrored),
        href=f"{path}/dcap", pollRate=str(view.rates.device_capability),
    )  # fmt: skip


def time(view: ClientView, now_us: int) -> Part:
    """What time it is here, by the node's clock."""
    now_s = now_us // US
    offset_s, saving_s, begins_s, ends_s = _zone(view.settings.timezone, now_s // 900)
    return part(
        "Time", text("currentTime", now_s), text("dstEndTime", ends_s), text("dstOffset", saving_s[1]),
        text("dstStartTime", begins_s), text("localTime", now_s + offset_s + saving_s[0]),
        text("quality", _SYNCHRONISED), text("tzOffset", offset_s), href=f"{view.settings.path}/tm",
    )  # fmt: skip


@lru_cache(maxsize=8)
def _zone(name: str, quarter: int) -> tuple[int, tuple[int, int], int, int]:
    """Return offset from UTC, what is added now and what in summer, when that begins and ends next [s]."""
    zone = ZoneInfo(name)
    at = datetime.fromtimestamp(quarter * 900, UTC)
    before = at
    edges: dict[bool, int] = {}
    usual = _added(at, zone)
    offset = at.astimezone(zone).utcoffset() or timedelta()
    saving = usual
    for day in range(1, 367):
        after = at + timedelta(days=day)
        if (added := _added(after, zone)) != _added(before, zone):
            edge = before
            while _added(edge + timedelta(minutes=15), zone) != added:
                edge += timedelta(minutes=15)
            saving = max(saving, added, key=abs)
            edges.setdefault(bool(added), int(edge.timestamp()) + 900)
        before = after
    return (
        int((offset - usual).total_seconds()), (int(usual.total_seconds()), int(saving.total_seconds())),
        edges.get(True, 0), edges.get(False, 0),
    )  # fmt: skip


def _added(at: datetime, zone: ZoneInfo) -> timedelta:
    return at.astimezone(zone).dst() or timedelta()


# -- EndDevices --------------------------------------------------------------------------------------------------------


def end_device(view: ClientView, one: DeviceView) -> Part:
    """A device, and where its own resources are."""
    device, href = one.device, one.href
    known = bool(device.thing) and not device.aggregator
    subscriptions = len(view.record.subscriptions) if one is view.subscriber else None
    return part(
        "EndDevice",
        link("DERListLink", f"{href}/der", 1) if known else "",
        text("deviceCategory", f"{device.category:08X}") if device.category else "",
        text("lFDI", device.lfdi), text("sFDI", sfdi_of(device.lfdi)),
        text("changedTime", one.changed_us // US), text("enabled", True),
        link("FunctionSetAssignmentsListLink", f"{href}/fsa", len(one.assignments)) if known else "",
        link("RegistrationLink", f"{href}/rg") if device.connection.pin else "",
        "" if subscriptions is None else link("SubscriptionListLink", f"{href}/sub", subscriptions),
        "" if device.aggregator else link("csipaus:ConnectionPointLink", f"{href}/cp"),
        href=href, subscribable=SUBSCRIBABLE,
    )  # fmt: skip


def registration(view: ClientView, one: DeviceView) -> Part:
    """The PIN that a device's owner compares."""
    return part(
        "Registration", text("dateTimeRegistered", one.record.since_us // US), text("pIN", one.device.connection.pin),
        href=f"{one.href}/rg", pollRate=str(view.rates.end_device_list),
    )  # fmt: skip


def connection_point(one: DeviceView) -> Part:
    """Where a device is connected to the network."""
    inner = text("csipaus:connectionPointId", one.connection_point[:32])
    return part("csipaus:ConnectionPoint", inner, href=f"{one.href}/cp")


def der(one: DeviceView) -> Part:
    """A device's DER: where its documents are."""
    href = f"{one.href}/der/1"
    names = {name: f"{href}/{key}" for key, name in DOCUMENTS.items()}
    return part("DER", *(link(f"{name}Link", names[name]) for name in sorted(NAMES)), href=href)


def der_document(one: DeviceView, name: str, href: str) -> Part | None:
    """What a device said of its DER, None for nothing yet."""
    said = one.record.documents.get(name)
    if said is None:
        return None
    return part(name, said.inner, href=href, subscribable=None if name == "DERCapability" else SUBSCRIBABLE)


# -- what is assigned --------------------------------------------------------------------------------------------------


def assignment(view: ClientView, one: DeviceView, assigned: Assignment) -> Part:
    """What is assigned to a device together."""
    href = f"{one.href}/fsa/{assigned.key}"
    return part(
        "FunctionSetAssignments", link("DERProgramListLink", f"{href}/derp", len(assigned.programs)),
        link("TariffProfileListLink", f"{href}/tp", len(assigned.tariffs)) if assigned.tariffs else "",
        link("TimeLink", f"{view.settings.path}/tm"),
        text("mRID", mrid("FunctionSetAssignments", one.device.lfdi, *assigned.names, pen=view.settings.pen)),
        text("description", words(assigned.title)), text("version", assigned.version % 2**16),
        href=href, subscribable=SUBSCRIBABLE,
    )  # fmt: skip


def der_program(settings: Settings, program: DerProgram, href: str) -> Part:
    """A program of controls, with its primacy."""
    active = sum(one.status == 1 for one in program.controls)
    return part(
        "DERProgram", text("mRID", mrid("DERProgram", *program.names, pen=settings.pen)),
        text("description", words(program.title)), text("version", program.version % 2**16),
        link("ActiveDERControlListLink", f"{href}/actderc", active),
        link("DefaultDERControlLink", f"{href}/dderc") if program.defaults else "",
        link("DERControlListLink", f"{href}/derc", len(program.controls)), text("primacy", program.primacy),
        href=href, subscribable=SUBSCRIBABLE,
    )  # fmt: skip


def default_control(settings: Settings, program: DerProgram, href: str) -> Part | None:
    """What holds while no control does; None for a program that has no such thing."""
    if not program.defaults:
        return None
    gradient = program.default.gradient_percent_per_s
    return part(
        "DefaultDERControl", text("mRID", mrid("DefaultDERControl", *program.names, pen=settings.pen)),
        text("description", words(program.title)), text("version", program.version % 2**16),
        _base(program.default), text("setGradW", None if gradient is None else round(gradient * 100)),
        href=href, subscribable=SUBSCRIBABLE,
    )  # fmt: skip


def der_control(settings: Settings, control: DerControl, href: str, reply_to: str) -> Part:
    """A control: what is to be done from when for how long, and how it stands."""
    start_s, end_s = control.from_us // US, -(-control.until_us // US)  # it is never over before it was to be
    status = [
        text("currentStatus", control.status), text("dateTime", control.status_us // US),
        text("potentiallySuperseded", control.potentially_superseded), text("reason", control.reason[:180] or None),
    ]  # fmt: skip
    later_s, sooner_s = int(control.randomise_start_s), int(control.randomise_duration_s)
    return part(
        "DERControl", text("mRID", mrid("DERControl", *control.names, pen=settings.pen)),
        text("description", words(control.title)), text("creationTime", control.created_us // US),
        element("EventStatus", status),
        element("interval", [text("duration", end_s - start_s - later_s), text("start", start_s)]),
        text("randomizeDuration", -sooner_s or None), text("randomizeStart", later_s or None),
        _base(control.control), href=href, replyTo=reply_to, responseRequired=RESPONSES_WANTED, subscribable="0",
    )  # fmt: skip


def _base(control: Control) -> str:
    """Return what is asked for: of CSIP-AUS the limits, of the standard the rest."""
    ramp = control.ramp_s
    target_w = None if control.target_w is None else -control.target_w  # output is positive there, see signs.json
    return element("DERControlBase", [
        text("opModConnect", control.connect), text("opModEnergize", control.energise),
        power("opModTargetW", target_w, limit=False), text("rampTms", None if ramp is None else round(ramp * 100)),
        power("csipaus:opModImpLimW", control.import_limit_w, limit=True),
        power("csipaus:opModExpLimW", control.export_limit_w, limit=True),
        power("csipaus:opModGenLimW", control.generation_limit_w, limit=True),
        power("csipaus:opModLoadLimW", control.load_limit_w, limit=True),
    ])  # fmt: skip


# -- metering, subscriptions -------------------------------------------------------------------------------------------


def usage_point(point: UsagePoint, href: str, rate_s: int) -> Part:
    """A usage point that is mirrored here: what is posted to it, and how often."""
    meters = [
        element("MirrorMeterReading", [
            text("mRID", one.mrid), text("description", one.description or None),
            element("ReadingType", [text(name, one.type[name]) for name in sorted(one.type)]) if one.type else "",
        ])
        for one in point.meters
    ]  # fmt: skip
    return part(
        "MirrorUsagePoint", text("mRID", point.mrid), text("description", point.description or None),
        text("roleFlags", point.role_flags), text("serviceCategoryKind", point.service), text("status", point.status),
        text("deviceLFDI", point.lfdi), *meters, text("postRate", rate_s), href=href,
    )  # fmt: skip


def subscription(one: Subscription, href: str) -> Part:
    """A subscription as it was asked for."""
    condition = "" if one.condition is None else element("Condition", [
        text("attributeIdentifier", 0), text("lowerThreshold", one.condition.lower),
        text("upperThreshold", one.condition.upper),
    ])  # fmt: skip
    return part(
        "Subscription", text("subscribedResource", one.resource), condition, text("encoding", 0),
        text("level", one.level), text("limit", one.limit), text("notificationURI", one.uri), href=href,
    )  # fmt: skip


def notification(one: Subscription, href: str, resource: Part | None) -> Part:
    """What a subscriber is told: the resource as it is now; None: it is gone, and the subscription with it.

    Whoever asks for no items is told that there is something new, by an empty list, or by nothing at all.
    """
    shown = resource is not None and (one.limit > 0 or resource.tag.endswith("List"))
    return part(
        "Notification", text("subscribedResource", one.resource),
        resource.resource() if resource is not None and shown else "",
        text("status", 4 if resource is None else 0), text("subscriptionURI", href),
        xmlns_xsi="http://www.w3.org/2001/XMLSchema-instance",
    )  # fmt: skip


def error(reason: int) -> Part:
    """Why a request was refused (reasonCode): 0 its form, 1 its values, 2 a bound was reached."""
    return part("Error", text("reasonCode", reason))


def words(title: str) -> str:
    """Return a title as a String32: 32 bytes at most."""
    return title.encode()[:32].decode(errors="ignore")
