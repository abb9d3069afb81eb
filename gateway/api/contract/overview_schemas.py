"""Answers for those who watch sales, as types. What could not be read is null, never zero."""

from typing import Any, Literal

import msgspec

from gateway.api.contract.operator_schemas import QueueFigures
from gateway.api.contract.schemas import Instant


class SaleSummary(msgspec.Struct, frozen=True):
    """A sale in the list of all."""

    sale_id: str
    state: str
    version: int
    opens_at: Instant | None
    closes_at: Instant | None
    created_at: Instant


class SalesAnswer(msgspec.Struct, frozen=True):
    """One page, newest first; `next_cursor` is null on the last."""

    sales: tuple[SaleSummary, ...]
    next_cursor: str | None


class FigureItem(msgspec.Struct, frozen=True):
    """Units of one item, over partitions and locations."""

    sku: str
    name: str
    available: int
    held: int
    sold: int
    paused: bool


class LatencyFigures(msgspec.Struct, frozen=True):
    """Reserve calls by the time they took, ever since: `counts[i]` took up to `bounds_ms[i]` and
    longer than the bound before; the last count, one more than bounds, is of the rest.
    """

    bounds_ms: tuple[float, ...]
    counts: tuple[int, ...]


class GatewayFigures(msgspec.Struct, frozen=True):
    """Counters of this gateway over all its workers, sales and time. Rates and percentiles are what
    changed between two readings.
    """

    accepted: int
    replayed: int
    refused: dict[str, int]
    in_flight: int
    reserve_latency: LatencyFigures


class PipelineFigures(msgspec.Struct, frozen=True):
    """The way of this sale's events to the ledger, over its partitions: lengths are sums, the lag
    in seconds is the largest. `drift` is null before the first reconciliation.
    """

    outbox_length: int | None
    due_holds: int | None
    ledger_lag_events: int | None
    ledger_lag_seconds: float | None
    drift: int | None
    dead_letters: int | None
    recovering: bool | None
    stopped: bool | None


class FiguresAnswer(msgspec.Struct, frozen=True):
    """A sale at one moment. `items` is null while its partitions cannot be read, and before they
    are there; `pipeline` is null for a sale whose partitions are not in Redis; `waiting_room` where
    the sale has none, or it cannot be seen.
    """

    sale_id: str
    state: str
    version: int
    opens_at: Instant | None
    closes_at: Instant | None
    read_at: Instant
    items: tuple[FigureItem, ...] | None
    gateway: GatewayFigures
    pipeline: PipelineFigures | None
    waiting_room: QueueFigures | None


class AuditEntry(msgspec.Struct, frozen=True):
    """One write of an operator, or of a process in an operator's name."""

    audit_id: int
    sale_id: str | None
    actor: str
    action: str
    detail: dict[str, Any]
    request_id: str | None
    occurred_at: Instant


class AuditLogAnswer(msgspec.Struct, frozen=True):
    """One page, newest first; `next_cursor` is null on the last."""

    entries: tuple[AuditEntry, ...]
    next_cursor: str | None


UpDown = Literal["up", "down"]


class Alive(msgspec.Struct, frozen=True):
    """What `/livez` says, if it says anything."""

    status: Literal["alive"] = "alive"


class Health(msgspec.Struct, frozen=True):
    """What `/readyz` says; `durability` is what an answered reservation is worth.

    `degraded`: the parts without which the worker goes on, selling the sales it knows.
    """

    status: Literal["ready", "degraded", "not_ready"]
    degraded: tuple[str, ...]
    redis: UpDown
    postgres: UpDown
    sales_listener: UpDown
    durability: str
