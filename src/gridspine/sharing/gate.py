"""The gate: whether a grant holds *now*, asked before every delivery.

It knows the grants it was told of and when it was last sure of them. Streams of a grant that changed are told at
once; and when the gate has not been confirmed for `STALE_US`, it is shut for everyone.
"""

from collections.abc import Callable

from gridspine.infra.runtime.clock import Clock
from gridspine.sharing.grant import Grant

STALE_US = 500_000
"""Age [µs] beyond which what the gate knows counts for nothing."""
STALE = "stale"
"""The reason of a gate that is not sure of its grants: it may open again by itself."""
Cut = Callable[[str], None]


class Gate:
    """Current grants by id; lives on the event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._grants: dict[str, Grant] = {}
        self._watchers: dict[str, dict[Cut, None]] = {}  # in order, so that a simulation repeats itself
        self._confirmed_us = clock.monotonic_us()

    def confirm(self) -> None:
        """Note that all changes of grants up to now have been told."""
        self._confirmed_us = self._clock.monotonic_us()

    def tell(self, grant: Grant) -> None:
        """Take up a grant or its change; streams that may not go on are cut before this returns."""
        known = self._grants.get(grant.id)
        if known is not None and known.epoch >= grant.epoch:
            return
        self._grants[grant.id] = grant
        reason = grant.why_not(self._clock.now_us())
        if reason:
            self.end_streams(grant.id, reason)

    def grant(self, id: str) -> Grant | None:
        """Return the grant as known here."""
        return self._grants.get(id)

    def grants(self) -> list[Grant]:
        """Return all grants known."""
        return list(self._grants.values())

    def active(self, product: str, consumer: str, purpose: str = "") -> Grant | None:
        """Return a grant of ``consumer`` to ``product`` (for ``purpose``) that holds now, the longest lasting."""
        now_us = self._clock.now_us()
        holding = [
            grant
            for grant in self._grants.values()
            if grant.product == product
            and grant.consumer == consumer
            and grant.active_at(now_us)
            and purpose in {"", grant.purpose}
        ]
        return max(holding, key=lambda grant: grant.until_us, default=None)

    def why_shut(self, id: str) -> str:
        """Return why nothing may be delivered under a grant now, "" when it may.

        The owner's own streams have no grant: for ``id`` "" only staleness counts.
        """
        if not id:
            return STALE if self._stale() else ""
        grant = self._grants.get(id)
        if grant is None:
            return "unknown"
        if self._stale():
            return STALE
        return grant.why_not(self._clock.now_us())

    def watch(self, id: str, cut: Cut) -> Callable[[], None]:
        """Call ``cut(reason)`` when the grant stops holding; returns what ends the watch."""
        self._watchers.setdefault(id, {})[cut] = None
        return lambda: self._unwatch(id, cut)

    def sweep(self) -> None:
        """Cut the streams of grants whose end has passed."""
        now_us = self._clock.now_us()
        for watched in [id_ for id_ in self._watchers if id_]:
            reason = self._grants[watched].why_not(now_us) if watched in self._grants else "unknown"
            if reason:
                self.end_streams(watched, reason)

    @property
    def unconfirmed_us(self) -> int:
        """How long ago the gate was last sure of its grants [µs]."""
        return self._clock.monotonic_us() - self._confirmed_us

    def _stale(self) -> bool:
        return self.unconfirmed_us > STALE_US

    def end_streams(self, id: str, reason: str) -> None:
        """Cut the streams of a grant for a reason of the node's own; the grant itself stays as it is."""
        for cut in list(self._watchers.get(id, ())):
            cut(reason)

    def end_all_streams(self, reason: str) -> None:
        """Cut every stream: the node is stopping."""
        for watched in list(self._watchers):
            self.end_streams(watched, reason)

    def _unwatch(self, id: str, cut: Cut) -> None:
        watchers = self._watchers.get(id)
        if watchers is not None:
            watchers.pop(cut, None)
            if not watchers:
                del self._watchers[id]
