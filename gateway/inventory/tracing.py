"""A reservation's life as one OpenTelemetry trace, through every process it passes.

The trace id *is* the reservation's token: 128 bits that every process can read off a reservation
id, so nothing has to be carried through Redis, and a person who has an order has its trace. The
span of the accepted `reserve` is the root; its id is made from the token too. What comes later,
minutes or days after, joins the same trace. A caller's own trace (`traceparent`) is linked to.

Whether a reservation is traced depends on its trace id alone, so all processes decide alike. Spans
wait in a bounded queue of the SDK and are dropped when the collector cannot keep up: a trace never
holds up a sale. Needs the extra `otel`; where no endpoint is set none of it is imported.
"""

import re
import time
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from enum import Enum

from opentelemetry.sdk.trace import Span
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.util.types import AttributeValue

from config.settings import TracingSettings
from gateway.inventory.keys import ReservationId, parse_reservation_id

EXPORT_TIMEOUT_SECONDS = 2
_RESERVATION = re.compile(rb'"reservation_id":"([^"]+)"')
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_SPAN_MASK = (1 << 64) - 1


class Role(Enum):
    """What a process does in a span, named as OpenTelemetry's span kinds."""

    SERVER = "SERVER"
    PRODUCER = "PRODUCER"
    CONSUMER = "CONSUMER"


def trace_id_of(reservation: ReservationId) -> int:
    """The 128 bits of the token; never 0, which means no trace."""
    return int.from_bytes(urlsafe_b64decode(reservation.token + "=="), "big") or 1


def reservation_of(event: bytes) -> ReservationId | None:
    """Whose event this is, read off its bytes; None for events of a partition."""
    match = _RESERVATION.search(event)
    return None if match is None else parse_reservation_id(match[1].decode(errors="replace"))


def now_ns() -> int:
    """Spans are on the wall clock."""
    return time.time_ns()


class Tracing:
    """Makes spans; see the module. `close` sends what is left."""

    def __init__(self, process: str, ratio: float, exporter: SpanExporter) -> None:
        """Trace a `ratio` of all reservations, from 0 to 1."""
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - only with the extra
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator  # noqa: PLC0415
        from opentelemetry.sdk.trace.sampling import TraceIdRatioBased  # noqa: PLC0415

        class Ids(RandomIdGenerator):
            """Gives the ids that were set for the next root, else random ones."""

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
        """A span of the reservation's trace; None where that is not traced.

        `reserve` is the root. `traceparent` is a caller's, who is linked to, or one that this
        class made, whose span is the parent then.
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
        attributes: Mapping[str, AttributeValue],
        *,
        traceparent: str | None = None,
    ) -> None:
        """A span that ends now."""
        span = self.start(name, reservation, role, began_ns, traceparent=traceparent)
        if span is not None:
            span.set_attributes(attributes)
            span.end(now_ns())

    def close(self) -> None:
        """Send what is left, within a bounded time."""
        self._provider.shutdown()


def traceparent_of(span: Span) -> str:
    """W3C trace context, for those who come after."""
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-01"


def make_tracing(settings: TracingSettings, process: str) -> Tracing | None:
    """What the settings ask for; None without an endpoint. Raises ValueError without the extra."""
    if settings.endpoint is None:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
    except ImportError as error:
        raise ValueError(
            "tracing.endpoint is set and the packages are missing: pip install 'dropgate[otel]'"
        ) from error
    exporter = OTLPSpanExporter(endpoint=settings.endpoint, timeout=EXPORT_TIMEOUT_SECONDS)
    return Tracing(process, settings.ratio, exporter)


def _context(traceparent: str | None) -> tuple[int, int] | None:
    """Trace and span of a `traceparent`; None for what is none, as the standard asks."""
    match = _TRACEPARENT.fullmatch(traceparent or "")
    if match is None:
        return None
    trace, span = int(match[1], 16), int(match[2], 16)
    return (trace, span) if trace and span else None
