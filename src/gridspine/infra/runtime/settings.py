"""Settings: one TOML file, overridden by environment variables. Unknown names are refused with their place.

``[http] port = 8600`` in the file and ``GRIDSPINE_HTTP__PORT=8600`` in the environment say the same; the
environment wins.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from gridspine.kernel.errors import Invalid

PREFIX = "GRIDSPINE_"


class Http(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The HTTP API and portal.

    host: address to listen on; anything but loopback needs `tls`.
    port: TCP port; 0 takes a free one.
    allowed_hosts: Host names this node answers for, besides localhost.
    max_body_bytes: largest request body taken, after decompression.
    max_items: most readings taken in one request.
    max_streams: most live streams open at once.
    requests_per_s: requests one principal may make in the long run [1/s]; 0 is no limit.
    request_burst: requests one principal may make at once on top.
    max_connections: most connections open at once, TLS included; more are answered 503, over TLS closed.
    max_connections_of_one: most connections of one address open at once (of IPv6: of one /64).
    max_requests: most requests at work at once, streams among them; more are answered 503.
    """

    host: str = "127.0.0.1"
    port: int = 8600
    allowed_hosts: list[str] = []
    max_body_bytes: int = 32 << 20
    max_items: int = 250_000
    max_streams: int = 1_000
    requests_per_s: float = 25_000.0
    request_burst: int = 50_000
    max_connections: int = 4_000
    max_connections_of_one: int = 2_000
    max_requests: int = 2_000


class Tls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The fast path over mutual TLS, with certificates of the node's own authority.

    enabled: whether to listen.
    host: address to listen on.
    port: TCP port; 0 takes a free one.
    names: DNS names and addresses for the server certificate, besides localhost.
    """

    enabled: bool = False
    host: str = "127.0.0.1"
    port: int = 8643
    names: list[str] = []


class Discovery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How strangers in the local network find the node.

    dns_sd: whether it is announced by DNS-SD, where `[tls]` listens beyond loopback; needs the extra ``discovery``.
    name: what it is announced as; empty for the organisation's name.
    """

    dns_sd: bool = False
    name: str = ""


class Log(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The event log.

    segment_bytes: size at which a segment file is closed and the next begun.
    reserve_bytes: room kept back for commands, grants and audit when the disk fills up.
    retain_bytes: readings kept in the log at least; older ones are in the archive only. 0 keeps all.
    """

    segment_bytes: int = 64 << 20
    reserve_bytes: int = 32 << 20
    retain_bytes: int = 4 << 30


class Archive(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The archive, the operator's SQL, and the SQL of consumers over what was granted to them.

    enabled: whether the projection into the archive runs.
    flush_seconds: longest time a reading waits before it is written to the archive [s].
    keep_days: oldest readings in the archive, by observed time [days]; 0 keeps all.
    compaction_memory_bytes: memory a compaction may take, in a process of its own.
    query_seconds: longest run of one query [s].
    query_memory_bytes: memory one query may take.
    query_rows: most rows one query may return.
    query_idle_seconds: how long a process waits for the next query, so that it is answered at once [s].
    consumer_query_seconds: longest run of a consumer's query [s]; 0 offers consumers none.
    consumer_query_memory_bytes: memory a consumer's query may take.
    consumer_query_readings: most readings of a product that a consumer's query may be run over.
    """

    enabled: bool = True
    flush_seconds: float = 10.0
    keep_days: int = 0
    compaction_memory_bytes: int = 256 << 20
    query_seconds: float = 30.0
    query_memory_bytes: int = 2 << 30
    query_rows: int = 100_000
    query_idle_seconds: float = 60.0
    consumer_query_seconds: float = 15.0
    consumer_query_memory_bytes: int = 1 << 30
    consumer_query_readings: int = 5_000_000


class Tracing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Traces by OpenTelemetry; they need the extra ``otel``.

    enabled: whether spans are recorded.
    endpoint: where they are sent, by OTLP over HTTP; headers come from ``OTEL_EXPORTER_OTLP_HEADERS``.
    sample: part of the batches and requests that are traced, 0 … 1; those whose sender traces them are besides.
    """

    enabled: bool = False
    endpoint: str = "http://127.0.0.1:4318/v1/traces"
    sample: float = 0.01


class Retention(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long the log keeps what, and how much disk the data may take. 0 days keep all, as far as there is room.

    readings_days: oldest readings in the log [days]; older ones are in the archive only.
    control_days: oldest commands, alarms and events in the log [days]; what is in force is kept whatever its age.
    audit_days: oldest decisions kept [days]; 2,000,000 at most.
    quarantine_days: oldest refused readings kept for inspection [days]; 100,000 records at most.
    disk_budget_bytes: size the data directory may have before readings leave the log sooner, then are refused; 0 for
        the disk's own.
    """

    readings_days: float = 0.0
    control_days: float = 400.0
    audit_days: float = 400.0
    quarantine_days: float = 30.0
    disk_budget_bytes: int = 0


class Quotas(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one principal, or one organisation, may take of the node at most; 0 for no bound.

    readings_per_s: readings a principal may send over HTTP for long [1/s]; ten seconds of them at once.
    things: Things of one organisation.
    principals: users, applications and devices of one organisation, deactivated ones too.
    grants: grants of one consumer, those that are over not counted.
    """

    readings_per_s: float = 0.0
    things: int = 2_000_000
    principals: int = 200_000
    grants: int = 20_000


class Commands(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Commands to fleets: how much may move at once, and what takes two persons.

    max_w_per_minute: power that set-points may move within any 60 s over the whole node [W]; more waits; 0 is no cap.
    approval_above_w: power one principal may ask for within the window without a second person's approval [W]; 0 for
        any.
    approval_window_s: over how long what was asked for is summed up [s].
    approval_expires_s: how long a command waits for approval before it has expired [s].
    """

    max_w_per_minute: float = 0.0
    approval_above_w: float = 0.0
    approval_window_s: float = 600.0
    approval_expires_s: float = 900.0


class Lifecycle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The lives of Things.

    commissioning: ``on-registration``: whoever registers a Thing commissions it by that; ``required``: it is commanded
        only once a commissioning report shows that it works, and a person says so.
    """

    commissioning: Literal["on-registration", "required"] = "on-registration"


class Attachments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Files of Things: photos, manuals, certificates, logs.

    max_bytes: size of one file at most; `http.max_body_bytes` bounds it as well.
    quota_bytes: what the files of one organisation may take together.
    """

    max_bytes: int = 16 << 20
    quota_bytes: int = 1 << 30


class Adapters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Adapters: only those named here are loaded.

    allow: names of entry points of the group ``gridspine.adapters``.
    connect_for: ids of organisations, besides the one that runs the node, whose Things may say where the node connects
        to: their operators reach with it whatever address and broker topic the node can.
    pin: fingerprints of adapters' packages by the adapter's name, as ``gridspine adapter list`` shows them; one that is
        not as pinned is refused. An adapter that is not named is not looked at.
    settings: each adapter's own section, by its name.
    """

    allow: list[str] = []
    connect_for: list[str] = []
    pin: dict[str, str] = {}
    settings: dict[str, dict[str, Any]] = {}


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All settings of a node.

    organisation: name of the organisation that runs this node.
    log_level: ``debug``, ``info``, ``warning`` or ``error``.
    log_json: whether log lines are JSON instead of text.
    demo: the demo profile: also accepts plain bearer tokens, on loopback only.
    """

    organisation: str = "My organisation"
    log_level: str = "info"
    log_json: bool = False
    demo: bool = False
    http: Http = msgspec.field(default_factory=Http)
    tls: Tls = msgspec.field(default_factory=Tls)
    discovery: Discovery = msgspec.field(default_factory=Discovery)
    log: Log = msgspec.field(default_factory=Log)
    archive: Archive = msgspec.field(default_factory=Archive)
    retention: Retention = msgspec.field(default_factory=Retention)
    quotas: Quotas = msgspec.field(default_factory=Quotas)
    commands: Commands = msgspec.field(default_factory=Commands)
    lifecycle: Lifecycle = msgspec.field(default_factory=Lifecycle)
    attachments: Attachments = msgspec.field(default_factory=Attachments)
    adapters: Adapters = msgspec.field(default_factory=Adapters)
    tracing: Tracing = msgspec.field(default_factory=Tracing)


_PLAIN = {PREFIX + name.upper() for name in ("organisation", "log_level", "log_json", "demo")}
"""Variables of what stands in no section; other names without ``__`` are not settings (GRIDSPINE_DATA)."""


def load_settings(path: Path | None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read settings from ``path`` (None: all defaults) and the environment; raise `Invalid` naming what is wrong."""
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text())
        except OSError as error:
            raise Invalid(f"settings {path} cannot be read: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise Invalid(f"settings {path} are not TOML: {error}") from error
    for name, text in sorted((os.environ if environ is None else environ).items()):
        if name.startswith(PREFIX) and ("__" in name or name in _PLAIN):
            _override(values, name.removeprefix(PREFIX).lower().split("__"), text)
    try:
        settings = msgspec.convert(values, Settings)
    except msgspec.ValidationError as error:
        raise Invalid(f"settings {path}: {error}" if path else f"settings: {error}") from error
    _check(settings)
    return settings


def _override(values: dict[str, Any], path: list[str], text: str) -> None:
    for part in path[:-1]:
        values = values.setdefault(part, {})
        if not isinstance(values, dict):
            raise Invalid(f"settings: {'.'.join(path)} is not a section")
    try:
        values[path[-1]] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        values[path[-1]] = text


def _check(settings: Settings) -> None:
    loopback = {"127.0.0.1", "::1", "localhost"}
    if settings.http.host not in loopback:
        raise Invalid("settings: http.host is plain HTTP and stays on loopback; use [tls] to be reached from elsewhere")
    if settings.demo and settings.tls.enabled and settings.tls.host not in loopback:
        raise Invalid("settings: the demo profile stays on loopback")
