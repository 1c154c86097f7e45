"""Counting both ends: what devices sent, what the node stored, and what got lost between.

A device that counts its messages (`gridspine.adapters.mqtt.wire.Count`) makes loss inside a broker visible. The
window remembers which of the last messages came, as anti-replay windows do (RFC 4303 §3.4.3), so that a message
that comes late takes its loss back and one that comes twice counts once.

::

    seq     96 97 98 99 100          high = 100
    seen     1  1  0  1   1          98 is lost … until it comes
"""

import contextlib
import logging
from typing import Any

import msgspec

from gridspine.adapters.mqtt.wire import Count
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.time import US
from gridspine.things.adapter import Outcome, PrivateStore

log = logging.getLogger(__name__)

WINDOW = 16_384
"""Messages a late one may be behind: clients that reconnect send old and new ones side by side."""
_FULL = (1 << WINDOW) - 1
_QUIET_US = 10 * US
_STORE_KEY = "sequences"


class Sequence:
    """The window over one device's count; ``lost`` may fall again when a message comes late."""

    __slots__ = ("high", "lost", "repeated", "run", "seen", "sure", "uncertain")

    def __init__(self, high: int = -1, run: str = "", *, sure: bool = True, seen: int = _FULL) -> None:
        self.high = high
        self.run = run
        self.seen = seen
        self.sure = sure
        self.lost = 0
        self.uncertain = 0
        self.repeated = 0

    def note(self, count: Count) -> int:
        """Take in a message's count; return how much ``lost`` changed.

        The first message after an unclean stop tells an upper bound only: what lies between it and the last
        checkpoint is ``uncertain``, not lost.
        """
        ahead = count.seq - self.high
        if self.high < 0 or count.run != self.run or ahead <= -WINDOW or (count.seq == 0 and self.high > 0):
            return self._start(count)
        if ahead <= 0:
            return self._late(-ahead)
        self.high = count.seq
        self.seen = ((self.seen << ahead) | 1) & _FULL if ahead < WINDOW else 1
        if not self.sure:
            self.uncertain += ahead - 1
            self.seen = _FULL
            self.sure = True
            return 0
        self.lost += ahead - 1
        return ahead - 1

    def note_all(self, counts: list[Count]) -> int:
        """Take in counts in order; as `note` one by one, with what follows without a gap taken in at once."""
        lost, at = 0, 0
        while at < len(counts):
            lost += self.note(counts[at])
            at += 1
            follow = self._following(counts, at)
            if follow:
                self.seen = ((self.seen << follow) | ((1 << follow) - 1)) & _FULL
                self.high += follow
                at += follow
        return lost

    def _following(self, counts: list[Count], at: int) -> int:
        """Return how many counts from ``at`` on each are the next of this run."""
        high, run, first = self.high, self.run, at
        while at < len(counts) and counts[at].seq == high + 1 and counts[at].run == run:
            high += 1
            at += 1
        return at - first

    def _start(self, count: Count) -> int:
        self.high, self.run, self.seen, self.sure = count.seq, count.run, _FULL, True
        return 0

    def _late(self, behind: int) -> int:
        if self.seen >> behind & 1:
            self.repeated += 1
            return 0
        self.seen |= 1 << behind
        self.lost -= 1
        return -1


class ClientCounters:
    """Messages of one client. ``received = stored + refused + turned_away`` once nothing is under way.

    ``stored``: intake returned. ``refused``: unreadable or not permitted. ``turned_away``: not kept for overload or
    a full disk, not acknowledged, to be sent again. ``readings``, ``readings_refused``: what intake counted.
    """

    __slots__ = ("readings", "readings_refused", "received", "refused", "sequence", "stored", "turned_away")

    def __init__(self) -> None:
        self.received = self.stored = self.refused = self.turned_away = 0
        self.readings = self.readings_refused = 0
        self.sequence = Sequence()

    @property
    def sent(self) -> int:
        """Messages the device sent as far as can be known: those that came, and those that its count says did not."""
        return self.received + self.sequence.lost

    @property
    def lost(self) -> int:
        """Messages the device counted and the node never got."""
        return self.sequence.lost

    def took(self, outcome: Outcome, *, messages: int = 1, unreadable: int = 0) -> None:
        """Count messages whose intake returned: of ``unreadable`` ones intake kept a problem each, and no reading."""
        self.stored += messages - unreadable
        self.refused += unreadable
        self.readings += outcome.received - unreadable
        self.readings_refused += outcome.refused - unreadable

    def as_dict(self) -> dict[str, int]:
        """Return all counts by name."""
        names = ("received", "stored", "refused", "turned_away", "readings", "readings_refused")
        counts = {name: int(getattr(self, name)) for name in names}
        sequence = self.sequence
        return {"sent": self.sent, "lost": self.lost, "uncertain": sequence.uncertain, **counts}


class Counters:
    """Counters of all clients, and their checkpoint in the adapter's private store."""

    def __init__(self, clock: Clock, store: PrivateStore) -> None:
        self.clients: dict[str, ClientCounters] = {}
        self._clock = clock
        self._store = store
        self._reported: dict[str, dict[str, int]] = {}
        self._loss_logged_us: dict[str, int] = {}

    def of(self, client: str) -> ClientCounters:
        """Return the counters of ``client``; there are as many as devices may sign in."""
        found = self.clients.get(client)
        if found is None:
            found = self.clients[client] = ClientCounters()
        return found

    def note(self, client: str, counts: list[Count]) -> None:
        """Take in messages' own counts, in order; loss is logged as it is seen, at most every 10 s a client."""
        counters = self.of(client)
        if counters.sequence.note_all(counts) <= 0:
            return
        now_us = self._clock.monotonic_us()
        if now_us - self._loss_logged_us.get(client, -_QUIET_US) >= _QUIET_US:
            self._loss_logged_us[client] = now_us
            log.warning("messages lost before the node: client=%s lost=%d", client, counters.lost)

    def totals(self) -> dict[str, int]:
        """Return the sum over all clients, by name."""
        totals = dict.fromkeys(ClientCounters().as_dict(), 0)
        for counters in self.clients.values():
            for name, number in counters.as_dict().items():
                totals[name] += number
        return totals

    def report(self) -> None:
        """Log the counters of every client whose counters moved since the last report."""
        for client, counters in self.clients.items():
            counts = counters.as_dict()
            if counts != self._reported.get(client):
                self._reported[client] = counts
                log.info("messages: client=%s %s", client, " ".join(f"{name}={n}" for name, n in counts.items()))

    async def load(self) -> None:
        """Take up the counts where the last run left them."""
        body = await self._store.get(_STORE_KEY)
        with contextlib.suppress(msgspec.MsgspecError, KeyError, TypeError, ValueError):
            saved: dict[str, Any] = msgspec.json.decode(body) if body else {"clean": True, "clients": {}}
            for client, (high, run, missing) in saved["clients"].items():
                seen = (int(missing, 16) & _FULL) ^ _FULL
                self.of(client).sequence = Sequence(high, run, sure=bool(saved["clean"]), seen=seen)

    async def save(self, *, clean: bool) -> None:
        """Keep the counts; ``clean`` at an orderly end only, when no message can follow unseen."""
        clients = {
            client: (counters.sequence.high, counters.sequence.run, f"{counters.sequence.seen ^ _FULL:x}")
            for client, counters in self.clients.items()
            if counters.sequence.high >= 0
        }
        await self._store.put(_STORE_KEY, msgspec.json.encode({"clean": clean, "clients": clients}))
