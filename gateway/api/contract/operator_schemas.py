"""Answers of the HTTP API that only operators receive, as types."""

from typing import Literal

import msgspec

from gateway.api.contract.schemas import Instant, Total
from gateway.inventory.specs import CooldownSpec, ItemSpec
from gateway.inventory.types import SaleState


class WaitingRoomAnswer(msgspec.Struct, frozen=True):
    """How the sale's waiting room lets buyers in."""

    max_active_buyers: int
    admission_seconds: int
    prequeue_at: Instant | None
    order: Literal["fifo", "draw"]


class QueueFigures(msgspec.Struct, frozen=True):
    """A waiting room as operators see it. `serving`: the last place called. Rates are in buyers per
    second: `rate` is the highest rate of calling now, `outflow` and `outflow_minute` are averages
    of the last seconds and the last minute. `drawn`: numbers in the draw, null without a draw.
    """

    sale_id: str
    mode: Literal["open", "paused", "queue_all"]
    issued: int
    waiting: int
    serving: int
    admitted: int
    max_active_buyers: int
    rate: float
    rate_limit: float | None
    outflow: float
    outflow_minute: float
    units_left: int
    units_may_return: int
    revoked: int
    drawn: int | None


class SaleAnswer(msgspec.Struct, frozen=True):
    """A sale as operators see it."""

    sale_id: str
    state: SaleState
    version: int
    hold_seconds: int
    extension_seconds: int
    partitions: int
    per_buyer_limit: int
    split_lines: bool
    opens_at: Instant | None
    closes_at: Instant | None
    unpaid_per_buyer: int
    unpaid_window_seconds: int
    cooldown: CooldownSpec | None
    waiting_room: WaitingRoomAnswer | None
    items: tuple[ItemSpec, ...]
    paused_skus: tuple[str, ...]


class AdjustmentAnswer(msgspec.Struct, frozen=True):
    """The counters after an adjustment: `available` of the item over all its locations, `held` and
    `sold` at this location. `sequence`: the number of the adjustment's event in its partition.
    """

    sale_id: str
    sku: str
    location: str
    delta: int
    available: int
    held: int
    sold: int
    floor: int
    sequence: int


class AdjustmentPreview(msgspec.Struct, frozen=True):
    """What an adjustment would result in now. `refusal`: the problem code of a refusal;
    `available_after` is null then. `available`, `held` and `sold` are the counters before it.
    """

    sale_id: str
    sku: str
    location: str
    delta: int
    available: int
    held: int
    sold: int
    floor: int
    available_after: int | None
    refusal: Literal["floor_violation", "invalid_state", "ledger_behind"] | None


class SnapshotItem(msgspec.Struct, frozen=True):
    """Stock counters of one item, summed over partitions and locations."""

    sku: str
    loaded: int
    adjusted: int
    transferred: int
    in_transit: int
    available: int
    held: int
    sold: int


class SnapshotPartition(msgspec.Struct, frozen=True):
    """The position and state of a partition when its counters were read."""

    partition: int
    epoch: int
    sequence: int
    state: str


class SnapshotAnswer(msgspec.Struct, frozen=True):
    """Stock counters of a sale; each partition was read in one step."""

    sale_id: str
    items: tuple[SnapshotItem, ...]
    partitions: tuple[SnapshotPartition, ...]


class AccountingAdjustment(msgspec.Struct, frozen=True):
    """Units that operators added (negative: took out) for one reason."""

    reason: str
    units: int


class AccountingReturn(msgspec.Struct, frozen=True):
    """Units that buyers returned for one reason."""

    reason: str
    restocked: int
    written_off: int


class AccountingLine(msgspec.Struct, frozen=True):
    """The accounting of a SKU at a location: loaded + adjusted + transferred = unsold + sold +
    written_off, and confirmed = sold + restocked + written_off. Money is in minor units.
    """

    sku: str
    location: str
    loaded: int
    adjusted: int
    adjustments: tuple[AccountingAdjustment, ...]
    transferred: int
    confirmed: int
    restocked: int
    written_off: int
    returns: tuple[AccountingReturn, ...]
    sold: int
    unsold: int
    revenue: int
    refunded: int


class AccountingAnswer(msgspec.Struct, frozen=True):
    """The final accounting of a settled sale; `revenue`: what buyers paid for `sold`, all lines."""

    sale_id: str
    settled_at: Instant
    settled_by: str
    revenue: Total
    refunded: Total
    lines: tuple[AccountingLine, ...]


class DifferenceAnswer(msgspec.Struct, frozen=True):
    """One value in which Redis and the ledger differ, with the reservation behind it."""

    number: int
    partition: int
    kind: str
    sku: str | None
    location: str | None
    reservation_id: str | None
    buyer_id: str | None
    field: str | None
    redis_value: str | None
    ledger_value: str | None
    repaired: bool


class WatermarkAnswer(msgspec.Struct, frozen=True):
    """The position at which a partition was compared."""

    partition: int
    epoch: int
    sequence: int


class RebuildAnswer(msgspec.Struct, frozen=True):
    """A partition that was rebuilt from the ledger after Redis had lost its data.

    The former epoch was closed at `previous_epoch` and `previous_sequence`. Events that Redis
    answered after that position, and lost, are in neither Redis nor the ledger.
    """

    partition: int
    epoch: int
    previous_epoch: int
    previous_sequence: int
    rebuilt_at: Instant
    shift_ms: int


class ImportAnswer(msgspec.Struct, frozen=True):
    """A partition whose ledger had come back older, and was brought up to date from Redis.

    The numbers after `after_epoch` and `after_sequence` up to `epoch` and `sequence` have no
    events; `reservations` were missing, or had changed.
    """

    partition: int
    after_epoch: int
    after_sequence: int
    epoch: int
    sequence: int
    reservations: int
    imported_at: Instant


class ReconciliationAnswer(msgspec.Struct, frozen=True):
    """One reconciliation of Redis and the ledger; `rebuilds` and `imports`: since the one before.

    `status`: requested, running, done or failed. `compared` of `to_compare` reservations were seen;
    `to_compare` is null until a comparison of all records begins.
    """

    reconciliation_id: int
    sale_id: str
    status: str
    apply: bool
    balanced: bool | None
    failure: str | None
    compared: int
    to_compare: int | None
    differences: tuple[DifferenceAnswer, ...]
    watermarks: tuple[WatermarkAnswer, ...]
    rebuilds: tuple[RebuildAnswer, ...]
    imports: tuple[ImportAnswer, ...]
    requested_by: str
    requested_at: Instant
    finished_at: Instant | None


class ReconciliationsAnswer(msgspec.Struct, frozen=True):
    """The latest reconciliations of a sale, newest first."""

    reconciliations: tuple[ReconciliationAnswer, ...]


class DeadLetterAnswer(msgspec.Struct, frozen=True):
    """An event that could not be applied; `raw`: its bytes in base64."""

    dead_letter_id: int
    sale_id: str | None
    partition: int | None
    epoch: int | None
    sequence: int | None
    reason: str
    error: str
    raw: str
    status: str
    created_at: Instant
    resolved_at: Instant | None


class DeadLettersAnswer(msgspec.Struct, frozen=True):
    """One page of dead letters, newest first; `next_cursor` is null on the last page."""

    dead_letters: tuple[DeadLetterAnswer, ...]
    next_cursor: str | None
