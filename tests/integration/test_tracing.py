"""A reservation's trace through real servers: HTTP, outbox, Kafka with its headers, ledger."""

import asyncpg
import opentelemetry.exporter.otlp.proto.http.trace_exporter as otlp
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from config.settings import EventLogSettings, Settings, TracingSettings
from gateway.inventory.keys import parse_reservation_id
from gateway.inventory.tracing import trace_id_of
from gateway.relay.service import run as run_relay
from order_writer.log.kafka_log import KafkaLog
from tests.support.api import Api, serving
from tests.support.sales.pipeline import pipeline, running
from tests.support.servers import unique
from tests.support.waiting import WAIT_SECONDS, wait_until

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOWHERE = "http://127.0.0.1:9/v1/traces"


@pytest.fixture
def exporters(monkeypatch: pytest.MonkeyPatch) -> list[InMemorySpanExporter]:
    """In-memory exporters that take the processes' spans in place of a collector."""
    made: list[InMemorySpanExporter] = []

    def exporter(**options: object) -> InMemorySpanExporter:
        assert options["endpoint"] == NOWHERE
        made.append(InMemorySpanExporter())
        return made[-1]

    monkeypatch.setattr(otlp, "OTLPSpanExporter", exporter)
    return made


async def buy(api: Api, settings: Settings) -> str:
    """Reserve, pay, and wait until the order is in the ledger."""
    sale = await api.open_sale()
    made = await api.buyer(
        *("ann", "POST", f"/v1/sales/{sale}/reservations"),
        {"lines": [{"sku": "shirt", "quantity": 1}]},
        Idempotency_Key=unique("key"),
        traceparent=CALLER,
    )
    identifier = str(made.body["reservation_id"])
    paid = {"payment_reference": "paid"}
    assert (
        await api.storefront("POST", f"/v1/reservations/{identifier}/confirm", paid)
    ).status == 200
    stranger = await api.buyer("eve", "POST", f"/v1/reservations/{identifier}/cancel")
    assert stranger.status == 404
    ledger = await asyncpg.connect(settings.postgres.dsn)
    try:

        async def confirmed() -> bool:
            state = "SELECT state FROM reservations WHERE reservation_id = $1"
            return bool(await ledger.fetchval(state, identifier) == "confirmed")

        await wait_until(confirmed, "the order is in the ledger")
    finally:
        await ledger.close()
    return identifier


def parent_of(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


async def test_a_reservation_is_one_trace_from_http_to_the_ledger(
    settings: Settings,
    kafka_event_log: EventLogSettings,
    exporters: list[InMemorySpanExporter],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Only Kafka's record carries the trace: the outbox must not be read in its place.
    monkeypatch.setattr(KafkaLog, "patience_seconds", WAIT_SECONDS)
    traced = settings.model_copy(
        update={
            "event_log": kafka_event_log,
            "tracing": TracingSettings(endpoint=NOWHERE, ratio=1.0),
        }
    )
    async with pipeline(traced), running(run_relay, traced), serving(traced) as api:
        identifier = await buy(api, traced)
    reservation = parse_reservation_id(identifier)
    assert reservation is not None
    spans = [span for exporter in exporters for span in exporter.get_finished_spans()]
    assert {span.context.trace_id for span in spans} == {trace_id_of(reservation)}
    by_name: dict[str, list[ReadableSpan]] = {}
    for span in spans:
        by_name.setdefault(span.name, []).append(span)
    assert {name: len(found) for name, found in by_name.items()} == {
        "reserve": 1,
        "confirm": 1,
        "relay": 2,
        "apply": 2,
    }
    (root,) = by_name["reserve"]
    assert parent_of(root) is None
    assert [f"{link.context.trace_id:032x}" for link in root.links] == [CALLER[3:35]]
    assert {parent_of(span) for span in by_name["confirm"] + by_name["relay"]} == {
        root.context.span_id
    }
    # Through the header of the Kafka record.
    relayed = {span.context.span_id for span in by_name["relay"]}
    assert {parent_of(span) for span in by_name["apply"]} == relayed
