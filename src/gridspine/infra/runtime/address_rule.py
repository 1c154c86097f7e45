"""Which network addresses may be connected to, where strangers say where to: the same rule for all who connect.

A name is looked up, the address checked, and that very address given back to be connected to: a name that leads
elsewhere a moment later leads nowhere. Refused, unless the settings allow them, are addresses of the machine itself
(loopback, and those of its interfaces when it is asked), of the link, of a carrier's or a cloud's inside, of groups and
of nobody: on such an address other services of the node's machine, or of a cloud's, may listen.

Sources: RFC 6598 (100.64.0.0/10, shared address space, where a cloud's metadata service may be too); the metadata
services' own IPv6 addresses as known in the field, their vendors' pages were not read.
"""

import asyncio
import functools
import ipaddress
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from gridspine.kernel.errors import Invalid, Unavailable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_INSIDE: tuple[Network, ...] = (
    ipaddress.ip_network("100.64.0.0/10"),
    ipaddress.ip_network("fd00:ec2::254/128"),
    ipaddress.ip_network("fd20:ce::254/128"),
)
"""A carrier's inside, and where clouds tell a machine its secrets; the usual 169.254.169.254 is of the link."""
_LOOK_UPS = ThreadPoolExecutor(max_workers=8, thread_name_prefix="names")
"""Apart from the threads that passwords are checked by; one starts when a name is looked up."""
_NOBODY = {4: ipaddress.ip_address("192.0.2.1"), 6: ipaddress.ip_address("2001:db8::1")}
"""Addresses of documents (RFC 5737, RFC 3849): no machine has them."""


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
            found = [ipaddress.ip_address(name)]  # an address needs nobody to look it up
        except ValueError:
            found = await _look_up(name, port)
        for ip in found:
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
        if plain.is_loopback or plain.is_link_local or plain.is_multicast or plain.is_unspecified or plain.is_reserved:
            return False
        return not any(plain.version == one.version and plain in one for one in _INSIDE) and not is_own(plain)

    def _network(self, text: str, field: str) -> Network:
        try:
            return ipaddress.ip_network(text, strict=False)
        except ValueError as error:
            raise Invalid(f"{self._section}.{field}: {error}") from error


async def _look_up(name: str, port: int) -> list[Address]:
    """Return the addresses of a name; raise `Unavailable`. Names that nobody knows keep waiting other names only."""
    ask = functools.partial(socket.getaddrinfo, name, port, type=socket.SOCK_STREAM)
    try:
        found = await asyncio.get_running_loop().run_in_executor(_LOOK_UPS, ask)
    except (OSError, UnicodeError) as error:
        raise Unavailable(f"{name[:100]} cannot be looked up") from error
    return [ipaddress.ip_address(str(address[0]).partition("%")[0]) for *_, address in found]


def is_own(ip: Address) -> bool:
    """Whether ``ip`` is one of this machine's addresses now: they come and go, so the system is asked each time."""
    if not _takes(ip):
        return False
    # Where programs may take any address (net.ipv4.ip_nonlocal_bind), only the way there tells: it ends where it began.
    return not _takes(_NOBODY[ip.version]) or _speaks_from(ip) == ip


def _takes(ip: Address) -> bool:
    """Whether a socket can be bound to ``ip``; nothing is sent."""
    try:
        with _socket(ip) as made:
            made.bind((str(ip), 0))
    except OSError:
        return False
    return True


def _speaks_from(ip: Address) -> Address | None:
    """Return the address that the system would speak to ``ip`` from, None where no way leads there; nothing is sent."""
    try:
        with _socket(ip) as made:
            made.connect((str(ip), 9))
            return ipaddress.ip_address(str(made.getsockname()[0]).partition("%")[0])
    except OSError:
        return None


def _socket(ip: Address) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ip.version == 6 else socket.AF_INET, socket.SOCK_DGRAM)
