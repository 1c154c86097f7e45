"""Traces by OpenTelemetry: sampled, sent by OTLP over HTTP from a thread of the SDK's own. Needs the extra ``otel``."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from opentelemetry import trace as api
from opentelemetry.context import Context as OtelContext
from opentelemetry.context import attach, detach
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags

from gridspine import __version__
from gridspine.infra.runtime.trace import parse_traceparent

_KINDS = {"http": SpanKind.SERVER, "mqtt": SpanKind.CONSUMER}


class OtelTrace:
    """A `gridspine.infra.runtime.trace.Trace`; ``processor`` takes the spans that end."""

    on = True

    def __init__(self, processor: SpanProcessor, *, organisation: str, sample: float) -> None:
        resource = Resource.create(
            {"service.name": "gridspine", "service.version": __version__, "gridspine.organisation": organisation}
        )
        # A sender's wish to be traced is heard; whether what it starts itself is traced stays the node's choice.
        sampler = ParentBased(TraceIdRatioBased(sample))
        self._provider = TracerProvider(resource=resource, sampler=sampler, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("gridspine", __version__)

    def span(
        self, name: str, *, parent: SpanContext | None = None, traceparent: str = "", **attributes: str | int | float
    ) -> AbstractContextManager[None]:
        """Return a span around a block, which is current inside it."""
        return self._span(name, _under(parent or _sender(traceparent)), attributes)

    @contextmanager
    def _span(self, name: str, under: OtelContext | None, attributes: dict[str, str | int | float]) -> Iterator[None]:
        kind = _KINDS.get(name.partition(" ")[0], SpanKind.INTERNAL)
        span = self._tracer.start_span(name, under, kind=kind, attributes=attributes)
        token = attach(api.set_span_in_context(span))
        try:
            yield
        except Exception as error:
            span.set_status(api.StatusCode.ERROR, type(error).__name__)
            raise
        finally:
            detach(token)
            span.end()

    def current(self) -> SpanContext | None:
        """Return where the current span belongs, None when it is not sampled."""
        context = api.get_current_span().get_span_context()
        return context if context.is_valid and context.trace_flags.sampled else None

    def record(
        self, name: str, parent: SpanContext | None, begin_ns: int, end_ns: int, **attributes: str | int | float
    ) -> None:
        """Record a span that is over."""
        if parent is not None:
            span: Span = self._tracer.start_span(name, _under(parent), attributes=attributes, start_time=begin_ns)
            span.end(end_ns)

    def traceparent(self, context: SpanContext | None = None) -> str:
        """Return ``context`` (the current one) as W3C Trace Context writes it."""
        found = context or api.get_current_span().get_span_context()
        if not found.is_valid:
            return ""
        return f"00-{found.trace_id:032x}-{found.span_id:016x}-{int(found.trace_flags):02x}"

    def close(self) -> None:
        """Send what waits, and stop."""
        self._provider.shutdown()


def otlp_trace(endpoint: str, *, organisation: str, sample: float) -> OtelTrace:
    """Return a trace that sends to ``endpoint`` (OTLP over HTTP); headers come from ``OTEL_EXPORTER_OTLP_HEADERS``."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OtelTrace(BatchSpanProcessor(OTLPSpanExporter(endpoint)), organisation=organisation, sample=sample)


def _sender(traceparent: str) -> SpanContext | None:
    found = parse_traceparent(traceparent)
    if found is None:
        return None
    trace_id, span_id, sampled = found
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=flags)


def _under(parent: SpanContext | None) -> OtelContext | None:
    return None if parent is None else api.set_span_in_context(NonRecordingSpan(parent), OtelContext())
