"""What of a node touches the machine: the real engines, unless a simulation brings its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gridspine.infra.log.room import Room
from gridspine.infra.log.sqlite import SqliteEventLog
from gridspine.infra.log.writer import LogWriter
from gridspine.infra.runtime.settings import Settings
from gridspine.infra.runtime.trace import NO_TRACE, Trace
from gridspine.kernel.errors import Invalid
from gridspine.things.adapter import Adapter


def _room(data: Path, settings: Settings) -> Room:
    return Room(data, reserve_bytes=settings.log.reserve_bytes)


def _trace(settings: Settings) -> Trace:
    if not settings.tracing.enabled:
        return NO_TRACE
    try:
        from gridspine.infra.runtime.otel import otlp_trace
    except ImportError as error:
        raise Invalid("settings: tracing.enabled needs the extra 'otel': install gridspine[otel]") from error
    asked = settings.tracing
    return otlp_trace(asked.endpoint, organisation=settings.organisation, sample=asked.sample)


@dataclass(frozen=True, slots=True)
class Engines:
    """The parts of a node that are exchanged together with its clock.

    ``adapters`` are those to choose from by name; None: those that are installed (their entry points).
    """

    room: Callable[[Path, Settings], Room] = _room
    log: Callable[..., SqliteEventLog] = SqliteEventLog
    writer: Callable[..., LogWriter] = LogWriter
    adapters: Mapping[str, Callable[[], Adapter]] | None = None
    trace: Callable[[Settings], Trace] = _trace
