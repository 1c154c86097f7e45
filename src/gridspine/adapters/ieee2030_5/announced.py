"""The server announced in the local network, for clients that look for one: ``_smartenergy._tcp`` by DNS-SD.

::

    TXT   txtvers=1   dcap=/dcap   https=8443   level=+S1

Source: IEEE 2030.5-2018 7.3 to 7.5, as the open client py20305 reads them; the clauses themselves were not read. The
port of TLS is the one that TXT says; that of SRV would be plain HTTP's, which is not served: there it is the same.
"""

import logging
import socket
from typing import Protocol

from gridspine.adapters.ieee2030_5.settings import Settings

log = logging.getLogger(__name__)
SERVICE = "_smartenergy._tcp.local."


class Announcement(Protocol):
    """Something that was announced."""

    async def close(self) -> None:
        """Take it back."""
        ...


async def announced(settings: Settings, host: str, port: int) -> Announcement | None:
    """Announce the server at ``host`` (an address) and ``port``; None, with the reason in the log, where that fails."""
    try:
        from gridspine.infra.runtime.dns_sd import announce_service  # an extra, and off for most
    except ImportError:
        log.warning("not announced by DNS-SD: install gridspine[discovery]")
        return None
    text = {"txtvers": "1", "dcap": f"{settings.path}/dcap", "https": str(port), "level": "+S1"}
    name = f"{socket.gethostname().partition('.')[0]}.local"
    try:
        return await announce_service(SERVICE, settings.announce, name, port, [host], text)
    except Exception as error:  # the network is no reason not to run
        log.warning("not announced by DNS-SD: %s", error)
        return None
