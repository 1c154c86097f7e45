"""An event loop on virtual time: nothing waits, nothing runs beside anything else, and all of it repeats itself.

Work for threads runs on the loop, in turn, each piece after a pause that the seed chooses: as late, and in as many
orders, as threads and a disk would have it.
"""

import asyncio
import selectors
from collections.abc import Callable, Mapping
from typing import Any


class Stuck(Exception):
    """Nothing is ready, and nothing will ever be."""


class _Nothing(selectors.BaseSelector):
    """A selector without files: waiting moves the time on."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        self._keys[fileobj] = key = selectors.SelectorKey(fileobj, fileobj, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stuck("the loop waits for something that never comes")
        self.now_s += max(0.0, timeout)
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys[fileobj]


class SimLoop(asyncio.SelectorEventLoop):
    """A loop that begins at ``start_s`` [s]; ``pause`` says how late the next piece of a thread's work is [s]."""

    def __init__(self, start_s: float, pause: Callable[[], float]) -> None:
        self._nothing = _Nothing()
        self._nothing.now_s = start_s
        super().__init__(self._nothing)
        self._clock_resolution = 1e-7  # virtual time is exact but for the rounding of sums
        self.pause = pause
        self.blocked_s = 0.0
        """How long the piece of work that runs would have waited; told by what would wait."""

    def time(self) -> float:
        """Return the virtual time [s]."""
        return self._nothing.now_s

    def run_in_executor(  # type: ignore[override]  # the stubs disagree among themselves
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> Any:
        """Run ``func`` on the loop, after a pause; its result comes when it would have stopped waiting."""
        done = self.create_future()

        def run() -> None:
            if done.cancelled() and not args and self.pause() < 0.001:
                return  # it had not begun
            try:
                result, error = func(*args), None
            except Exception as raised:
                result, error = None, raised
            waited, self.blocked_s = self.blocked_s, 0.0
            self.call_later(waited, _settle, done, result, error)

        self.call_later(self.pause(), run)
        return done

    def run_for(self, seconds: float) -> None:
        """Let everything happen that happens within ``seconds`` [s] from now."""
        self.run_to(self.time() + seconds)

    def run_to(self, moment_s: float) -> None:
        """Let everything happen up to ``moment_s`` [s]."""
        handle = self.call_at(moment_s, self.stop)
        try:
            self.run_forever()
        finally:
            handle.cancel()

    def end(self) -> None:
        """Drop what was planned, cancel what still runs, and close."""
        for handle in self._scheduled:  # type: ignore[attr-defined]
            handle.cancel()
        tasks = sorted(asyncio.all_tasks(self), key=lambda task: task.get_name())
        for task in tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # it may hang: the process is dead
            task.cancel()
        self.set_exception_handler(lambda *_: None)
        self.run_for(1.0)
        self.close()


def _settle(done: "asyncio.Future[Any]", result: Any, error: Exception | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)
