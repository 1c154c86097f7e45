"""Traces: what a batch or a command went through, step by step; off unless the settings say so, and then a sample.

::

    the door (HTTP, MQTT …)     span, from the sender's ``traceparent`` where there is one
      └ names · screen · commit · twin · delivery         recorded afterwards, once a batch, never once a reading

What is off costs a comparison. `gridspine.infra.runtime.otel` is the engine behind it (OpenTelemetry).
"""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import structlog

Context = Any
"""Where a span belongs: opaque, and None for a trace that nobody records."""
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_NOTHING: AbstractContextManager[None] = nullcontext()


class Trace(Protocol):
    """Where spans go."""

    on: bool
    """Whether anything is recorded at all; when not, nothing else need be asked."""

    def span(
        self, name: str, *, parent: Context = None, traceparent: str = "", **attributes: str | int | float
    ) -> AbstractContextManager[None]:
        """Return a span around a block: of ``parent``, of a sender's ``traceparent``, or of the current one."""
        ...

    def current(self) -> Context:
        """Return where the current span belongs, None when it is not recorded."""
        ...

    def record(self, name: str, parent: Context, begin_ns: int, end_ns: int, **attributes: str | int | float) -> None:
        """Record a span that is over: ``begin_ns`` … ``end_ns`` [ns since 1970], under ``parent``."""
        ...

    def traceparent(self, context: Context = None) -> str:
        """Return ``context`` (the current one) as W3C Trace Context writes it, "" when it is not recorded."""
        ...

    def close(self) -> None:
        """Send what waits."""
        ...


class NoTrace:
    """Records nothing."""

    on = False

    def span(
        self, name: str, *, parent: Context = None, traceparent: str = "", **attributes: str | int | float
    ) -> AbstractContextManager[None]:
        """Return a block without a span."""
        return _NOTHING

    def current(self) -> Context:
        """Return None."""
        return None

    def record(self, name: str, parent: Context, begin_ns: int, end_ns: int, **attributes: str | int | float) -> None:
        """Do nothing."""

    def traceparent(self, context: Context = None) -> str:
        """Return nothing."""
        return ""

    def close(self) -> None:
        """Do nothing."""


NO_TRACE = NoTrace()


def parse_traceparent(text: str) -> tuple[str, str, bool] | None:
    """Return trace id, span id and whether it is sampled, of a ``traceparent``; None when it is not one.

    W3C Trace Context level 1, §3.2: version 00, no id of zeros.
    """
    found = _TRACEPARENT.fullmatch(text)
    if found is None or not int(found[1], 16) or not int(found[2], 16):
        return None
    return found[1], found[2], bool(int(found[3], 16) & 1)


@contextmanager
def request_in_logs(trace_id: str) -> Iterator[None]:
    """Let the log lines of a block carry ``trace_id``, so that those of one request are found together."""
    with structlog.contextvars.bound_contextvars(trace_id=trace_id):
        yield
