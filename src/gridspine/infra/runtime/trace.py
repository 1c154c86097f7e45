"""Traces: what a batch or a command went through, step by step; off unless the settings say so, and then a sample.

::

    the door (HTTP, MQTT …)     span, from the sender's ``traceparent`` where there is one
      └ names · screen · commit · twin · delivery         recorded afterwards, once a batch, never once a reading

What is off costs a comparison. `gridspine.infra.runtime.otel` is the engine behind it (OpenTelemetry).
"""

import os
import re
from collections.abc import MutableMapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Any, Protocol

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


class Request:
    """Which request is being served, for its log lines; the id is made when a line asks for it."""

    __slots__ = ("_given", "_trace_id")

    def __init__(self, traceparent: str) -> None:
        self._given = traceparent
        self._trace_id = ""

    @property
    def trace_id(self) -> str:
        """The trace id of the request's ``traceparent``, or one of its own."""
        if not self._trace_id:
            known = parse_traceparent(self._given) if self._given else None
            self._trace_id = known[0] if known else os.urandom(16).hex()
        return self._trace_id


REQUEST: ContextVar[Request | None] = ContextVar("request", default=None)
"""The request that is served here; what is started for it inherits it."""


def add_trace_id(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put the request's trace id into a log line, so that those of one request are found together."""
    request = REQUEST.get()
    if request is not None:
        event["trace_id"] = request.trace_id
    return event
