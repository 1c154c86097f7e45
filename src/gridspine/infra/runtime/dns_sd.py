"""DNS-SD in the local network: what is announced there, and what others announce. Extra ``discovery``.

The node announces its directory of Things, an adapter may announce what it serves, and whoever looks for a server
finds those that are announced.

The directory is two services: ``_wot._tcp``, and ``_directory._sub._wot._tcp`` for those who ask for directories only;
TXT says where the description is (``td``), by which scheme, and that it is a directory (``type``).

Sources: W3C WoT Discovery (Recommendation of 5 December 2023), §6.3 DNS-Based Service Discovery; RFC 6763 (DNS-SD) §6
TXT, §7.1 subtypes; RFC 6762 (mDNS). The library answers one type a service: the two have instance names of their own.
"""

import asyncio
import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from zeroconf import InterfaceChoice, IPVersion, ServiceInfo, ServiceStateChange
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

SERVICE, DIRECTORY = "_wot._tcp.local.", "_directory._sub._wot._tcp.local."
TD_PATH = "/.well-known/wot"
MAX_FOUND, ASK_MS = 64, 2_000
"""Services that one look finds at most; how long each is asked where it is [ms]."""


class Announcement:
    """A node announced until `close`."""

    def __init__(self, zeroconf: AsyncZeroconf) -> None:
        self._zeroconf = zeroconf

    async def close(self) -> None:
        """Take the announcement back."""
        try:
            await self._zeroconf.async_unregister_all_services()
        finally:
            await self._zeroconf.async_close()


async def announce(name: str, host: str, port: int, addresses: Sequence[str], scheme: str = "https") -> Announcement:
    """Announce the directory at ``host`` (a name in ``.local`` or an address's) and ``port``, reached by ``addresses``.

    Only in the networks of these addresses; an unspecified one means all networks.
    """
    text = {"td": TD_PATH, "type": "Directory", "scheme": scheme}
    kinds = ((SERVICE, f"{_label(name)}.{SERVICE}"), (DIRECTORY, f"{_label(f'{name} directory')}.{SERVICE}"))
    return await _announced(kinds, host, port, addresses, text)


async def announce_service(
    service: str, name: str, host: str, port: int, addresses: Sequence[str], text: Mapping[str, str]
) -> Announcement:
    """Announce ``name`` as a ``service`` (``_http._tcp.local.``), with TXT ``text`` in that order; see `announce`."""
    return await _announced(((service, f"{_label(name)}.{service}"),), host, port, addresses, dict(text))


class Found(NamedTuple):
    """A service that somebody announces: its instance's name, where it is, and its TXT by lower-case keys.

    ``host`` is a name of this network, ``addresses`` are its own; a key without a value has None.
    """

    instance: str
    host: str
    port: int
    addresses: tuple[str, ...]
    text: Mapping[str, str | None]


async def browse(service: str, wait_s: float, addresses: Sequence[str] = ()) -> list[Found]:
    """Return who announces ``service`` within ``wait_s`` [s], in the networks of ``addresses``, or in all."""
    zeroconf, names = _responder(addresses)[0], dict[str, None]()

    def told(name: str, state_change: ServiceStateChange, **_more: Any) -> None:
        if state_change is ServiceStateChange.Added and len(names) < MAX_FOUND:
            names[name] = None

    try:
        browser = AsyncServiceBrowser(zeroconf.zeroconf, service, handlers=[told])
        await asyncio.sleep(wait_s)
        await browser.async_cancel()
        infos = [AsyncServiceInfo(service, name) for name in sorted(names)]
        known = await asyncio.gather(*(one.async_request(zeroconf.zeroconf, ASK_MS) for one in infos))
        return [_found(one, service) for one, is_known in zip(infos, known, strict=True) if is_known]
    finally:
        await zeroconf.async_close()


def _found(info: ServiceInfo, service: str) -> Found:
    instance = info.name.removesuffix(f".{service}")
    text = {key.lower(): value for key, value in info.decoded_properties.items()}
    host = (info.server or "").rstrip(".")
    return Found(instance, host, info.port or 0, tuple(info.parsed_addresses()), text)


def _responder(addresses: Sequence[str]) -> tuple[AsyncZeroconf, list[ipaddress.IPv4Address | ipaddress.IPv6Address]]:
    known = [one for one in map(ipaddress.ip_address, addresses) if not one.is_unspecified]
    everywhere = len(known) < len(addresses) or not known
    interfaces = InterfaceChoice.All if everywhere else [str(one) for one in known]
    return AsyncZeroconf(interfaces=interfaces, ip_version=IPVersion.V4Only), known


async def _announced(
    kinds: Sequence[tuple[str, str]], host: str, port: int, addresses: Sequence[str], text: dict[str, str]
) -> Announcement:
    zeroconf, known = _responder(addresses)
    try:
        for kind, instance in kinds:
            info = ServiceInfo(
                kind, instance, port=port, properties=text, server=f"{host.rstrip('.')}.",
                addresses=[one.packed for one in known] or None,
            )  # fmt: skip
            await (await zeroconf.async_register_service(info, allow_name_change=True))
    except BaseException:
        await zeroconf.async_close()
        raise
    return Announcement(zeroconf)


def _label(text: str) -> str:
    """Return a text as one label of a name: 63 bytes at most, without dots (RFC 6763 §4.1.1)."""
    return text.replace(".", " ").encode()[:63].decode("utf-8", "ignore")
