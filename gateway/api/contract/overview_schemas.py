"""Answers of operators' lists and figures, as types. A value that cannot be read is null, not 0."""

from typing import Any, Literal

import msgspec

from gateway.api.contract.operator_schemas import QueueFigures
from gateway.api.contract.schemas import Instant


class SaleSummary(msgspec.Struct, frozen=True):
    """A sale in the list of all sales."""

    sale_id: str
    state: str
    version: int
    opens_at: Instant | None
    closes_at: Instant | None
    created_at: Instant


class SalesAnswer(msgspec.Struct, frozen=True):
    """One page of sales, newest first; `next_cursor` is null on the last page."""

    sales: tuple[SaleSummary, ...]
    next_cursor: str | None


class FigureItem(msgspec.Struct, frozen=True):
    """Units of one item, summed over partitions and locations."""

    sku: str
    name: str
    available: int
    held: int
    sold: int
    paused: bool


class LatencyFigures(msgspec.Struct, frozen=True):
    """Reserve calls by duration, since the counters began. `counts[i]`: calls that took at most
    `bounds_ms[i]` and longer than the bound before it. The last count, one more than there are
    bounds, has the longer calls.
    """

    bounds_ms: tuple[float, ...]
    counts: tuple[int, ...]


class GatewayFigures(msgspec.Struct, frozen=True):
    """Counters of this gateway over all its workers and sales, since they began. A rate or a
    percentile is the difference between two readings.
    """

    accepted: int
    replayed: int
    refused: dict[str, int]
    in_flight: int
    reserve_latency: LatencyFigures


class PipelineFigures(msgspec.Struct, frozen=True):
    """The path of this sale's events to the ledger, over its partitions: lengths are sums, the lag
    in seconds is the largest of a partition. `drift` is null before the first reconciliation.
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
    """A sale at one moment. `items` is null before the partitions exist and while they cannot be
    read; `pipeline` is null for a sale without partitions in Redis; `waiting_room` is null for a
    sale without one, and while the room cannot be read.
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
    """One write of an operator, or of a process on an operator's behalf."""

    audit_id: int
    sale_id: str | None
    actor: str
    action: str
    detail: dict[str, Any]
    request_id: str | None
    occurred_at: Instant


class AuditLogAnswer(msgspec.Struct, frozen=True):
    """One page of the audit log, newest first; `next_cursor` is null on the last page."""

    entries: tuple[AuditEntry, ...]
    next_cursor: str | None


UpDown = Literal["up", "down"]


class Alive(msgspec.Struct, frozen=True):
    """The answer of `/livez`."""

    status: Literal["alive"] = "alive"


class Health(msgspec.Struct, frozen=True):
    """The answer of `/readyz`; `durability`: how safely Redis keeps an answered reservation.

    `degraded`: parts that are down and without which the worker still sells the sales it knows.
    """

    status: Literal["ready", "degraded", "not_ready"]
    degraded: tuple[str, ...]
    redis: UpDown
    postgres: UpDown
    sales_listener: UpDown
    durability: str
