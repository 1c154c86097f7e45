"""Seats for connections: so many in all, so many for one peer address, given at the door before any work is done."""

import resource
from collections import Counter
from collections.abc import Callable

from gridspine.infra.identity.limit import network

_OWN_FILES = 256
"""File descriptors kept for the node's own files, pipes and outgoing connections."""


class Seats:
    """Counts open connections; ``most`` in all, ``most_of_one`` of one address (of IPv6: of one /64)."""

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most, self._most_of_one = min(most, _descriptors()), most_of_one
        self._taken: Counter[str] = Counter()
        self.taken = 0
        """Connections that are open, handshakes under way included."""
        self.refused = 0
        """Connections that were not taken since the start."""

    def take(self, address: str) -> Callable[[], None] | None:
        """Give a seat to a peer and return what gives it back, once; None when there is none."""
        peer = network(address)
        if self.taken >= self._most or self._taken[peer] >= self._most_of_one:
            self.refused += 1
            return None
        self.taken += 1
        self._taken[peer] += 1
        return _Seat(self, peer).leave

    def free(self, peer: str) -> None:
        """Take a seat back."""
        self.taken -= 1
        self._taken[peer] -= 1
        if not self._taken[peer]:
            del self._taken[peer]


class _Seat:
    __slots__ = ("_peer", "_seats")

    def __init__(self, seats: Seats, peer: str) -> None:
        self._seats: Seats | None = seats
        self._peer = peer

    def leave(self) -> None:
        """Give the seat back; again is no harm."""
        seats, self._seats = self._seats, None
        if seats is not None:
            seats.free(self._peer)


def _descriptors() -> int:
    """Return how many connections the limit of open files leaves room for."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(16, soft - _OWN_FILES) if soft != resource.RLIM_INFINITY else 1 << 30


def open_as_many_files_as_allowed() -> None:
    """Raise this process's limit of open files as far as it may: the usual 1,024 are few for a node."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard and hard != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
