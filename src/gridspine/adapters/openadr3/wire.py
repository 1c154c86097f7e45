"""What OpenADR 3.1.0 says on the wire: requests as checked values, objects as they are answered. Pure; no I/O.

Source: OpenADR 3.1.0, its OpenAPI document (`openadr3.yaml`), components/schemas. Of *ven* and *resource* it asks for
two values of ``objectType`` at once (that of the object, and that of the request): the object's is answered.
Fields that a schema does not name are left out, as it allows.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import format_rfc3339

Kind = Literal["PROGRAM", "EVENT", "REPORT", "SUBSCRIPTION", "VEN", "RESOURCE"]
Operation = Literal["READ", "CREATE", "UPDATE", "DELETE"]
Name = Annotated[str, Meta(min_length=1, max_length=128)]
ObjectId = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]*\Z", min_length=1, max_length=128)]
Url = Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9+.-]*:[^\s]+\Z", min_length=2, max_length=8000)]
Targets = Annotated[list[Name], Meta(max_length=100)]
Duration = Annotated[
    str,
    Meta(
        pattern=r"^(-?)P(?=\d|T\d)(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)([DW]))?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?\Z",
        max_length=100,
    ),
]
Int32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
MAX_INTERVALS, MAX_PAYLOADS, MAX_VALUES = 3_000, 50, 1_000


_NAMES = {
    "url": "URL",
    "bearer_token": "bearerToken",
    "binding_events": "bindingEvents",
    "callback_url": "callbackUrl",
    "client_id": "clientID",
    "client_name": "clientName",
    "event_id": "eventID",
    "event_name": "eventName",
    "interval_period": "intervalPeriod",
    "local_price": "localPrice",
    "num_intervals": "numIntervals",
    "object_operations": "objectOperations",
    "payload_descriptors": "payloadDescriptors",
    "payload_type": "payloadType",
    "principal_subdivision": "principalSubdivision",
    "program_descriptions": "programDescriptions",
    "program_id": "programID",
    "program_long_name": "programLongName",
    "program_name": "programName",
    "program_type": "programType",
    "randomize_start": "randomizeStart",
    "reading_type": "readingType",
    "report_descriptors": "reportDescriptors",
    "report_intervals": "reportIntervals",
    "report_name": "reportName",
    "resource_name": "resourceName",
    "retailer_long_name": "retailerLongName",
    "retailer_name": "retailerName",
    "start_interval": "startInterval",
    "time_zone_offset": "timeZoneOffset",
    "ven_id": "venID",
    "ven_name": "venName",
}
"""Names of fields on the wire, where they are not the same."""


class Wire(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename=_NAMES):
    """What the structs of this file share: names as on the wire, and what is not said is left out."""


class Point(Wire, frozen=True):
    """A point of a curve."""

    x: float
    y: float


class ValuesMap(Wire, frozen=True):
    """Values of a type."""

    type: Name
    values: Annotated[list[float | int | str | bool | Point], Meta(max_length=MAX_VALUES)]


class IntervalPeriod(Wire, frozen=True):
    """When something begins, how long it lasts, by how much chance may put it off."""

    start: str | None = None
    duration: Duration | None = None
    randomize_start: Duration | None = None


class Interval(Wire, frozen=True):
    """Values for a time."""

    id: Int32
    payloads: Annotated[list[ValuesMap], Meta(max_length=MAX_PAYLOADS)]
    interval_period: IntervalPeriod | None = None


class EventPayloadDescriptor(Wire, frozen=True, tag_field="objectType", tag="EVENT_PAYLOAD_DESCRIPTOR"):
    """What a payload of an event means."""

    payload_type: Name
    units: Name | None = None
    currency: str | None = None


class ReportPayloadDescriptor(Wire, frozen=True, tag_field="objectType", tag="REPORT_PAYLOAD_DESCRIPTOR"):
    """What a payload of a report means."""

    payload_type: Name
    reading_type: Name | None = None
    units: Name | None = None
    accuracy: float | None = None
    confidence: Annotated[int, Meta(ge=0, le=100)] | None = None


class ReportDescriptor(Wire, frozen=True):
    """What an event asks to be told of."""

    payload_type: Name
    reading_type: Name | None = None
    units: Name | None = None
    targets: Targets | None = None
    aggregate: bool = False
    start_interval: Int32 = -1
    num_intervals: Int32 = -1
    historical: bool = True
    frequency: Int32 = -1
    repeat: Int32 = 1
    report_intervals: Literal["INTERVALS", "SUB_INTERVALS", "OPEN_INTERVALS"] = "INTERVALS"


class ProgramDescription(Wire, frozen=True):
    """Where a programme is described."""

    url: Url


class ProgramRequest(Wire, frozen=True):
    """A programme, as who runs it describes it."""

    program_name: Name
    interval_period: IntervalPeriod | None = None
    program_descriptions: Annotated[list[ProgramDescription], Meta(max_length=50)] | None = None
    payload_descriptors: Annotated[
        list[EventPayloadDescriptor | ReportPayloadDescriptor], Meta(max_length=100)
    ] | None = None  # fmt: skip
    attributes: Annotated[list[ValuesMap], Meta(max_length=100)] | None = None
    targets: Targets | None = None


class EventRequest(Wire, frozen=True):
    """An event of a programme."""

    program_id: ObjectId
    event_name: Annotated[str, Meta(max_length=500)] | None = None
    duration: Duration | None = None
    priority: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    targets: Targets | None = None
    report_descriptors: Annotated[list[ReportDescriptor], Meta(max_length=50)] | None = None
    payload_descriptors: Annotated[list[EventPayloadDescriptor], Meta(max_length=100)] | None = None
    interval_period: IntervalPeriod | None = None
    intervals: Annotated[list[Interval], Meta(max_length=MAX_INTERVALS)] | None = None


class ReportResource(Wire, frozen=True):
    """What a report tells of one resource."""

    resource_name: Name
    intervals: Annotated[list[Interval], Meta(max_length=MAX_INTERVALS)]
    interval_period: IntervalPeriod | None = None


class ReportRequest(Wire, frozen=True):
    """A report upon an event."""

    event_id: ObjectId
    client_name: Name
    resources: Annotated[list[ReportResource], Meta(max_length=1_000)]
    report_name: Annotated[str, Meta(max_length=500)] | None = None
    payload_descriptors: Annotated[list[ReportPayloadDescriptor], Meta(max_length=100)] | None = None


class ObjectOperations(Wire, frozen=True):
    """Of what a callback is told."""

    objects: Annotated[list[Kind], Meta(max_length=6)]
    operations: Annotated[list[Operation], Meta(max_length=4)]
    callback_url: Url
    bearer_token: Annotated[str, Meta(max_length=4096)] | None = None


class SubscriptionRequest(Wire, frozen=True):
    """A subscription."""

    client_name: Name
    object_operations: Annotated[list[ObjectOperations], Meta(max_length=10)]
    program_id: ObjectId | None = None
    targets: Targets | None = None


class BlVenRequest(Wire, frozen=True, tag_field="objectType", tag="BL_VEN_REQUEST"):
    """A VEN, as who runs programmes describes it."""

    client_id: Name
    ven_name: Name
    targets: Targets | None = None
    attributes: Annotated[list[ValuesMap], Meta(max_length=100)] | None = None


class VenVenRequest(Wire, frozen=True, tag_field="objectType", tag="VEN_VEN_REQUEST"):
    """A VEN, as it describes itself."""

    ven_name: Name
    attributes: Annotated[list[ValuesMap], Meta(max_length=100)] | None = None


class BlResourceRequest(Wire, frozen=True, tag_field="objectType", tag="BL_RESOURCE_REQUEST"):
    """A resource, as who runs programmes describes it."""

    client_id: Name
    resource_name: Name
    ven_id: ObjectId
    targets: Targets | None = None
    attributes: Annotated[list[ValuesMap], Meta(max_length=100)] | None = None


class VenResourceRequest(Wire, frozen=True, tag_field="objectType", tag="VEN_RESOURCE_REQUEST"):
    """A resource, as its VEN describes it."""

    resource_name: Name
    ven_id: ObjectId
    attributes: Annotated[list[ValuesMap], Meta(max_length=100)] | None = None


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """An object as the adapter keeps it: what of it is of the wire alone, or all of it where no noun is behind it.

    ``id`` is the wire's. ``organisation`` is whose it is, ``client`` the principal that it belongs to. ``noun`` is the
    programme or event behind it ("" for none), ``granted`` whether who runs programmes made it. ``body`` is the
    request in the form of 3.1.0; ``further`` what 3.0.1 says besides; ``types`` that of a target, by its word.
    ``proof`` is by what session, epoch and roles the client of a subscription proved itself.
    """

    kind: Kind
    id: str
    organisation: str
    client: str
    created_us: int
    modified_us: int
    body: dict[str, Any]
    parent: str = ""
    noun: str = ""
    granted: bool = False
    edition: Literal["3.1.0", "3.0.1"] = "3.1.0"
    further: dict[str, Any] = {}
    types: dict[str, str] = {}
    proof: tuple[str, int, tuple[str, ...] | None] = ("", 0, None)

    @property
    def targets(self) -> frozenset[str]:
        """The words it is aimed at."""
        return frozenset(self.body.get("targets") or ())


def read(body: bytes | Mapping[str, Any], kind: Any) -> Any:
    """Return a request as a ``kind`` of this file; raise `Invalid` naming the field."""
    try:
        return msgspec.json.decode(body, type=kind) if isinstance(body, bytes) else msgspec.convert(body, kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"the body is no {_noun(kind)}: {error}") from error


def body_of(request: msgspec.Struct) -> dict[str, Any]:
    """Return a request as it is kept: without what is null."""
    found: dict[str, Any] = msgspec.to_builtins(request)
    found.pop("objectType", None)
    return found


def object_of(record: Record) -> dict[str, Any]:
    """Return an object as 3.1.0 answers it."""
    metadata = {
        "id": record.id,
        "createdDateTime": format_rfc3339(record.created_us),
        "modificationDateTime": format_rfc3339(record.modified_us),
        "objectType": record.kind,
    }
    return {**metadata, **record.body}


def _noun(kind: Any) -> str:
    return str(getattr(kind, "__name__", "request")).removesuffix("Request").lower()
