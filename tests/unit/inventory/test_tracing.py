"""Which trace a reservation has, and what its spans hang on."""

import subprocess
import sys

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from config.settings import TracingSettings
from gateway.inventory.keys import PartitionId, ReservationId, keyed_token
from gateway.inventory.tracing import (
    Role,
    Tracing,
    make_tracing,
    now_ns,
    reservation_of,
    trace_id_of,
    traceparent_of,
)

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def reservation(number: int = 0) -> ReservationId:
    return ReservationId(PartitionId("shoes", 0), keyed_token(b"k" * 32, "ann", str(number)))


def spans_of(tracing: Tracing, exporter: InMemorySpanExporter) -> list[ReadableSpan]:
    tracing.close()
    return list(exporter.get_finished_spans())


def test_the_trace_id_is_the_token() -> None:
    identifier = ReservationId(PartitionId("shoes", 0), "AAAAAAAAAAAAAAAAAAAAAg")
    assert trace_id_of(identifier) == 2
    assert trace_id_of(ReservationId(PartitionId("shoes", 0), "A" * 22)) == 1


def test_processes_that_never_spoke_make_one_trace() -> None:
    identifier, exporters = reservation(), [InMemorySpanExporter() for _ in range(2)]
    gateway, writer = (
        Tracing(name, 1.0, exporter)
        for name, exporter in zip(("gateway", "writer"), exporters, strict=True)
    )
    gateway.record("reserve", identifier, Role.SERVER, now_ns(), {"x": 1}, traceparent=CALLER)
    writer.record("apply", identifier, Role.CONSUMER, now_ns(), {})
    (reserve,), (apply,) = spans_of(gateway, exporters[0]), spans_of(writer, exporters[1])
    assert reserve.context.trace_id == apply.context.trace_id == trace_id_of(identifier)
    assert reserve.parent is None
    assert apply.parent is not None
    assert apply.parent.span_id == reserve.context.span_id
    assert [f"{link.context.trace_id:032x}" for link in reserve.links] == [CALLER[3:35]]
    assert reserve.resource.attributes["service.name"] == "dropgate-gateway"


def test_a_span_hangs_on_the_one_whose_traceparent_it_was_given() -> None:
    exporter = InMemorySpanExporter()
    tracing = Tracing("relay", 1.0, exporter)
    relay = tracing.start("relay", reservation(), Role.PRODUCER, now_ns())
    assert relay is not None
    relay.end()
    carried = traceparent_of(relay)
    tracing.record("apply", reservation(), Role.CONSUMER, now_ns(), {}, traceparent=carried)
    apply = spans_of(tracing, exporter)[1]
    assert apply.parent is not None
    assert apply.parent.span_id == relay.get_span_context().span_id
    assert not apply.links


@pytest.mark.parametrize(
    "nonsense", ["", "00-1-2-3", CALLER.replace("0af7", "xxxx"), "00-" + "0" * 32]
)
def test_a_traceparent_that_is_none_is_left_out(nonsense: str) -> None:
    exporter = InMemorySpanExporter()
    tracing = Tracing("gateway", 1.0, exporter)
    tracing.record("reserve", reservation(), Role.SERVER, now_ns(), {}, traceparent=nonsense)
    (span,) = spans_of(tracing, exporter)
    assert not span.links


def test_all_processes_choose_the_same_part_of_all_reservations() -> None:
    chosen = []
    for process in ("gateway", "writer"):
        exporter = InMemorySpanExporter()
        tracing = Tracing(process, 0.3, exporter)
        name = "reserve" if process == "gateway" else "apply"
        for number in range(500):
            tracing.record(name, reservation(number), Role.SERVER, now_ns(), {})
        chosen.append({span.context.trace_id for span in spans_of(tracing, exporter)})
    assert chosen[0] == chosen[1]
    assert 100 < len(chosen[0]) < 200


def test_an_event_tells_whose_it_is() -> None:
    identifier = reservation()
    event = b'{"v":1,"type":"confirm","reservation_id":"%s"}' % str(identifier).encode()
    assert reservation_of(event) == identifier
    assert reservation_of(b'{"v":1,"type":"adjust"}') is None
    assert reservation_of(b'{"reservation_id":"\xff"}') is None


def test_nothing_is_traced_unless_asked_for() -> None:
    assert make_tracing(TracingSettings(), "gateway") is None


def test_no_process_needs_the_sdk_to_start() -> None:
    # The extra `otel` is optional: without an endpoint nothing of the SDK may be imported.
    modules = "gateway.api.service, gateway.relay.service, order_writer.service, reconciler.service"
    program = f"import sys; sys.modules['opentelemetry'] = None; import {modules}"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
