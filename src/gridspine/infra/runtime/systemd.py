"""What systemd is told of a service of ``Type=notify``: ready, stopping, and that it still lives (sd_notify(3))."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable

READY, STOPPING, ALIVE = "READY=1", "STOPPING=1", "WATCHDOG=1"


def notify(*states: str) -> None:
    """Tell the service manager; where there is none, or it does not listen, nothing happens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # Linux' abstract names begin with a zero byte
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.connect(address)
        manager.sendall("\n".join(states).encode())


def watchdog_s() -> float:
    """Return how often a sign of life is wanted [s]: half of what the manager waits; 0 for never."""
    text, process = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not text.isdigit() or (process and process != str(os.getpid())):
        return 0.0
    return int(text) / 2e6


async def keep_alive(is_alive: Callable[[], bool]) -> None:
    """Send signs of life from the event loop while ``is_alive()``; without them the manager starts the node anew."""
    every_s = watchdog_s()
    while every_s:
        if is_alive():
            notify(ALIVE)
        await asyncio.sleep(every_s)
