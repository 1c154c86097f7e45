"""Who wants to know that a principal is not what it was: deactivated, other roles, a key, certificate or password gone.

Streams ask `Identity.holds` by themselves. What keeps a connection open without asking, such as a broker's session,
listens here and asks then.
"""

from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)
Listener = Callable[[str], object]


class Watch:
    """Tells listeners the id of a principal whose standing changed, after the change is in force."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Call ``listener`` with each changed principal's id, from whatever thread made the change. It must not block.

        An event loop listens by ``loop.call_soon_threadsafe``.
        """
        self._listeners.append(listener)

    def forget(self, listener: Listener) -> None:
        """Tell ``listener`` nothing more."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def tell(self, principal: str) -> None:
        """Tell that ``principal`` changed."""
        for listener in tuple(self._listeners):
            try:
                listener(principal)
            except Exception:  # the change is made: one listener's fault must not keep it from the others
                log.exception("a listener to changes of principals failed", principal=principal)
