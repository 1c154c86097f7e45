"""Which network addresses may be connected to, where strangers say where to: the same rule for all who connect.

A name is looked up, the address checked, and that very address given back to be connected to: a name that leads
elsewhere a moment later leads nowhere. Addresses of the machine itself, of the link, of groups and of nobody are
refused unless the settings allow them: on such an address other services of the node's machine, or of a cloud's, may listen.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence

from gridspine.kernel.errors import Invalid, Unavailable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class AddressRule:
    """``allow`` are networks that may be connected to besides those that may by default; ``only``, if any, are all.

    ``section`` names the settings they are of, for who is refused. Raises `Invalid` for what is no network.
    """

    def __init__(self, allow: Sequence[str], only: Sequence[str], section: str) -> None:
        self._section = section
        self._allow = [self._network(text, "allow") for text in allow]
        self._only = [self._network(text, "only") for text in only]

    async def find(self, name: str, port: int) -> Address:
        """Return an address of ``name`` that may be connected to; raise `Invalid`, or `Unavailable` if unknown."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise Unavailable(f"{name[:100]} cannot be looked up") from error
        for *_, address in found:
            ip = ipaddress.ip_address(str(address[0]).partition("%")[0])
            if self.permits(ip):
                return ip
        raise Invalid(f"{name[:100]} is at no address that may be connected to: see {self._section}.allow")

    def permits(self, ip: Address) -> bool:
        """Whether ``ip`` may be connected to."""
        plain = getattr(ip, "ipv4_mapped", None) or ip
        if self._only:
            return any(plain.version == one.version and plain in one for one in self._only)
        if any(plain.version == one.version and plain in one for one in self._allow):
            return True
        return not (
            plain.is_loopback or plain.is_link_local or plain.is_multicast or plain.is_unspecified or plain.is_reserved
        )

    def _network(self, text: str, field: str) -> Network:
        try:
            return ipaddress.ip_network(text, strict=False)
        except ValueError as error:
            raise Invalid(f"{self._section}.{field}: {error}") from error
