"""A reservation's life as one OpenTelemetry trace, through every process it passes.

The trace id *is* the reservation's token: 128 bits that every process can read off a reservation
id, so no trace id has to travel through Redis, and a person who has an order has its trace. The
span of the accepted `reserve` is the root; its id is derived from the token too. Later spans,
minutes or days after, join this trace. A caller's own trace (`traceparent`) is linked.

Whether a reservation is traced depends on its trace id alone, so all processes decide alike. Spans
wait in a bounded queue of the SDK and are dropped when the collector cannot keep up: a trace never
holds up a sale. Needs the extra `otel`; without an endpoint the SDK is not imported.
"""

import re
import time
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from enum import Enum
from typing import Any, Protocol

from config.settings import TracingSettings
from gateway.inventory.keys import ReservationId, parse_reservation_id

EXPORT_TIMEOUT_SECONDS = 2
_RESERVATION = re.compile(rb'"reservation_id":"([^"]+)"')
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_SPAN_MASK = (1 << 64) - 1

Attribute = str | int | float | bool


class SpanIds(Protocol):
    """The ids of a span, as the SDK's SpanContext has them."""

    @property
    def trace_id(self) -> int:
        """The id of the trace, 128 bits."""

    @property
    def span_id(self) -> int:
        """The id of the span, 64 bits."""


class Span(Protocol):
    """The part of the SDK's span that is used here; only making spans imports the SDK."""

    def get_span_context(self) -> SpanIds:
        """The ids of this span and its trace."""

    def set_attributes(self, attributes: Mapping[str, Attribute]) -> None:
        """Add or replace attributes."""

    def end(self, end_time: int | None = None) -> None:
        """End the span, at `end_time` in ns since 1970 or now."""


class Role(Enum):
    """The role of a process in a span, named as OpenTelemetry's span kinds."""

    SERVER = "SERVER"
    PRODUCER = "PRODUCER"
    CONSUMER = "CONSUMER"


def trace_id_of(reservation: ReservationId) -> int:
    """The 128 bits of the token as trace id; never 0, which means no trace."""
    return int.from_bytes(urlsafe_b64decode(reservation.token + "=="), "big") or 1


def reservation_of(event: bytes) -> ReservationId | None:
    """The reservation of an event, read off its bytes; None for an event of a partition."""
    match = _RESERVATION.search(event)
    return None if match is None else parse_reservation_id(match[1].decode(errors="replace"))


def now_ns() -> int:
    """The wall clock in nanoseconds, which spans use."""
    return time.time_ns()


class Tracing:
    """Makes spans. `close` sends the spans still queued."""

    def __init__(self, process: str, ratio: float, exporter: Any) -> None:
        """Trace a `ratio` of all reservations, from 0 to 1; `exporter`: the SDK's SpanExporter."""
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - only with the extra
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator  # noqa: PLC0415
        from opentelemetry.sdk.trace.sampling import TraceIdRatioBased  # noqa: PLC0415

        class Ids(RandomIdGenerator):
            """Returns the ids set for the next root, else random ids."""

            root: tuple[int, int] | None = None

            def generate_trace_id(self) -> int:
                return self.root[0] if self.root else super().generate_trace_id()

            def generate_span_id(self) -> int:
                return self.root[1] if self.root else super().generate_span_id()

        self._ids = Ids()
        self._provider = TracerProvider(
            sampler=TraceIdRatioBased(ratio),
            id_generator=self._ids,
            resource=Resource.create({"service.name": f"dropgate-{process}"}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("dropgate")

    def start(
        self,
        name: str,
        reservation: ReservationId,
        role: Role,
        began_ns: int,
        *,
        traceparent: str | None = None,
    ) -> Span | None:
        """A span of the reservation's trace; None when the reservation is not traced.

        `reserve` is the root. `traceparent` of a caller is linked; a `traceparent` of this trace
        (see `traceparent_of`) names the parent span.
        """
        from opentelemetry.sdk.trace import Span as RecordedSpan  # noqa: PLC0415
        from opentelemetry.trace import (  # noqa: PLC0415
            Link,
            NonRecordingSpan,
            SpanContext,
            SpanKind,
            TraceFlags,
            set_span_in_context,
        )

        trace_id = trace_id_of(reservation)
        root_id = trace_id & _SPAN_MASK or 1
        caller = _context(traceparent)
        parent, links = root_id, []
        if caller is not None and caller[0] == trace_id:
            parent = caller[1]
        elif caller is not None:
            flags = TraceFlags(TraceFlags.SAMPLED)
            links = [Link(SpanContext(*caller, is_remote=True, trace_flags=flags))]
        if name == "reserve":
            self._ids.root = (trace_id, root_id)
            context = set_span_in_context(NonRecordingSpan(SpanContext(0, 0, is_remote=False)))
        else:
            above = SpanContext(
                trace_id, parent, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED)
            )
            context = set_span_in_context(NonRecordingSpan(above))
        try:
            span = self._tracer.start_span(
                name,
                context,
                kind=SpanKind[role.value],
                links=links,
                start_time=began_ns,
                attributes={
                    "dropgate.reservation_id": str(reservation),
                    "dropgate.sale_id": reservation.partition.sale_id,
                },
            )
        finally:
            self._ids.root = None
        return span if isinstance(span, RecordedSpan) else None

    def record(
        self,
        name: str,
        reservation: ReservationId,
        role: Role,
        began_ns: int,
        attributes: Mapping[str, Attribute],
        *,
        traceparent: str | None = None,
    ) -> None:
        """Make a span that ends now."""
        span = self.start(name, reservation, role, began_ns, traceparent=traceparent)
        if span is not None:
            span.set_attributes(attributes)
            span.end(now_ns())

    def close(self) -> None:
        """Send the spans still queued, within a bounded time."""
        self._provider.shutdown()


def traceparent_of(span: Span) -> str:
    """The span as W3C trace context, for processes that continue the trace."""
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-01"


def make_tracing(settings: TracingSettings, process: str) -> Tracing | None:
    """Tracing as set; None without an endpoint. Raises ValueError without the extra `otel`."""
    if settings.endpoint is None:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
    except ImportError as error:
        raise ValueError(
            "tracing.endpoint is set, but packages are missing: pip install 'dropgate[otel]'"
        ) from error
    exporter = OTLPSpanExporter(endpoint=settings.endpoint, timeout=EXPORT_TIMEOUT_SECONDS)
    return Tracing(process, settings.ratio, exporter)


def _context(traceparent: str | None) -> tuple[int, int] | None:
    """Trace and span id of a `traceparent`; None for malformed text, as the standard demands."""
    match = _TRACEPARENT.fullmatch(traceparent or "")
    if match is None:
        return None
    trace, span = int(match[1], 16), int(match[2], 16)
    return (trace, span) if trace and span else None
