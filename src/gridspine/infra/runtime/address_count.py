"""Connections counted by the address they come from, so that one address does not take the places of all others."""

import ipaddress
from collections import Counter


class AddressCount:
    """At most ``most`` at once from one address; IPv6 addresses count by their first 64 bits: one host's."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[str] = Counter()

    def enter(self, address: str) -> bool:
        """Count one more from ``address``; False, and nothing counted, when it has its number already."""
        name = _counted(address)
        if self._open[name] >= self._most:
            return False
        self._open[name] += 1
        return True

    def leave(self, address: str) -> None:
        """Count one less: for each `enter` that was True."""
        name = _counted(address)
        self._open[name] -= 1
        if not self._open[name]:
            del self._open[name]


def _counted(address: str) -> str:
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if found.version == 6 and found.ipv4_mapped is None:
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found.ipv4_mapped if found.version == 6 else found)
