"""The node announced in the local network, where its settings say so and somebody there could reach it."""

import ipaddress
import socket
from typing import Protocol

import structlog

from gridspine.infra.runtime.settings import Settings

log = structlog.get_logger(__name__)


class Announced(Protocol):
    """Something that was announced."""

    async def close(self) -> None:
        """Take it back."""
        ...


async def announced(settings: Settings, port: int) -> Announced | None:
    """Announce the TLS listener at ``port``; None, with the reason in the log, where that cannot be."""
    try:
        address = ipaddress.ip_address(settings.tls.host)
    except ValueError:
        log.warning("not announced by DNS-SD: tls.host is a name; give an address", host=settings.tls.host)
        return None
    if address.is_loopback:
        log.warning("not announced by DNS-SD: tls.host is on loopback, where nobody else comes")
        return None
    try:
        from gridspine.infra.runtime.dns_sd import announce  # an extra, and off for most
    except ImportError:
        log.warning("not announced by DNS-SD: install gridspine[discovery]")
        return None
    own = f"{socket.gethostname().partition('.')[0]}.local"
    host = next((name for name in settings.tls.names if name.endswith(".local")), own)
    try:
        return await announce(settings.discovery.name or settings.organisation, host, port, [str(address)])
    except Exception as error:  # the network is no reason not to run
        log.warning("not announced by DNS-SD", error=str(error))
        return None
