"""Device templates: what a make and model of device says where, as data.

::

    file (TOML) ─read─► Template ─check─► findings, field by field
                          │ + where the device is, parameters
                          └─► model, adapter, connection: a Thing (`gridspine.things.template_fill`)

A template names its ``class``, a Thing Model, and for each point where its value is: a register, a topic, a JSON
pointer, an OBIS code; its unit there, and its sign. Whoever reads it finds the document every fact is from.
"""

from typing import Annotated, Literal

import msgspec

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=300)]
Scale = Annotated[float, msgspec.Meta(description="What one step of the device's number is worth, in `unit`")]
Sign = Literal["", "import_positive", "export_positive"]
Entity = Literal["coil", "discrete", "input", "holding"]
RegisterType = Literal[
    "bit", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"
]  # fmt: skip
Interval = Annotated[float, msgspec.Meta(ge=1.0, le=86_400.0)]


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the facts are from: a document, its version, its address; ``note`` says what was not read there."""

    document: Text
    version: str = ""
    url: str = ""
    note: str = ""


class Parameter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What differs from device to device and stands in braces in the template; without ``default`` it must be given."""

    title: Text
    default: str = ""
    pattern: str = r"[A-Za-z0-9_.:\-]{1,64}"


class _Point(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What all points say: ``unit`` at the device, ``scale``, ``sign`` where there is one, ``clause`` of the source."""

    unit: str = ""
    scale: Scale = 1.0
    sign: Sign = ""
    clause: str = ""

    @property
    def factor(self) -> float:
        """What the device's number is multiplied by: import is positive here."""
        return -self.scale if self.sign == "export_positive" else self.scale


class Timer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """The register of a device's own timer [s], after which it falls back."""

    address: int
    entity: Literal["", "coil", "holding"] = ""
    type: Literal["uint16", "int16", "uint32", "int32"] = "uint16"
    single: bool = False


class Write(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Where a point is commanded (its unit, scale and sign are the point's), and what ends a lease.

    ``reversion``: the device's own ``timer``; or *safe_to_persist* where the Thing Model calls its states so.
    """

    address: int
    reversion: Literal["timer", "safe_to_persist"]
    entity: Literal["", "coil", "holding"] = ""
    type: Literal["", RegisterType] = ""
    single: bool = False
    timer: Timer | None = None


class ModbusPoint(_Point, frozen=True, kw_only=True, omit_defaults=True):
    """A register: ``address`` as on the wire, from 0; what it does not say, ``[modbus]`` says for all."""

    address: int
    entity: Literal["", Entity] = ""
    type: Literal["", RegisterType] = ""
    write: Write | None = None


class ValuePoint(_Point, frozen=True, kw_only=True, omit_defaults=True):
    """A value in an answer or a message: at ``pointer`` (RFC 6901) or ``obis``; or ``plus`` several, ``minus`` others.

    ``at`` is the path or topic it comes from, where it is not that of all. ``codes`` gives words their numbers.
    """

    at: str = ""
    pointer: str | None = None
    obis: str = ""
    plus: tuple[str, ...] = ()
    minus: tuple[str, ...] = ()
    codes: dict[str, float] = {}


class Modbus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the registers of a device have in common, and how it is reached where nothing else is said."""

    entity: Entity = "holding"
    type: RegisterType = "uint16"
    word_order: Literal["high_first", "low_first"] = "high_first"
    byte_order: Literal["high_first", "low_first"] = "high_first"
    unit: int = 1
    baudrate: int = 9600
    parity: Literal["N", "E", "O"] = "N"
    stopbits: Literal[1, 2] = 1
    timeout_s: float = 3.0


class Http(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a device or a cloud is asked: ``at`` is the path at its address; how the asker proves itself.

    ``base`` is the address of a cloud, which is the same for all. ``scheme`` and what belongs to it are as in a Thing
    Description; ``optional``: the device asks for a proof only where its owner wants it. ``grant`` of oauth2 is by the
    client itself, or by a person who logs in once at ``authorise`` (`gridspine account login`). ``client`` is where the
    token endpoint wants the client's id and secret: in the *header*, or in the *form* (RFC 6749 §2.3.1, not read).

    An answer that lists all devices of an account has them at ``items``, each with its key at ``key`` (JSON pointers);
    this device's is ``item``. ``next`` leads to the next page.
    """

    at: str = "/"
    form: Literal["json", "telegram"] = "json"
    base: str = ""
    scheme: Literal["nosec", "basic", "digest", "bearer", "apikey", "oauth2"] = "nosec"
    place: Literal["header", "query", "cookie"] = "header"
    name: str = ""
    token: str = ""
    scopes: str = ""
    grant: Literal["client_credentials", "authorization_code"] = "client_credentials"
    authorise: str = ""
    client: Literal["header", "form"] = "header"
    optional: bool = False
    items: str = ""
    key: str = ""
    item: str = ""
    next: str = ""


class Mqtt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a device publishes: ``at`` is the topic where a point names none."""

    at: str = ""


class Webhook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a vendor posts: how it proves itself, and where the time of its values is ("": they are as old as the post).

    ``hmac`` in ``header``, after ``prefix``, of the whole request with its time in ``timestamp_header``, or, where
    ``covers`` is *body*, of the body alone; or *token*: the secret itself in ``header``. The last two can be posted
    again by whoever overhears them, and are served where ``replayable`` says that this is known.
    """

    proof: Literal["hmac-sha256", "hmac-sha512", "token"] = "hmac-sha256"
    header: str = "x-signature"
    encoding: Literal["hex", "base64"] = "hex"
    prefix: str = ""
    covers: Literal["request", "body"] = "request"
    timestamp_header: str = "x-timestamp"
    max_age_s: int = 300
    replayable: bool = False
    time: str = ""
    time_form: Literal["rfc3339", "s", "ms"] = "rfc3339"


class _Template(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="protocol"):
    """What all templates say. ``class`` is a Thing Model's short name or id; ``lacks`` are those of its points that it
    demands and this device has not; ``interval_s`` [s] is how often it is read, or says something by itself.
    """

    maker: Text
    product: Text
    class_: Text = msgspec.field(name="class")
    source: Source
    interval_s: Interval = 10.0
    lacks: tuple[str, ...] = ()
    note: str = ""
    parameters: dict[str, Parameter] = {}


class ModbusTemplate(_Template, frozen=True, kw_only=True, tag="modbus"):
    """A device whose points are registers."""

    points: dict[str, ModbusPoint]
    modbus: Modbus = Modbus()


class HttpTemplate(_Template, frozen=True, kw_only=True, tag="http"):
    """A device, or a vendor's cloud, that is asked over HTTP."""

    points: dict[str, ValuePoint]
    http: Http = Http()


class MqttTemplate(_Template, frozen=True, kw_only=True, tag="mqtt"):
    """A device that publishes JSON or bare numbers on topics of its own."""

    points: dict[str, ValuePoint]
    mqtt: Mqtt = Mqtt()


class WebhookTemplate(_Template, frozen=True, kw_only=True, tag="webhook"):
    """A vendor who posts JSON to the node."""

    points: dict[str, ValuePoint]
    webhook: Webhook = Webhook()


Template = ModbusTemplate | HttpTemplate | MqttTemplate | WebhookTemplate


def point_names(template: Template) -> tuple[str, ...]:
    """Return the names of a template's points, sorted."""
    return tuple(sorted(template.points))
