"""What is reached: the node's own ports, certificates, the adapters' devices, the broker and its configuration."""

import re
import socket
import sqlite3
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from time import time
from typing import Any

import msgspec

from gridspine.apps.doctor.report import Line, Patient, database, fail, ok, warn
from gridspine.apps.node.checks import certificates
from gridspine.apps.node.paths import Paths
from gridspine.infra.registry.transaction import kind_name
from gridspine.kernel.time import US, format_rfc3339
from gridspine.things.adapter import ENTRY_POINT_GROUP
from gridspine.things.directory import Thing

_DAY_US = 86_400 * US
_CONNECT_S = 2.0
_MOST = 20
_QUEUE = 100_000


def look(patient: Patient) -> Iterator[Line]:
    """Yield what there is to say of what is reached."""
    settings = patient.settings
    yield _port(patient, "port of HTTP", settings.http.host, settings.http.port)
    if settings.tls.enabled:
        yield _port(patient, "port of TLS", settings.tls.host, settings.tls.port)
    for name, ends_us in certificates(Paths(patient.data).keys).items():
        yield _certificate(name, ends_us)
    yield _installed(settings.adapters.allow)
    yield from _devices(patient)
    if "mqtt" in settings.adapters.allow:
        yield from _mqtt(patient, settings.adapters.settings.get("mqtt", {}))


def _port(patient: Patient, what: str, host: str, port: int) -> Line:
    if port == 0:
        return ok(what, "any free one")
    where = f"{host}:{port}"
    if patient.running:
        if _answers(host, port):
            return ok(what, f"{where} answers")
        if not Paths(patient.data).address.exists():
            return warn(what, f"{where} does not answer: the node is starting or stopping", "look again in a minute")
        return fail(what, f"{where} does not answer", "look at the node's log; restart it")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return fail(
                what, f"{where} cannot be listened on: {error.strerror}", "end what holds it, or choose another"
            )
    return ok(what, f"{where} is free")


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=_CONNECT_S).close()
    except OSError:
        return False
    return True


def _certificate(name: str, ends_us: int) -> Line:
    left, when = ends_us - time() * US, format_rfc3339(ends_us)
    to_do = "start the node again: it renews its own" if name == "server" else "replace the node's authority"
    if left < 0:
        return fail(f"certificate {name}", f"ended at {when}", to_do)
    if left < 21 * _DAY_US:
        return warn(f"certificate {name}", f"ends at {when}", to_do)
    return ok(f"certificate {name}", f"valid until {when}")


def _installed(allow: list[str]) -> Line:
    known = {point.name for point in entry_points(group=ENTRY_POINT_GROUP)}
    missing = sorted(set(allow) - known)
    if missing:
        return fail("adapters", f"{', '.join(missing)} allowed, and not installed", "install it, or take it off "
                    "adapters.allow")  # fmt: skip
    return ok("adapters", ", ".join(allow) or "none allowed")


def _devices(patient: Patient) -> Iterator[Line]:
    """Look whether the addresses of Things take connections; nothing is asked of the devices."""
    places: dict[tuple[str, int], list[str]] = {}
    for thing in _things(patient):
        host, port = thing.connection.get("host"), thing.connection.get("port", 502)
        if thing.adapter in patient.settings.adapters.allow and isinstance(host, str) and isinstance(port, int):
            places.setdefault((host, port), []).append(thing.title)
    for (host, port), titles in list(places.items())[:_MOST]:
        words = f"{', '.join(titles[:3])}{' …' if len(titles) > 3 else ''} at {host}:{port}"
        if _answers(host, port):
            yield ok("device", words)
        else:
            yield warn("device", f"{words} takes no connection", "look at its power, its network and its address")


def _things(patient: Patient) -> list[Thing]:
    try:
        with database(patient, Paths(patient.data).registry) as connection:
            rows = connection.execute("SELECT body FROM document WHERE kind = ?", (kind_name(Thing),)).fetchall()
        return [msgspec.json.decode(body, type=Thing) for (body,) in rows]
    except (sqlite3.DatabaseError, msgspec.MsgspecError):
        return []  # said already, where the registry itself is looked at


def _mqtt(patient: Patient, section: dict[str, Any]) -> Iterator[Line]:
    if section.get("mode", "embedded") != "external":
        yield ok("broker", "the node itself: it acknowledges what is durable")
        return
    host, port = str(section.get("host", "127.0.0.1")), int(section.get("port", 1883))
    if _answers(host, port):
        yield ok("broker", f"{host}:{port} takes connections")
    else:
        yield fail("broker", f"{host}:{port} takes no connection", "start it, or mend host and port in the settings")
    loopback = host in {"127.0.0.1", "::1", "localhost"}
    if not loopback and not section.get("ca_file"):
        yield fail("broker", f"readings and passwords go to {host} in the clear", "give ca_file, and a TLS port")
    found = [path for path in patient.mosquitto if path.is_file()]
    if not found:
        to_do = "name it with --mosquitto: Mosquitto's defaults drop all but 1,000 messages"
        yield warn("broker's queue", "its configuration is not on this machine", to_do)
    for path in found:
        yield from dangers(path)


def dangers(path: Path) -> Iterator[Line]:
    """Yield what in a Mosquitto configuration loses data; its own defaults do."""
    what, words = f"broker's {path.name}", dict(_options(path))
    found = []
    queued = int(words.get("max_queued_messages", "1000"))
    if 0 < queued < _QUEUE:
        found.append(f"max_queued_messages {queued}: the rest is dropped while the node is away")
    if words.get("persistence", "false") != "true":
        found.append("persistence false: a restart of the broker loses what waits")
    elif int(words.get("autosave_interval", "1800")) > 60:
        found.append(f"autosave_interval {words.get('autosave_interval', '1800')} s: a crash loses as much")
    if words.get("allow_anonymous", "false") == "true":
        found.append("allow_anonymous true: anyone may send readings")
    if not found:
        yield ok(what, "keeps what it takes")
    for one in found:
        yield warn(what, one, "see 'Use Mosquitto as the broker': the node writes a configuration that keeps")


def _options(path: Path) -> Iterator[tuple[str, str]]:
    for line in path.read_text(errors="replace").splitlines():
        found = re.match(r"\s*([a-z_]+)\s+(.+?)\s*$", line)
        if found:
            yield found[1], found[2]
            if found[1] == "include_dir":
                for more in sorted(Path(found[2]).glob("*.conf")):
                    yield from _options(more)
