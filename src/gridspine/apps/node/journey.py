"""A command's journey as a trace: from the request to the reading that shows it, though tasks and minutes lie between.

::

    http POST ── policy ── log ── order ─ ─ ► device ─ ─ acknowledged ─ ─ confirmed
                                 traceparent goes along
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from time import time_ns

import msgspec

from gridspine.infra.runtime.trace import Context, Trace
from gridspine.things.adapter import Order

_REMEMBERED = 10_000
"""Commands whose journey is remembered; older ones go on without a trace."""


class Journeys:
    """Which command belongs to which trace; only while traces are on, and only those that are sampled."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._known: dict[str, Context] = {}

    def begin(self, command: str) -> None:
        """Remember that ``command`` was asked for where we are now."""
        context = self._trace.current()
        if context is not None:
            self._known.setdefault(command, context)
            if len(self._known) > _REMEMBERED:
                del self._known[next(iter(self._known))]

    def log(self) -> AbstractContextManager[None]:
        """Return a span around making a command's events durable."""
        return nullcontext() if self._trace.current() is None else self._trace.span("log")

    def order(self, order: Order) -> Order:
        """Return ``order`` as it goes out: with the trace it belongs to."""
        context = self._known.get(order.command)
        if context is None:
            return order
        now_ns = time_ns()
        self._trace.record("order", context, now_ns, time_ns(), **{"gridspine.thing": order.thing})
        return msgspec.structs.replace(order, traceparent=self._trace.traceparent(context))

    def step(self, name: str, commands: Sequence[str]) -> AbstractContextManager[None]:
        """Return a span around what happens to a command later, in a task of its own."""
        context = next((self._known[command] for command in commands if command in self._known), None)
        return nullcontext() if context is None else self._trace.span(name, parent=context)
