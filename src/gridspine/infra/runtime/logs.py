"""Structured logs: text for people, JSON for machines; values of names that smell of secrets are hidden."""

import contextlib
import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO, cast

import structlog

from gridspine.infra.runtime.trace import add_trace_id

_SECRET_WORDS = ("password", "secret", "token", "assertion", "private", "authorization", "cookie", "code_hash")


def hide_secrets(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace values whose name smells of a secret."""
    for name in event:
        if name != "event" and any(word in name.lower() for word in _SECRET_WORDS):
            event[name] = "(hidden)"
    return event


class _StandardError:
    """Standard error as it is now. A line that cannot be written is dropped: else a log could end who only logs."""

    def write(self, text: str) -> int:
        """Write ``text``, if that can be."""
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more; it is closed
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        """Hand on what was written, if that can be."""
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


def configure_logs(level: str, *, as_json: bool) -> None:
    """Send the logs of this process to standard error at ``level``; the libraries' own from warning up."""
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            add_trace_id,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            hide_secrets,
            *([structlog.processors.format_exc_info] if as_json else []),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _StandardError())),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(stream=_StandardError(), level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("gridspine").setLevel(level.upper())
