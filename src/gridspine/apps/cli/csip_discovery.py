"""Utilities' servers of IEEE 2030.5 in the local network, found by DNS-SD, and named in the settings.

Source: IEEE 2030.5-2018 7.3 to 7.6, as the open client py20305 reads them; the clauses themselves were not read: the
port of TLS is in TXT (``https``, 443 without a value), not in SRV; ``txtvers`` is 1; ``dcap`` and ``level`` are needed.
"""

import ipaddress
import json
import os
import socket
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gridspine.apps.node.paths import settings_file
from gridspine.infra.runtime.settings import load_settings
from gridspine.kernel.errors import Conflict, Invalid, NotFound, Unavailable

SERVICE, ADAPTER = "_smartenergy._tcp.local.", "ieee2030_5"
LOOK_S = 3.0
"""How long servers may take to answer [s]."""


class Server(NamedTuple):
    """A server that announces itself: by which name, and the URL of its DeviceCapability."""

    name: str
    url: str


async def servers(wait_s: float = LOOK_S, addresses: Sequence[str] = ()) -> list[Server]:
    """Return the servers in the local networks (of ``addresses``), by name; raise `Unavailable` without the extra."""
    try:
        from gridspine.infra.runtime.dns_sd import browse  # an extra
    except ImportError as error:
        raise Unavailable("servers are found by DNS-SD: install gridspine[discovery]") from error
    try:
        found = await browse(SERVICE, wait_s, addresses)
    except OSError as error:
        raise Unavailable(f"nobody can be looked for in this network: {error}") from error
    return read((one.instance, one.host, one.addresses, one.text) for one in found)


def read(
    found: Iterable[tuple[str, str, Sequence[str], Mapping[str, str | None]]],
    resolves: Callable[[str], bool] | None = None,
) -> list[Server]:
    """Return the servers among services: instance, host, addresses and TXT of each; those that say too little are none.

    ``resolves`` is whether a host's name leads anywhere from here; where it does not, its address is taken.
    """
    known = []
    for instance, host, addresses, text in found:
        path, port, at = text.get("dcap") or "", _port(text), _host(host, addresses, resolves or _resolves)
        rooted = path.startswith("/") and not path.startswith("//") and path.isascii() and path.isprintable()
        if text.get("txtvers") != "1" or not text.get("level") or not rooted or not port or not at:
            continue
        name = "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in instance)
        known.append(Server(name, f"https://{at}:{port}{path}"))
    return sorted(known)


def chosen(found: Sequence[Server], instance: str = "") -> Server:
    """Return the one server, or the one of that name; raise `NotFound`, or `Conflict` where there are several."""
    wanted = [one for one in found if instance in {"", one.name}]
    shown = "".join(f"\n  {one.name}: {one.url}" for one in found)
    if not wanted:
        raise NotFound(f"no server announces itself here{shown and ', but'}{shown}")
    if len(wanted) > 1:
        raise Conflict(f"several servers announce themselves: name one by --instance{shown}")
    return wanted[0]


def add_utility(data: Path, name: str, url: str, certificate: Path, key: Path, ca: Path) -> Path:
    """Name a server in the settings of ``data``, and return their file; raise `Conflict` where ``name`` is there."""
    path = settings_file(data) or data / "settings.toml"
    before = path.read_text() if path.exists() else ""
    known: dict[str, Any] = tomllib.loads(before)
    section = known.get("adapters", {}).get("settings", {}).get(ADAPTER, {})
    if name in section.get("utilities", {}):
        raise Conflict(f"the settings know a utility {name!r} already: leave out --discover")
    for file in (certificate, key, ca):
        if not file.is_file():
            raise Invalid(f"{file}: there is no such file")
    fields = {
        "url": url,
        **{k: str(one.absolute()) for k, one in (("certificate", certificate), ("key", key), ("ca", ca))},
    }
    lines = [f"[adapters.settings.{ADAPTER}.utilities.{json.dumps(name)}]"]
    lines += [f"{field} = {json.dumps(value, ensure_ascii=False)}" for field, value in fields.items()]
    after = before.rstrip("\n") + "\n\n" + "\n".join(lines) + "\n"
    made = path.with_name(path.name + ".new")
    try:
        made.unlink(missing_ok=True)
        with open(made, "x", opener=lambda at, flags: os.open(at, flags, 0o600)) as fresh:  # nobody else's meanwhile
            fresh.write(after)
        made.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o600)
        load_settings(made)
        made.replace(path)
    except (Invalid, tomllib.TOMLDecodeError) as error:
        raise Invalid(f"{path}: the server cannot be added, do it by hand:\n" + "\n".join(lines)) from error
    finally:
        made.unlink(missing_ok=True)
    return path


def _port(text: Mapping[str, str | None]) -> int:
    """Return the port of TLS, 0 where there is none."""
    if "https" not in text:
        return 0
    said = text["https"] or "443"
    return int(said) if said.isascii() and said.isdigit() and len(said) < 6 and 0 < int(said) < 65_536 else 0


def _host(host: str, addresses: Sequence[str], resolves: Callable[[str], bool]) -> str:
    """Return what to reach a server by: its name, else an address that is no link's; "" for none."""
    plain = host.isascii() and host.replace("-", "").replace(".", "").isalnum()
    if plain and resolves(host):
        return host
    usable = [one for one in map(ipaddress.ip_address, addresses) if not (one.is_link_local or one.is_unspecified)]
    first = next(iter(sorted(usable, key=lambda one: one.version)), None)
    return "" if first is None else f"[{first}]" if first.version == 6 else str(first)


def _resolves(host: str) -> bool:
    try:
        return bool(socket.getaddrinfo(host, None))
    except OSError:
        return False
