"""What the node remembers of a charge point: its transactions, whatever the order in which their messages come.

::

    StartTransaction / Started ─┐
    MeterValues / Updated      ─┼─► Transaction: open ─► ended ─► recent (8, for repetitions) ─► its slot in the store
    StopTransaction / Ended    ─┘

All of it is values: who keeps them is `gridspine.adapters.ocpp.book`. A repetition changes nothing; what comes after
the end, or without its start, is taken as what it is, and nothing is thrown away for being out of order.
"""

from typing import Any

import msgspec

from gridspine.kernel.time import US

RECENT = 8
MAX_OPEN = 64
_MAX_GAPS = 128
_2020_S = 1_577_836_800
"""Transaction ids of 1.6 count seconds from here, and at least one up: even a lost store does not repeat one."""


class Transaction(msgspec.Struct, frozen=True, omit_defaults=True):
    """One transaction; what is not known (yet) is None, "" or -1.

    ``meter_start_wh``, ``meter_stop_wh`` [Wh] stand in the import register. ``seen`` are the sequence numbers that came
    (2.x) as closed ranges; ``last`` the highest. ``slot`` counts the charge point's transactions from 0. ``asked`` is
    what a StartTransaction said (1.6), by which its repetition is known. ``signed`` are the first and the last of the
    charge point's messages with signed values that has some of it. ``doubts`` say what cannot be so, see `doubted`.
    ``start_read_us`` is when ``meter_start_wh`` was read, where nobody said what it was when the transaction began.
    """

    id: str
    slot: int
    evse: int = -1
    token: str = ""
    started_us: int | None = None
    meter_start_wh: float | None = None
    stopped_us: int | None = None
    meter_stop_wh: float | None = None
    reason: str = ""
    state: str = ""
    offline: bool = False
    last: int = -1
    seen: tuple[tuple[int, int], ...] = ()
    asked: str = ""
    remote_start: int | None = None
    signed: tuple[int, int] | None = None
    doubts: tuple[str, ...] = ()
    start_read_us: int | None = None

    @property
    def missing(self) -> int:
        """How many messages of it, between the first and the last that came, never did (2.x)."""
        if not self.seen:
            return 0
        return self.seen[-1][1] - self.seen[0][0] + 1 - sum(high - low + 1 for low, high in self.seen)


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """All that is remembered of one charge point.

    ``boot`` is its last BootNotification as it came, at ``booted_us``. ``begun`` counts transactions, ``signed``
    messages with signed values. ``notices`` are the last words of firmware, diagnostics and security, by action.
    ``heard_us`` is when it was last heard with nothing left to tell, as far as that is kept [µs since 1970].
    """

    boot: dict[str, Any] = {}
    booted_us: int = 0
    open: tuple[Transaction, ...] = ()
    recent: tuple[Transaction, ...] = ()
    begun: int = 0
    last_id: int = 0
    signed: int = 0
    notices: dict[str, dict[str, Any]] = {}
    heard_us: int = 0

    def find(self, id_: str) -> Transaction | None:
        """Return the transaction, open or ended of late."""
        return next((one for one in (*self.open, *self.recent) if one.id == id_), None)

    def asked(self, words: str) -> Transaction | None:
        """Return the transaction that a StartTransaction with these ``words`` began."""
        return next((one for one in (*self.open, *self.recent) if one.asked == words), None)

    def on(self, evse: int) -> Transaction | None:
        """Return the transaction that runs on ``evse``, the latest of several."""
        return next((one for one in reversed(self.open) if one.evse == evse), None)

    def begin(self, id_: str) -> tuple["Record", Transaction]:
        """Return the record with a new transaction; the oldest open one is given up when there are too many."""
        transaction = Transaction(id_, self.begun)
        kept = self if len(self.open) < MAX_OPEN else self.end(self.open[0])
        kept = msgspec.structs.replace(kept, begun=self.begun + 1, open=(*kept.open, transaction))
        return kept, transaction

    def next_id(self, now_us: int) -> tuple["Record", int]:
        """Return the record and a transaction id for 1.6, greater than all given before, and none it ended unbegun."""
        id_ = max(self.last_id + 1, now_us // US - _2020_S)
        while self.find(str(id_)) is not None:
            id_ += 1
        return msgspec.structs.replace(self, last_id=id_), id_

    def change(self, transaction: Transaction) -> "Record":
        """Return the record with ``transaction`` as it now is."""
        return msgspec.structs.replace(
            self,
            open=tuple(transaction if one.id == transaction.id else one for one in self.open),
            recent=tuple(transaction if one.id == transaction.id else one for one in self.recent),
        )

    def end(self, transaction: Transaction) -> "Record":
        """Return the record with ``transaction`` among those that have ended."""
        others = tuple(one for one in self.recent if one.id != transaction.id)
        return msgspec.structs.replace(
            self,
            open=tuple(one for one in self.open if one.id != transaction.id),
            recent=(*others, transaction)[-RECENT:],
        )


FELL, BACKWARDS, AHEAD, BEHIND = "register-fell", "ended-before-it-began", "clock-ahead", "clock-behind"
READ_LATE = "start-read-late"
AHEAD_US = 300 * US
"""How far a charge point's clock may be ahead of the node's before what it says of time is doubted [µs]."""

BEHIND_US = 366 * 86_400 * US
"""How long ago a transaction may have begun before its charge point's clock is doubted: one that was never set [µs]."""


def doubted(transaction: Transaction, now_us: int, not_before_us: int = 0) -> Transaction:
    """Return ``transaction`` with what cannot be so noted; it stays as the charge point said it, and is no bill.

    A register that ends below where it began, an end before the start, a time that lies ahead of the node's clock when
    it is told, a start that lies more than a year back, or before ``not_before_us`` [µs since 1970]; and a register of
    the start that was read after it.
    """
    found = set(transaction.doubts) - {FELL, BACKWARDS, READ_LATE}
    if transaction.start_read_us is not None:
        found.add(READ_LATE)
    start_wh, stop_wh = transaction.meter_start_wh, transaction.meter_stop_wh
    if start_wh is not None and stop_wh is not None and stop_wh < start_wh:
        found.add(FELL)
    started_us, stopped_us = transaction.started_us, transaction.stopped_us
    if started_us is not None and stopped_us is not None and stopped_us < started_us:
        found.add(BACKWARDS)
    if any(at_us is not None and at_us > now_us + AHEAD_US for at_us in (started_us, stopped_us)):
        found.add(AHEAD)
    if started_us is not None and started_us < max(now_us - BEHIND_US, not_before_us):
        found.add(BEHIND)
    return msgspec.structs.replace(transaction, doubts=tuple(sorted(found)))


def with_signed(transaction: Transaction, number: int) -> Transaction:
    """Return ``transaction`` with signed values in message ``number``; -1 for none."""
    if number < 0:
        return transaction
    first, last = transaction.signed or (number, number)
    return msgspec.structs.replace(transaction, signed=(min(first, number), max(last, number)))


def with_seen(transaction: Transaction, number: int) -> Transaction:
    """Return ``transaction`` with sequence ``number`` seen. Beyond a bound of gaps the oldest ranges are forgotten."""
    ranges: list[tuple[int, int]] = []
    low = high = number
    for start, end in transaction.seen:
        if end + 1 < low or high + 1 < start:
            ranges.append((start, end))
        else:
            low, high = min(low, start), max(high, end)
    seen = tuple(sorted([*ranges, (low, high)])[-_MAX_GAPS:])
    return msgspec.structs.replace(transaction, seen=seen, last=max(transaction.last, number))


def has_seen(transaction: Transaction, number: int) -> bool:
    """Whether sequence ``number`` has come before."""
    return any(low <= number <= high for low, high in transaction.seen)
