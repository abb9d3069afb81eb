"""What the scripts answer about one reservation, as a result or as a Problem."""

import msgspec

from gateway.api.contract.problems import Problem, not_found, recovering
from gateway.api.contract.schemas import ReservationAnswer
from gateway.api.reservations.refusals import key_reused
from gateway.api.reservations.rendering import reservation_answer
from gateway.api.sales.facts import SaleFacts
from gateway.inventory.errors import InventoryError, Overloaded, Recovering, UnknownOutcome
from gateway.inventory.keys import PartitionId
from gateway.inventory.outcomes import EdgeReply, Outcome


class Resolution(msgspec.Struct, frozen=True):
    """A reservation after a call; `replayed` when the call had been made before."""

    reservation: ReservationAnswer
    replayed: bool = False


def resolution_of(facts: SaleFacts, partition: PartitionId, reply: EdgeReply) -> Resolution:
    """The reservation after the edge. Raises the Problem of a refusal."""
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
            raise Problem("invalid_state", "Only what was confirmed returns.", state=answer.state)
        case Outcome.NOT_SOLD:
            raise Problem(
                "invalid_state",
                "More than is left of what was confirmed.",
                lines=answer.lines,
                returned=answer.returned,
            )
        case Outcome.TOO_MANY:
            raise Problem("invalid_state", "No more returns are kept for one reservation.")
    return Resolution(answer, replayed=reply.outcome == Outcome.REPLAYED)


def _blind_refusal(partition: PartitionId, outcome: str) -> Problem:
    """The Problem of a refusal that tells nothing of the reservation."""
    match outcome:
        case Outcome.UNKNOWN:
            return not_found("reservation")
        case Outcome.KEY_REUSED:
            return key_reused()
        case Outcome.LEDGER_BEHIND:
            return Problem("ledger_behind", "The ledger must catch up before holds are longer.")
    raise RuntimeError(f"{partition} answered {outcome} and no reservation")


def hold_expired(answer: ReservationAnswer) -> Problem:
    """The deadline has passed."""
    return Problem("hold_expired", "The hold has expired.", expires_at=answer.expires_at)


def already_resolved(answer: ReservationAnswer) -> Problem:
    """It took another way."""
    return Problem("already_resolved", f"The reservation is {answer.state}.", state=answer.state)


def unavailable(error: InventoryError) -> Problem:
    """The Problem of a call without an answer; raises the error again where it is a defect."""
    if isinstance(error, Overloaded):
        return Problem("overloaded", "Too much is under way.")
    if isinstance(error, Recovering | UnknownOutcome):
        return recovering()
    raise error
