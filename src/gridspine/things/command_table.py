"""The tables behind a `Commander`: commands by id, key and Thing; leases by point; what falls due, and when."""

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from gridspine.kernel.errors import NotFound, Overloaded
from gridspine.things.command import Command, OrderIssued
from gridspine.things.confirm import Key
from gridspine.things.lease import MAX_LEASES_PER_POINT, MAX_STEPS_PER_POINT, Lease
from gridspine.things.share import Shares


@dataclass(slots=True)
class CommandedPoint:
    """What is known of one commanded point."""

    leases: dict[str, Lease] = field(default_factory=dict)
    """By command."""
    awaiting: dict[str, Command] = field(default_factory=dict)
    """Commands that wait for a second person."""
    issued: OrderIssued | None = None
    wake_us: int = 0
    """When it must be looked at, besides the starts and ends of its leases; 0 for never [µs since 1970]."""
    why: str = ""
    """What holds the present order back, or shapes it."""


class CommandTable:
    """Commands and points; at most ``max_live`` are not final, the last ``keep_finished`` final ones are remembered.

    ``is_limit(thing, point)`` tells whether the point itself is a limit that the device keeps.
    """

    def __init__(
        self, max_live: int, keep_finished: int, organisation_of: Callable[[str], str] = lambda _thing: "",
        is_limit: Callable[[str, str], bool] = lambda _thing, _point: False,
    ) -> None:  # fmt: skip
        self._is_limit = is_limit
        self._live = Shares(max_live, organisation_of)
        self._keep_finished = keep_finished
        self.commands: dict[str, Command] = {}
        self._finished: dict[str, None] = {}
        self._keys: dict[tuple[str, str], str] = {}
        self._of_thing: dict[str, dict[str, None]] = {}
        self.awaiting: dict[str, None] = {}
        """The commands that wait for a second person, the oldest first."""
        self.points: dict[Key, CommandedPoint] = {}
        self._due: list[tuple[int, Key]] = []
        self.dirty: dict[Key, None] = {}

    @property
    def live(self) -> int:
        """How many commands are not final."""
        return len(self._live)

    def get(self, id: str) -> Command:
        """Return command ``id``; raise `NotFound` when it is unknown or long finished."""
        try:
            return self.commands[id]
        except KeyError:
            raise NotFound(f"there is no command {id}") from None

    def find(self, principal: str, key: str) -> Command | None:
        """Return the command ``principal`` made with idempotency ``key``, or None."""
        known = self._keys.get((principal, key)) if key else None
        return self.commands[known] if known else None

    def of_thing(self, thing: str) -> list[Command]:
        """Return the commands of ``thing``, the oldest first."""
        return [self.commands[one] for one in self._of_thing.get(thing, ())]

    def known(self, ids: Iterable[str]) -> Iterator[Command]:
        """Yield those of ``ids`` that are known."""
        return (self.commands[one] for one in ids if one in self.commands)

    def point(self, key: Key) -> CommandedPoint:
        """Return what is known of a point."""
        return self.points.setdefault(key, CommandedPoint())

    def leases(self, key: Key) -> dict[str, Lease]:
        """Return the leases of a point that count, by command."""
        found = self.points.get(key)
        return found.leases if found else {}

    def check_room(self, lease: Lease, *, more: int = 0, freed: int = 0) -> None:
        """Raise `Overloaded` when ``lease`` is one too many; ``more`` are asked for and not here yet."""
        self._live.check(lease.thing, "commands that may run or be to come", more=more, freed=freed)
        point = self.points.get((lease.thing, lease.point))
        if point is None:
            return
        if len(point.leases) + len(point.awaiting) - freed >= MAX_LEASES_PER_POINT:
            raise Overloaded(f"{lease.point} holds {MAX_LEASES_PER_POINT} leases: wait for some to end")
        steps = sum(len(one.steps) for one in point.leases.values())
        if lease.steps and steps + len(lease.steps) > MAX_STEPS_PER_POINT:
            raise Overloaded(f"the schedules of {lease.point} have more than {MAX_STEPS_PER_POINT} steps together")

    def put(self, command: Command) -> None:
        """Take ``command`` as it now is."""
        lease, key = command.lease, (command.lease.thing, command.lease.point)
        if command.id not in self.commands:
            self._of_thing.setdefault(lease.thing, {})[command.id] = None
        self.commands[command.id] = command
        if command.key:
            self._keys[(lease.principal, command.key)] = command.id
        if command.state == "refused":
            self.retire(command.id)
            return
        if command.id not in self._finished:
            self._live.enter(command.id, lease.thing)
        point = self.point(key)
        waited = point.awaiting.pop(command.id, None) is not None
        if command.state == "awaiting-approval":
            point.awaiting[command.id] = command
            self.awaiting[command.id] = None
            self._remind(command.approve_by_us, key)
            self.dirty[key] = None
            return
        if waited:
            del self.awaiting[command.id]
        if self.counts(command):
            self._finished.pop(command.id, None)
            self._live.enter(command.id, lease.thing)
            if point.leases.get(command.id) == lease:
                return  # how far it got changes nothing of what must be ordered
            point.leases[command.id] = lease
            self._remind(lease.from_us, key)
            self._remind(lease.until_us, key)
        else:
            self.retire(command.id)
            if point.leases.pop(command.id, None) is None and not waited:
                return
        self.dirty[key] = None

    def retire(self, id: str) -> None:
        """Count command ``id`` as finished; the oldest of too many is forgotten."""
        self._finished[id] = None
        self._live.leave(id)
        while len(self._finished) > self._keep_finished:
            oldest = next(iter(self._finished))
            del self._finished[oldest]
            command = self.commands.pop(oldest)
            self._keys.pop((command.lease.principal, command.key), None)
            here = self._of_thing[command.lease.thing]
            del here[oldest]
            if not here:
                del self._of_thing[command.lease.thing]

    def counts(self, command: Command) -> bool:
        """Whether a command's lease counts: while it runs, and a limit also where its own delivery failed.

        A limit that the device rejected is not in force there. Where it bounds set-points it still bounds what the
        node orders; where the point is the limit itself, nothing holds it.
        """
        if not command.final:
            return command.state != "awaiting-approval"
        lease = command.lease
        if lease.role == "setpoint":
            return False
        rejected = command.state == "rejected" and not self._is_limit(lease.thing, lease.point)
        return command.state == "failed" or rejected

    def wake(self, key: Key, wake_us: int) -> None:
        """Look at a point again at ``wake_us`` [µs since 1970]; 0 for never."""
        point = self.points[key]
        known, point.wake_us = point.wake_us, wake_us
        if wake_us and wake_us != known:
            self._remind(wake_us, key)

    def fall_due(self, now_us: int) -> None:
        """Let every point be looked at whose time has come."""
        while self._due and self._due[0][0] <= now_us:
            self.dirty[heapq.heappop(self._due)[1]] = None

    def _remind(self, moment: int, key: Key) -> None:
        heapq.heappush(self._due, (moment, key))
        if len(self._due) > 4 * (self.live + 256):  # reminders of what was cancelled: begin afresh
            self._due = [(moment, key) for key, point in self.points.items() for moment in _moments(point)]
            heapq.heapify(self._due)


def _moments(point: CommandedPoint) -> Iterator[int]:
    for lease in point.leases.values():
        yield from (lease.from_us, lease.until_us)
    yield from (command.approve_by_us for command in point.awaiting.values())
    if point.wake_us:
        yield point.wake_us
