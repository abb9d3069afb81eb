"""Spans of events on their way into the ledger; used only where traces are wanted."""

from gateway.inventory.tracing import Role, Tracing, reservation_of
from order_writer.log.event_log import Batch, format_position


def trace(tracing: Tracing, batch: Batch, began_ns: int) -> None:
    """A span for each event of a written batch, from the fetch to the commit."""
    size = len(batch.entries)
    for entry in batch.entries:
        reservation = reservation_of(entry.raw)
        if reservation is None:
            continue
        tracing.record(
            "apply",
            reservation,
            Role.CONSUMER,
            began_ns,
            {
                "dropgate.event": f"{entry.partition}:{format_position(entry.position)}",
                "messaging.batch.message_count": size,
            },
            traceparent=None if entry.traceparent is None else entry.traceparent.decode("latin-1"),
        )
