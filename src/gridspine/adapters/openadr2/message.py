"""What the two sides of OpenADR 2.0b say to each other, as checked values. Pure; no I/O.

Times are µs since 1970, durations µs. Each struct is the element of its name in ``oadr_20b.xsd``; what is optional
there has a default here. Kept apart from the XML: `gridspine.adapters.openadr2.wire`.
"""

from typing import Any, Literal

import msgspec

OPT_IN, OPT_OUT = "optIn", "optOut"
Status = Literal["none", "far", "near", "active", "completed", "cancelled"]


class Said(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What all structs of this file share."""


class Response(Said, frozen=True, kw_only=True):
    """What became of a request: ``code`` 200, or why not (450 to 469)."""

    code: int = 200
    request_id: str = ""
    description: str = "OK"


class Item(Said, frozen=True, kw_only=True):
    """What numbers mean: ``kind`` is the element (``power:powerReal`` …), ``units`` its own, times 10 by ``scale``."""

    kind: str
    units: str = ""
    scale: str = "none"
    description: str = ""
    hertz: float | None = None
    voltage: float | None = None
    ac: bool | None = None
    pulse_factor: float | None = None


class Target(Said, frozen=True, kw_only=True):
    """Whom or what something is for."""

    mrids: tuple[str, ...] = ()
    group_ids: tuple[str, ...] = ()
    group_names: tuple[str, ...] = ()
    resource_ids: tuple[str, ...] = ()
    ven_ids: tuple[str, ...] = ()
    party_ids: tuple[str, ...] = ()


EVERYBODY = Target()


class Profile(Said, frozen=True, kw_only=True):
    """A profile and its transports."""

    name: str = "2.0b"
    transports: tuple[str, ...] = ("simpleHttp",)


class QueryRegistration(Said, frozen=True, kw_only=True):
    """A VEN asks what a VTN speaks."""

    request_id: str


class CreatePartyRegistration(Said, frozen=True, kw_only=True):
    """A VEN registers; ``transport_address`` is where it is pushed to, unless ``http_pull``."""

    request_id: str
    registration_id: str = ""
    ven_id: str = ""
    profile: str = "2.0b"
    transport: str = "simpleHttp"
    transport_address: str = ""
    report_only: bool = False
    xml_signature: bool = False
    ven_name: str = ""
    http_pull: bool | None = None


class CreatedPartyRegistration(Said, frozen=True, kw_only=True):
    """It is registered, or told what there is; ``poll_us`` is how often it is to poll."""

    response: Response
    registration_id: str = ""
    ven_id: str = ""
    vtn_id: str = ""
    profiles: tuple[Profile, ...] = (Profile(),)
    poll_us: int | None = None


class CancelPartyRegistration(Said, frozen=True, kw_only=True):
    """A registration is to end."""

    request_id: str
    registration_id: str
    ven_id: str = ""


class CanceledPartyRegistration(Said, frozen=True, kw_only=True):
    """It has ended."""

    response: Response
    registration_id: str = ""
    ven_id: str = ""


class RequestReregistration(Said, frozen=True, kw_only=True):
    """A VEN is to register again."""

    ven_id: str


class Poll(Said, frozen=True, kw_only=True):
    """A VEN asks whether there is anything for it."""

    ven_id: str


class Answer(Said, frozen=True, kw_only=True):
    """``oadrResponse``: nothing but what became of a request."""

    response: Response
    ven_id: str = ""


class RequestEvent(Said, frozen=True, kw_only=True):
    """A VEN asks for its events, at most ``reply_limit`` of them."""

    request_id: str
    ven_id: str
    reply_limit: int | None = None


class Descriptor(Said, frozen=True, kw_only=True):
    """Which event it is, and how it stands; ``priority`` 1 goes before 2, and 0 after all."""

    event_id: str
    modification_number: int
    modified_us: int | None = None
    reason: str = ""
    priority: int = 0
    market_context: str
    created_us: int
    status: str
    test: str = ""
    comment: str = ""


class ActivePeriod(Said, frozen=True, kw_only=True):
    """When an event is; ``duration_us`` 0: until further notice; ``start_after_us``: how much chance may delay it."""

    start_us: int
    duration_us: int
    start_after_us: int | None = None
    notification_us: int | None = None
    ramp_up_us: int | None = None
    recovery_us: int | None = None


class SignalInterval(Said, frozen=True, kw_only=True):
    """A value for a time; it follows the one before."""

    duration_us: int | None = None
    uid: str = ""
    value: float


class Signal(Said, frozen=True, kw_only=True):
    """What is to be known or done, interval by interval."""

    intervals: tuple[SignalInterval, ...]
    target: Target | None = None
    name: str
    type: str
    id: str
    item: Item | None = None
    current: float | None = None


class EiEvent(Said, frozen=True, kw_only=True):
    """An event."""

    descriptor: Descriptor
    period: ActivePeriod
    signals: tuple[Signal, ...]
    target: Target = EVERYBODY


class Event(Said, frozen=True, kw_only=True):
    """An event, and whether it is to be answered."""

    event: EiEvent
    response_required: str = "always"


class DistributeEvent(Said, frozen=True, kw_only=True):
    """All events of a VEN: one that is no more among them is over for it."""

    response: Response | None = None
    request_id: str
    vtn_id: str
    events: tuple[Event, ...] = ()


class QualifiedEvent(Said, frozen=True, kw_only=True):
    """An event as it was at a modification."""

    event_id: str
    modification_number: int


class EventResponse(Said, frozen=True, kw_only=True):
    """Whether a VEN takes part in an event."""

    code: int = 200
    description: str = ""
    request_id: str = ""
    event: QualifiedEvent
    opt: str


class CreatedEvent(Said, frozen=True, kw_only=True):
    """What a VEN answers to events."""

    response: Response
    responses: tuple[EventResponse, ...] = ()
    ven_id: str


class Available(Said, frozen=True, kw_only=True):
    """A time."""

    start_us: int
    duration_us: int


class CreateOpt(Said, frozen=True, kw_only=True):
    """A VEN takes part, or not: in an event, or in times."""

    opt_id: str
    opt: str
    reason: str
    market_context: str = ""
    ven_id: str
    available: tuple[Available, ...] = ()
    created_us: int
    request_id: str
    event: QualifiedEvent | None = None
    target: Target = EVERYBODY
    device_class: Target | None = None


class CreatedOpt(Said, frozen=True, kw_only=True):
    """It is noted."""

    response: Response
    opt_id: str


class CancelOpt(Said, frozen=True, kw_only=True):
    """An opt is taken back."""

    request_id: str
    opt_id: str
    ven_id: str


class CanceledOpt(Said, frozen=True, kw_only=True):
    """It is taken back."""

    response: Response
    opt_id: str = ""


Message = Any
"""One of the structs that `gridspine.adapters.openadr2.wire.MESSAGES` names."""
