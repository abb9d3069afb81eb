"""What an answer of the HTTP contract says, as far as the history needs it."""

import msgspec

from loadtest.client.history import NO_ANSWER, Attempt


class Line(msgspec.Struct, frozen=True):
    """Units of one SKU that a buyer wants."""

    sku: str
    quantity: int


class _Shown(msgspec.Struct, frozen=True):
    reservation_id: str


class Order(msgspec.Struct, frozen=True):
    """An order in a list, as the ledger has it."""

    order_id: str
    sale_id: str
    buyer_id: str
    status: str
    expires_at: str
    lines: tuple[Line, ...]


class Answer(msgspec.Struct, frozen=True):
    """A reservation, a list of orders, a problem or a place in the queue; empty where a field is
    not there.
    """

    code: str = ""
    reservation_id: str = ""
    buyer_id: str = ""
    own_holds: tuple[_Shown, ...] = ()
    state: str = ""
    lines: tuple[Line, ...] = ()
    expires_at: str = ""
    sku: str = ""
    orders: tuple[Order, ...] = ()
    ticket: str = ""
    position: int | None = None
    ahead: int | None = None
    poll_after_seconds: float | None = None
    admission_token: str | None = None


class Asked(msgspec.Struct, frozen=True):
    """One request before its answer.

    `of` is the id of the reservation that the request is about, `key` the Idempotency-Key of a
    reserve, `wanted` its (SKU, quantity) pairs, `admission` its Admission-Token. `scheduled_at` is
    when a timetable wanted the request sent; 0 where there was no timetable.
    """

    call: str
    caller: str
    buyer_id: str
    started_at: float
    key: str = ""
    of: str = ""
    scheduled_at: float = 0.0
    admission: str = ""
    wanted: tuple[tuple[str, int], ...] = ()


# The state that the reservation of an order has, by the order's status.
STATE_OF_STATUS = {
    "PENDING": "held",
    "CONFIRMED": "confirmed",
    "CANCELLED": "cancelled",
    "EXPIRED": "expired",
}

_answers = msgspec.json.Decoder(Answer)


def understood(status: int, body: bytes) -> Answer:
    """Decode a body; a body that breaks the contract becomes an answer whose code says so."""
    if status == NO_ANSWER or not body:
        return Answer()
    try:
        return _answers.decode(body)
    except msgspec.DecodeError:
        return Answer(code=f"not JSON ({status})")


def remembered(
    asked: Asked, answer: Answer, *, status: int, seconds: float, replayed: bool, retry_after: bool
) -> Attempt:
    """The request and its answer as the history keeps them."""
    return Attempt(
        call=asked.call,
        caller=asked.caller,
        buyer_id=asked.buyer_id,
        status=status,
        started_at=asked.started_at,
        seconds=seconds,
        key=asked.key,
        code=answer.code,
        reservation_id=asked.of or answer.reservation_id,
        owner=answer.buyer_id,
        replayed=replayed,
        retry_after=retry_after,
        shown=(
            *(hold.reservation_id for hold in answer.own_holds),
            *(order.order_id for order in answer.orders),
        ),
        state=answer.state,
        units=sum(line.quantity for line in answer.lines),
        expires_at=answer.expires_at,
        scheduled_at=asked.scheduled_at,
        admission=asked.admission,
        wanted=asked.wanted,
        sku=answer.sku,
    )


def listed(attempt: Attempt, order: Order) -> Attempt:
    """One order of an answered list as the history keeps it."""
    return msgspec.structs.replace(
        attempt,
        reservation_id=order.order_id,
        owner=order.buyer_id,
        shown=(),
        state=STATE_OF_STATUS[order.status],
        units=sum(line.quantity for line in order.lines),
        expires_at=order.expires_at,
    )
