"""A Mosquitto configuration that keeps what it takes: written from the node's bindings.

Out of the box Mosquitto holds 1,000 messages for a client that is away or slow and drops the rest, after it
acknowledged them to their devices. This one holds ``max_queued_messages``, lets nobody in without a certificate or
password, and lets each device write and read only the topics of its own Things. It is still a hop with its own
guarantee: beyond its queue it drops, and a power cut costs what it took since the last ``autosave_interval`` [s];
devices that count their messages make both visible (`gridspine.adapters.mqtt.counters`).

Reference: mosquitto.conf(5) of Mosquitto 2.0.

::

    device ── TLS, certificate, CN = username ──→ listener 8883 ─┐
                                                                 ├─ acl: pattern gridspine/%u/…, user …
    node ──── password, loopback ───────────────→ listener 1883 ─┘
"""

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from gridspine.adapters.mqtt.topics import PREFIX, Routes, ThingTopics, encode_thing, usual_topic
from gridspine.kernel.errors import Invalid

ITERATIONS = 10_000
_SALT_BYTES = 12
_KEY_BYTES = 64
_SECRET_MODE = 0o600


class Tls(msgspec.Struct, frozen=True):
    """The listener devices come to, each with a certificate of ``ca_file`` whose common name is its username."""

    ca_file: str
    certificate_file: str
    key_file: str
    host: str = "127.0.0.1"
    port: int = 8883


class MosquittoSettings(msgspec.Struct, frozen=True):
    """What the configuration says.

    ``password_port`` is a listener for passwords, without TLS and therefore on loopback only (0: none). At most
    ``max_queued_messages`` wait for the node; it is a bound, sized for about a day of 10 messages a second.
    ``run_as`` is the user Mosquitto becomes when started as root ("" leaves it to Mosquitto).
    """

    node_username: str = "gridspine-node"
    tls: Tls | None = None
    password_port: int = 1883
    max_inflight_messages: int = 20_000
    max_queued_messages: int = 1_000_000
    max_packet_bytes: int = 262_144
    max_connections: int = 10_000
    autosave_interval_s: int = 10
    run_as: str = ""


def write_mosquitto(
    folder: Path,
    settings: MosquittoSettings,
    routes: Routes,
    *,
    passwords: Mapping[str, str],
    randbytes: Callable[[int], bytes],
) -> Path:
    """Write ``mosquitto.conf``, ``acl`` and ``passwords`` to ``folder``; return the path of the first.

    ``passwords`` by username are written hashed; ``randbytes`` gives their salts. The folder also takes Mosquitto's
    own data. Raises `Invalid` for a name that would not stay on its line.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_secret(folder / "passwords", password_lines(passwords, randbytes))
    _write_secret(folder / "acl", acl_lines(routes, settings.node_username))
    path = folder / "mosquitto.conf"
    path.write_text("\n".join(configuration_lines(folder, settings)) + "\n")
    return path


def configuration_lines(folder: Path, settings: MosquittoSettings) -> list[str]:
    """Return the lines of ``mosquitto.conf``."""
    lines = [
        "per_listener_settings false",
        "allow_anonymous false",
        f"acl_file {folder / 'acl'}",
        f"password_file {folder / 'passwords'}",
        "persistence true",
        f"persistence_location {folder}/",
        f"autosave_interval {settings.autosave_interval_s}",
        f"max_inflight_messages {settings.max_inflight_messages}",
        f"max_queued_messages {settings.max_queued_messages}",
        "max_queued_bytes 0",
        f"message_size_limit {settings.max_packet_bytes}",
        "queue_qos0_messages false",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        "log_type notice",
    ]
    if settings.run_as:
        lines.append(f"user {_one_line(settings.run_as)}")
    if settings.password_port:
        lines += [f"listener {settings.password_port} 127.0.0.1", f"max_connections {settings.max_connections}"]
    if settings.tls is not None:
        lines += _tls_lines(settings.tls, settings.max_connections)
    if not settings.password_port and settings.tls is None:
        raise Invalid("Mosquitto needs a listener: tls, or a password_port")
    return lines


def acl_lines(routes: Routes, node_username: str) -> list[str]:
    """Return the lines of the access list: what each user may write and read, and nothing else."""
    lines = [
        f"user {_one_line(node_username)}",
        f"topic read {PREFIX}/+/readings",
        f"topic read {PREFIX}/+/acknowledgements",
        f"topic write {PREFIX}/+/commands",
    ]
    for topics in routes.things.values():
        lines += [f"topic read {_one_line(topic)}" for topic in _unusual(topics, _written(topics))]
        lines += [f"topic write {_one_line(topic)}" for topic in _unusual(topics, [topics.commands])]
    for username in sorted({topics.username for topics in routes.things.values()}):
        lines += _user_lines(username, [t for t in routes.things.values() if t.username == username])
    lines += [
        "",
        f"pattern write {PREFIX}/%u/readings",
        f"pattern write {PREFIX}/%u/acknowledgements",
        f"pattern read {PREFIX}/%u/commands",
    ]
    return lines


def password_lines(passwords: Mapping[str, str], randbytes: Callable[[int], bytes]) -> list[str]:
    """Return the lines of the password file, as mosquitto_passwd writes them: PBKDF2-HMAC-SHA512, kind ``$7$``."""
    lines = []
    for username, password in sorted(passwords.items()):
        if ":" in username:
            raise Invalid(f"username {username[:80]!r}: Mosquitto's password file has no room for a colon")
        salt = randbytes(_SALT_BYTES)
        key = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ITERATIONS, _KEY_BYTES)
        text = f"$7${ITERATIONS}${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}"
        lines.append(f"{_one_line(username)}:{text}")
    return lines


def _user_lines(username: str, things: Iterable[ThingTopics]) -> list[str]:
    """Return what the patterns do not say of a user: mapped topics, and Things whose topics hold no bare ``%u``."""
    lines: list[str] = []
    for topics in things:
        by_pattern = username == topics.thing == encode_thing(topics.thing)
        written = _unusual(topics, _written(topics)) if by_pattern else _written(topics)
        read = _unusual(topics, [topics.commands]) if by_pattern else [topics.commands]
        lines += [f"topic write {_one_line(topic)}" for topic in written]
        lines += [f"topic read {_one_line(topic)}" for topic in read]
    return ["", f"user {_one_line(username)}", *lines] if lines else []


def _written(topics: ThingTopics) -> list[str]:
    return [topics.readings, topics.acknowledgements, *topics.values]


def _unusual(topics: ThingTopics, chosen: Iterable[str]) -> list[str]:
    usual = {usual_topic(topics.thing, kind) for kind in ("readings", "acknowledgements", "commands")}
    return [topic for topic in chosen if topic not in usual]


def _tls_lines(tls: Tls, max_connections: int) -> list[str]:
    return [
        f"listener {tls.port} {_one_line(tls.host)}",
        f"max_connections {max_connections}",
        f"cafile {_one_line(tls.ca_file)}",
        f"certfile {_one_line(tls.certificate_file)}",
        f"keyfile {_one_line(tls.key_file)}",
        "require_certificate true",
        "use_identity_as_username true",
        "tls_version tlsv1.2",
    ]


def _one_line(text: str) -> str:
    if not text or text != text.strip() or any(ord(character) < 0x20 for character in text):
        raise Invalid(f"{text[:80]!r} does not fit on a line of a configuration")
    return text


def _write_secret(path: Path, lines: Iterable[str]) -> None:
    path.touch(mode=_SECRET_MODE)
    path.chmod(_SECRET_MODE)
    path.write_text("\n".join(lines) + "\n")
