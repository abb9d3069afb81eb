"""The Problems of refused reserves, one for each refusing outcome of the script."""

from collections.abc import Callable

from gateway.api.contract.problems import Problem
from gateway.api.reservations.rendering import own_holds
from gateway.api.sales.facts import SaleFacts
from gateway.inventory.keys import PartitionId
from gateway.inventory.outcomes import Outcome, ReserveReply

_UNADMITTED = {
    "missing": "An Admission-Token of this buyer for this sale is required: join the queue.",
    "spent": "The admission was spent by an earlier reservation: join the queue again.",
    "expired": "The admission has ended: join the queue again.",
}


def refusal(facts: SaleFacts, partition: PartitionId, reply: ReserveReply) -> Problem:
    """The Problem of a refusing reply. Raises RuntimeError for an outcome that is not a refusal."""
    tell = _TOLD.get(reply.outcome)
    if tell is None:
        raise RuntimeError(f"a reserve was answered {reply.outcome}: {reply.detail}")
    return tell(facts, partition, reply)


def not_open(state: str) -> Problem:
    """The Problem when the sale's state does not allow reservations."""
    return Problem("sale_not_open", "The sale does not accept reservations now.", state=str(state))


def key_reused() -> Problem:
    """The Problem when the Idempotency-Key is bound to another request."""
    return Problem("idempotency_key_reused", "This key was used with another request.")


def _not_open(facts: SaleFacts, _partition: PartitionId, reply: ReserveReply) -> Problem:
    if reply.detail != "item_paused":
        return not_open(str(reply.detail))
    sku = facts.catalog.item(_number(reply.more)).sku
    return Problem("sale_not_open", f"SKU {sku} is paused.", state="paused", sku=sku)


def _cooling_down(_facts: SaleFacts, _partition: PartitionId, reply: ReserveReply) -> Problem:
    wait_seconds = -(-_number(reply.detail) // 1000)
    return Problem(
        "rate_limited",
        f"{reply.more} holds of this buyer expired or were cancelled; the next hold must wait.",
        headers=(("Retry-After", str(wait_seconds)),),
        limit="given_back",
        given_back=reply.more,
    )


def _not_admitted(_facts: SaleFacts, _partition: PartitionId, reply: ReserveReply) -> Problem:
    reason = str(reply.detail)
    return Problem("not_admitted", _UNADMITTED[reason], reason=reason)


def _limit_exceeded(facts: SaleFacts, partition: PartitionId, reply: ReserveReply) -> Problem:
    shown, limit = own_holds(partition, reply.holds), _number(reply.more)
    if reply.detail == 0:
        return Problem(
            "limit_exceeded",
            f"A buyer may have {limit} unpaid reservations in a sale.",
            limit=limit,
            own_holds=shown,
        )
    sku = facts.catalog.item(_number(reply.detail)).sku
    return Problem(
        "limit_exceeded",
        f"A buyer may have {limit} of SKU {sku}, held and bought.",
        sku=sku,
        limit=limit,
        own_holds=shown,
    )


def _sold_out(facts: SaleFacts, partition: PartitionId, reply: ReserveReply) -> Problem:
    sku = facts.catalog.item(_number(reply.detail)).sku
    holds = reply.more if isinstance(reply.more, tuple) else ()
    shown = own_holds(partition, holds)
    return Problem("sold_out", f"SKU {sku} is sold out.", sku=sku, own_holds=shown)


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is not a number")
    return value


_TOLD: dict[str, Callable[[SaleFacts, PartitionId, ReserveReply], Problem]] = {
    Outcome.KEY_REUSED: lambda *_: key_reused(),
    Outcome.NOT_OPEN: _not_open,
    Outcome.COOLING_DOWN: _cooling_down,
    Outcome.NOT_ADMITTED: _not_admitted,
    Outcome.LEDGER_BEHIND: lambda *_: Problem(
        "ledger_behind", "The ledger must catch up before more units are promised."
    ),
    Outcome.OVERLOADED: lambda *_: Problem(
        "overloaded", "Expired holds are being returned to stock; ask again."
    ),
    Outcome.LIMIT_EXCEEDED: _limit_exceeded,
    Outcome.SOLD_OUT: _sold_out,
}
