"""The tree of resources: which one a path names, of what a client is shown. Pure; no I/O.

::

    /dcap  /tm
    /edev  /edev/{device}  …/rg  …/cp
             …/der  …/der/1  …/der/1/{dercap, derg, ders, dera}
             …/fsa  …/fsa/{f}  …/fsa/{f}/derp  …/derp/{p}  …/derp/{p}/{derc, actderc, dderc}  …/derc/{c}
             …/fsa/{f}/tp and beneath: `gridspine.adapters.ieee2030_5.tariff_documents`
             …/sub  …/sub/{s}  …/rsp
    /mup   /mup/{m}        /upt and beneath: `gridspine.adapters.ieee2030_5.metering`

What is not a client's own is not there.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256
from urllib.parse import parse_qs

from gridspine.adapters.ieee2030_5 import resources
from gridspine.adapters.ieee2030_5.der_program import ACTIVE, Assignment, DerProgram
from gridspine.adapters.ieee2030_5.meter import UsagePoint
from gridspine.adapters.ieee2030_5.metering import metered, usage_point
from gridspine.adapters.ieee2030_5.record import Subscription
from gridspine.adapters.ieee2030_5.tariff_documents import tariff_resource
from gridspine.adapters.ieee2030_5.view import MAX_LIMIT, ClientView, DeviceView, Page
from gridspine.adapters.ieee2030_5.wire import Part, whole
from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import US

MAX_START = 2**31


def page_of(query: str) -> Page:
    """Return which part of a list a query asks for (``s``, ``l``, ``a``); raise `Invalid`."""
    try:
        asked = parse_qs(query, keep_blank_values=True, max_num_fields=20)
    except ValueError as error:
        raise Invalid("the query has too many fields") from error

    def number(name: str, usual: int) -> int:
        given = asked.get(name)
        return usual if not given else whole(given[0], 0, MAX_START if name != "a" else 2**40, f"query: {name}")

    return Page(number("s", 0), number("l", 1), number("a", 0) * US)


def resource(view: ClientView, segments: Sequence[str], page: Page) -> Part | None:
    """Return the resource that a path names, None where there is none for this client."""
    match segments:
        case ["dcap"]:
            return resources.device_capability(view)
        case ["edev"]:
            items = [(one.changed_us, _written(resources.end_device, view, one)) for one in view.devices]
            rate_s = view.rates.end_device_list
            href = f"{view.settings.path}/edev"
            return resources.listed("EndDeviceList", href, items, page, rate_s=rate_s, subscribable=True)
        case ["edev", key, *rest]:
            one = view.device(key)
            return None if one is None else _of_device(view, one, rest, page)
        case ["mup"]:
            points = [(one, point) for one in view.devices for point in one.record.usage_points]
            items = [(view.now_us, _written(_mirrored, view, one, point)) for one, point in points]
            rate_s = view.rates.mirror_usage_point_list
            return resources.listed("MirrorUsagePointList", f"{view.settings.path}/mup", items, page, rate_s=rate_s)
        case ["mup", number]:
            found = usage_point(view, number)
            return None if found is None else _mirrored(view, *found)
        case ["upt", *rest]:
            return metered(view, rest, page)
    return None


def subscribed(view: ClientView, one: Subscription, limit: int | None = None) -> Part | None:
    """Return the resource that a subscription is to, with as many items as it asks for, or ``limit``."""
    page = Page(limit=one.limit if limit is None else limit)
    return resource(view, one.resource[len(view.settings.path) + 1 :].split("/"), page)


def digest_of(view: ClientView, one: Subscription) -> bytes:
    """Return what tells one state of a subscription's resource from another, whatever part of a list is asked for."""
    return sha256(str(subscribed(view, one, MAX_LIMIT)).encode()).digest()


def _of_device(view: ClientView, one: DeviceView, rest: Sequence[str], page: Page) -> Part | None:
    device = one.device
    match rest:
        case []:
            return resources.end_device(view, one)
        case ["rg"]:
            return resources.registration(view, one) if device.connection.pin else None
        case ["cp"]:
            return None if device.aggregator else resources.connection_point(one)
        case ["sub", *further] if one is view.subscriber:
            return _of_subscriptions(view, one, further, page)
        case ["rsp"]:
            return resources.listed("ResponseList", f"{one.href}/rsp", (), page)
        case [("der" | "fsa") as kind, *further] if device.thing and not device.aggregator:
            return (_of_der if kind == "der" else _of_assignments)(view, one, further, page)
    return None


def _of_subscriptions(view: ClientView, one: DeviceView, rest: Sequence[str], page: Page) -> Part | None:
    href = f"{one.href}/sub"
    subscriptions = view.record.subscriptions
    match rest:
        case []:
            items = [
                (view.now_us, _written(resources.subscription, own, f"{href}/{own.number}")) for own in subscriptions
            ]
            return resources.listed("SubscriptionList", href, items, page, rate_s=view.rates.end_device_list)
        case [number]:
            found = next((own for own in subscriptions if own.number == number), None)
            return None if found is None else resources.subscription(found, f"{href}/{number}")
    return None


def _of_der(view: ClientView, one: DeviceView, rest: Sequence[str], page: Page) -> Part | None:
    href = f"{one.href}/der"
    match rest:
        case []:
            items = [(one.changed_us, _written(resources.der, one))]
            return resources.listed("DERList", href, items, page, rate_s=view.rates.der_list)
        case ["1"]:
            return resources.der(one)
        case ["1", key] if key in resources.DOCUMENTS:
            return resources.der_document(one, resources.DOCUMENTS[key], f"{href}/1/{key}")
    return None


def _of_assignments(view: ClientView, one: DeviceView, rest: Sequence[str], page: Page) -> Part | None:
    if not rest:
        items = [(own.changed_us, _written(resources.assignment, view, one, own)) for own in one.assignments]
        rate_s = view.rates.function_set_assignments_list
        href = f"{one.href}/fsa"
        return resources.listed("FunctionSetAssignmentsList", href, items, page, rate_s=rate_s, subscribable=True)
    assigned = next((own for own in one.assignments if own.key == rest[0]), None)
    if assigned is None:
        return None
    match rest[1:]:
        case []:
            return resources.assignment(view, one, assigned)
        case ["tp", *further] if assigned.tariffs:
            return tariff_resource(
                assigned.tariffs, further, f"{one.href}/fsa/{assigned.key}/tp", page, view.settings.pen
            )
        case ["derp", *further]:
            return _of_programs(view, one, assigned, further, page)
    return None


def _of_programs(
    view: ClientView, one: DeviceView, assigned: Assignment, rest: Sequence[str], page: Page
) -> Part | None:  # fmt: skip
    href, settings = f"{one.href}/fsa/{assigned.key}/derp", view.settings
    if not rest:
        items = [
            (own.changed_us, _written(resources.der_program, settings, own, f"{href}/{own.key}"))
            for own in assigned.programs
        ]
        rate_s = view.rates.der_program_list
        return resources.listed("DERProgramList", href, items, page, rate_s=rate_s, subscribable=True)
    program = next((own for own in assigned.programs if own.key == rest[0]), None)
    if program is None:
        return None
    href = f"{href}/{program.key}"
    match rest[1:]:
        case []:
            return resources.der_program(settings, program, href)
        case ["dderc"]:
            return resources.default_control(settings, program, f"{href}/dderc")
        case [("derc" | "actderc") as kind]:
            return _controls(view, one, program, href, page, active=kind == "actderc")
        case ["derc", key]:
            control = next((own for own in program.controls if own.key == key), None)
            return None if control is None else resources.der_control(
                settings, control, f"{href}/derc/{key}", f"{one.href}/rsp"
            )  # fmt: skip
    return None


def _controls(
    view: ClientView, one: DeviceView, program: DerProgram, href: str, page: Page, *, active: bool
) -> Part:  # fmt: skip
    reply_to = f"{one.href}/rsp"
    items = [
        (own.created_us, _written(resources.der_control, view.settings, own, f"{href}/derc/{own.key}", reply_to))
        for own in program.controls
        if own.status == ACTIVE or not active
    ]
    tail = "actderc" if active else "derc"
    return resources.listed("DERControlList", f"{href}/{tail}", items, page, subscribable=True)


def _mirrored(view: ClientView, one: DeviceView, point: UsagePoint) -> Part:
    href = f"{view.settings.path}/mup/{one.device.key}-{point.number}"
    return resources.usage_point(point, href, view.rates.mirror_usage_point)


def _written(write: Callable[..., Part], *given: object) -> Callable[[], str]:
    return lambda: str(write(*given))
