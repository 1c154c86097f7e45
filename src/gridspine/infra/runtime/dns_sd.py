"""The node announced in the local network by DNS-SD, for those who look for directories of Things. Extra ``discovery``.

Two services: ``_wot._tcp``, and ``_directory._sub._wot._tcp`` for those who ask for directories only; TXT says where
the description is (``td``), by which scheme, and that it is a directory (``type``).

Sources: W3C WoT Discovery (Recommendation of 5 December 2023), §6.3 DNS-Based Service Discovery; RFC 6763 (DNS-SD) §6
TXT, §7.1 subtypes; RFC 6762 (mDNS). The library answers one type a service: the two have instance names of their own.
"""

import ipaddress
from collections.abc import Sequence

from zeroconf import InterfaceChoice, IPVersion, ServiceInfo
from zeroconf.asyncio import AsyncZeroconf

SERVICE, DIRECTORY = "_wot._tcp.local.", "_directory._sub._wot._tcp.local."
TD_PATH = "/.well-known/wot"


class Announcement:
    """A node announced until `close`."""

    def __init__(self, zeroconf: AsyncZeroconf) -> None:
        self._zeroconf = zeroconf

    async def close(self) -> None:
        """Take the announcement back."""
        await self._zeroconf.async_unregister_all_services()
        await self._zeroconf.async_close()


async def announce(name: str, host: str, port: int, addresses: Sequence[str], scheme: str = "https") -> Announcement:
    """Announce the directory at ``host`` (a name in ``.local`` or an address's) and ``port``, reached by ``addresses``.

    Only in the networks of these addresses; an unspecified one means all networks.
    """
    known = [one for one in map(ipaddress.ip_address, addresses) if not one.is_unspecified]
    everywhere = len(known) < len(addresses) or not known
    zeroconf = AsyncZeroconf(
        interfaces=InterfaceChoice.All if everywhere else [str(one) for one in known], ip_version=IPVersion.V4Only
    )
    text = {"td": TD_PATH, "type": "Directory", "scheme": scheme}
    try:
        for kind, instance in ((SERVICE, name), (DIRECTORY, f"{name} directory")):
            info = ServiceInfo(
                kind, f"{_label(instance)}.{SERVICE}", port=port, properties=text, server=f"{host.rstrip('.')}.",
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
