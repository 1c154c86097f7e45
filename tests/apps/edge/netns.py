"""Three machines that are one: node, edge and device in network namespaces of their own, joined by two cables.

::

    [node] 10.207.1.1 ─── 10.207.1.2 [edge] 10.207.2.1 ─── 10.207.2.2 [device]
"""

import contextlib
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator

NODE, EDGE, EDGE_FIELD, DEVICE = "10.207.1.1", "10.207.1.2", "10.207.2.1", "10.207.2.2"


def why_not() -> str:
    """Return why namespaces cannot be had here, "" when they can."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return "network namespaces need root and iproute2"
    name = f"gs-try-{uuid.uuid4().hex[:6]}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False)
    if made.returncode == 0:
        subprocess.run(["ip", "netns", "del", name], check=False)
    return "" if made.returncode == 0 else f"network namespaces are not allowed: {made.stderr.decode().strip()}"


class Machines:
    """The three, by the names of their namespaces."""

    def __init__(self) -> None:
        tag = uuid.uuid4().hex[:6]
        self.node, self.edge, self.device = (f"gs-{tag}-{name}" for name in ("node", "edge", "device"))
        self.cables = {"up": f"gsu{tag}", "down": f"gsd{tag}"}

    def inside(self, namespace: str, *command: str) -> list[str]:
        """Return ``command`` as it is run in ``namespace``."""
        return ["ip", "netns", "exec", namespace, *command]

    def cable(self, name: str, state: str) -> None:
        """Plug the edge's end of a cable in ("up") or pull it ("down")."""
        _ip("-n", self.edge, "link", "set", self.cables[name], state)

    def build(self) -> None:
        """Make the namespaces and their cables."""
        for one in (self.node, self.edge, self.device):
            _ip("netns", "add", one)
            _ip("-n", one, "link", "set", "lo", "up")
        self._join("up", self.node, f"{NODE}/24", f"{EDGE}/24")
        self._join("down", self.device, f"{DEVICE}/24", f"{EDGE_FIELD}/24")

    def _join(self, name: str, other: str, other_address: str, edge_address: str) -> None:
        mine, theirs = self.cables[name], f"{self.cables[name]}x"
        _ip("-n", self.edge, "link", "add", mine, "type", "veth", "peer", "name", theirs, "netns", other)
        for namespace, device, address in ((self.edge, mine, edge_address), (other, theirs, other_address)):
            _ip("-n", namespace, "address", "add", address, "dev", device)
            _ip("-n", namespace, "link", "set", device, "up")

    def remove(self) -> None:
        """Take everything away."""
        for one in (self.node, self.edge, self.device):
            subprocess.run(["ip", "netns", "del", one], capture_output=True, check=False)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr.decode()}"


@contextlib.contextmanager
def machines() -> Iterator[Machines]:
    """The three machines for the length of a block."""
    made = Machines()
    try:
        made.build()
        yield made
    finally:
        made.remove()
