"""Turns the scripts' replies about one reservation into a Resolution or a Problem."""

import msgspec

from gateway.api.contract.problems import Problem, not_found, recovering
from gateway.api.contract.schemas import ReservationAnswer
from gateway.api.reservations.refusals import key_reused
from gateway.api.reservations.rendering import reservation_answer
from gateway.api.sales.facts import SaleFacts
from gateway.inventory.errors import InventoryError, Overloaded, Recovering, UnknownOutcome
from gateway.inventory.keys import PartitionId
from gateway.inventory.outcomes import EdgeReply, Outcome

# Only what is confirmed is returned, and only what is held is extended.
_TOO_MANY = {
    "confirmed": "The reservation has the most returns it can have.",
    "held": (
        "The hold has the most extensions with an Idempotency-Key that it can have; extend it "
        "without a key."
    ),
}


class Resolution(msgspec.Struct, frozen=True):
    """A reservation after a call; `replayed`: the call had taken effect before."""

    reservation: ReservationAnswer
    replayed: bool = False


def resolution_of(facts: SaleFacts, partition: PartitionId, reply: EdgeReply) -> Resolution:
    """The reservation after a change of state. Raises the Problem of a refusal."""
    if reply.reservation is None:
        raise _blind_refusal(partition, reply.outcome)
    answer = reservation_answer(facts, partition, reply.reservation)
    match reply.outcome:
        case Outcome.HOLD_EXPIRED:
            raise hold_expired(answer)
        case Outcome.ALREADY_RESOLVED:
            raise already_resolved(answer)
        case Outcome.NOT_RESERVED:
            raise Problem("invalid", "lines: more than was reserved.", lines=answer.lines)
        case Outcome.NOT_CONFIRMED:
            raise Problem(
                "invalid_state", "Only confirmed units can be returned.", state=answer.state
            )
        case Outcome.NOT_SOLD:
            raise Problem(
                "invalid_state",
                "More units than were confirmed and not returned yet.",
                lines=answer.lines,
                returned=answer.returned,
            )
        case Outcome.TOO_MANY:
            raise Problem("invalid_state", _TOO_MANY[answer.state], state=answer.state)
    return Resolution(answer, replayed=reply.outcome == Outcome.REPLAYED)


def _blind_refusal(partition: PartitionId, outcome: str) -> Problem:
    """The Problem of a reply without the reservation."""
    match outcome:
        case Outcome.UNKNOWN:
            return not_found("reservation")
        case Outcome.KEY_REUSED:
            return key_reused()
        case Outcome.LEDGER_BEHIND:
            return Problem("ledger_behind", "The ledger must catch up before holds are extended.")
    raise RuntimeError(f"{partition} answered {outcome} without a reservation")


def hold_expired(answer: ReservationAnswer) -> Problem:
    """The Problem of a hold whose deadline has passed."""
    return Problem("hold_expired", "The hold has expired.", expires_at=answer.expires_at)


def already_resolved(answer: ReservationAnswer) -> Problem:
    """The Problem of a reservation that was resolved in another way."""
    return Problem("already_resolved", f"The reservation is {answer.state}.", state=answer.state)


def unavailable(error: InventoryError) -> Problem:
    """The Problem of a call without an answer. Raises an error that is a defect again."""
    if isinstance(error, Overloaded):
        return Problem("overloaded", "Too many requests are under way.")
    if isinstance(error, Recovering | UnknownOutcome):
        return recovering()
    raise error
