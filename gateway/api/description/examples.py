"""One example of every body and answer, built from their types, all about one small drop."""

from typing import Any

import msgspec

from gateway.api.contract import operator_schemas as ops
from gateway.api.contract import requests, schemas
from gateway.api.contract.requests import DemoPaymentBody
from gateway.inventory.specs import ItemSpec, Money, SaleSpec
from gateway.inventory.types import SaleState

_SALE = "summer-drop"
_ID = f"{_SALE}.0.wHyr31ky6qeG0hqHGDT4eQ"
_EVENT = f"{_SALE}:0:1-3"
_DEADLINE = "2026-11-21T12:50:53.312Z"
_LATER = "2026-11-21T18:00:00.000Z"
_TOTAL = schemas.Total(32000, "EUR")
_LINES = (
    schemas.LineAnswer("print-a2", 1, "berlin", 25000),
    schemas.LineAnswer("poster", 2, "default", 3500),
)
_WANTED = (requests.LineBody("print-a2", 1), requests.LineBody("poster", 2))
_SPEC = {
    "items": [
        {
            "sku": "print-a2",
            "name": "Print, A2",
            "price": {"amount": 25000, "currency": "EUR"},
            "locations": {"berlin": 300, "lyon": 200},
        },
        {"sku": "poster", "price": {"amount": 3500, "currency": "EUR"}, "stock": 5000},
    ],
    "hold_seconds": 600,
    "per_buyer_limit": 2,
}
_ORDER = schemas.OrderAnswer(
    order_id=_ID,
    sale_id=_SALE,
    buyer_id="buyer-17",
    status="PENDING",
    lines=(schemas.OrderLineAnswer("print-a2", "berlin", 1, 0, 0, 25000),),
    total=schemas.Total(25000, "EUR"),
    expires_at=_DEADLINE,
    payment_reference=None,
    events=(schemas.OrderEventAnswer("PENDING", "2026-11-21T12:40:53.312Z", _EVENT, {}),),
)
_LETTER = ops.DeadLetterAnswer(
    dead_letter_id=17,
    sale_id=_SALE,
    partition=0,
    epoch=1,
    sequence=12,
    reason="undecodable",
    error="JSON is malformed: invalid character (byte 14)",
    raw="eyJ0eXBlIjoicmVzZXJ2ZSIs",
    status="dead",
    created_at=_DEADLINE,
    resolved_at=None,
)
_RECONCILIATION = ops.ReconciliationAnswer(
    reconciliation_id=5,
    sale_id=_SALE,
    status="done",
    apply=False,
    balanced=True,
    failure=None,
    compared=20000,
    to_compare=20000,
    differences=(),
    watermarks=(ops.WatermarkAnswer(0, 1, 7),),
    rebuilds=(),
    imports=(),
    requested_by="alice",
    requested_at=_DEADLINE,
    finished_at=_DEADLINE,
)

_UNDER_WAY = msgspec.structs.replace(
    _RECONCILIATION,
    status="running",
    balanced=None,
    compared=8000,
    watermarks=(),
    finished_at=None,
)

_EXAMPLES: dict[type, object] = {
    requests.ReserveBody: requests.ReserveBody(_WANTED),
    requests.ConfirmBody: {"payment_reference": "pay-8812"},
    requests.ExtendBody: requests.ExtendBody(60),
    requests.ReturnBody: {"restock": True, "reason": "damaged"},
    requests.AdjustBody: requests.AdjustBody("print-a2", -5, "recount", "berlin"),
    DemoPaymentBody: DemoPaymentBody(_ID),
    requests.ReconcileBody: requests.ReconcileBody(),
    SaleSpec: _SPEC,
    schemas.ReservationAnswer: schemas.ReservationAnswer(
        reservation_id=_ID,
        order_id=_ID,
        sale_id=_SALE,
        buyer_id="buyer-17",
        lines=_LINES,
        total=_TOTAL,
        state="held",
        expires_at=_DEADLINE,
        event_id=_EVENT,
    ),
    schemas.OrderAnswer: _ORDER,
    schemas.OrdersAnswer: schemas.OrdersAnswer((_ORDER,), None),
    schemas.PublicSale: schemas.PublicSale(
        sale_id=_SALE,
        state=SaleState.OPEN,
        version=3,
        opens_at=None,
        closes_at=None,
        hold_seconds=600,
        waiting_room=None,
        items=(
            schemas.PublicItem(
                sku="print-a2",
                name="Print, A2",
                price=Money(25000, "EUR"),
                per_buyer_limit=2,
                paused=False,
                availability="plenty",
            ),
        ),
    ),
    ops.SaleAnswer: ops.SaleAnswer(
        sale_id=_SALE,
        state=SaleState.OPEN,
        version=3,
        hold_seconds=600,
        extension_seconds=600,
        partitions=1,
        per_buyer_limit=2,
        split_lines=False,
        opens_at=None,
        closes_at=None,
        unpaid_per_buyer=100,
        unpaid_window_seconds=3600,
        cooldown=None,
        waiting_room=None,
        items=(ItemSpec("poster", Money(3500, "EUR"), stock=5000),),
        paused_skus=(),
    ),
    ops.AdjustmentAnswer: ops.AdjustmentAnswer(
        _SALE, "print-a2", "berlin", -5, available=494, held=0, sold=1, floor=0, sequence=7
    ),
    ops.SnapshotAnswer: ops.SnapshotAnswer(
        _SALE,
        (ops.SnapshotItem("poster", 5000, -5, 0, 0, available=4994, held=0, sold=1),),
        (ops.SnapshotPartition(0, 1, 7, "open"),),
    ),
    ops.AccountingAnswer: ops.AccountingAnswer(
        _SALE,
        settled_at=_LATER,
        settled_by="alice",
        revenue=schemas.Total(10500, "EUR"),
        refunded=schemas.Total(3500, "EUR"),
        lines=(
            ops.AccountingLine(
                sku="poster",
                location="default",
                loaded=5000,
                adjusted=-5,
                adjustments=(ops.AccountingAdjustment("recount", -5),),
                transferred=0,
                confirmed=4,
                restocked=1,
                written_off=0,
                returns=(ops.AccountingReturn("too late", 1, 0),),
                sold=3,
                unsold=4992,
                revenue=10500,
                refunded=3500,
            ),
        ),
    ),
    ops.ReconciliationAnswer: _RECONCILIATION,
    ops.ReconciliationsAnswer: ops.ReconciliationsAnswer((_RECONCILIATION,)),
    requests.QueueRateBody: requests.QueueRateBody(20.0),
    requests.QueueRevokeBody: requests.QueueRevokeBody("buyer-17", "a bot"),
    ops.DeadLetterAnswer: _LETTER,
    ops.DeadLettersAnswer: ops.DeadLettersAnswer((_LETTER,), None),
}
# Examples of answers whose status says more than the type.
_OF_STATUS: dict[tuple[type, int], object] = {(ops.ReconciliationAnswer, 202): _UNDER_WAY}


def example_of(type_: type, status: int = 200) -> Any:
    """The example of a body, or of an answer with this status, as JSON values.

    None without an example.
    """
    example = _OF_STATUS.get((type_, status), _EXAMPLES.get(type_))
    return None if example is None else msgspec.to_builtins(example)
