"""A partition rebuilt from its events alone, as a recovery from the ledger would have to."""

from collections.abc import Sequence

from gateway.inventory.events import (
    Adjust,
    Cancel,
    Confirm,
    Event,
    EventLine,
    Expire,
    Extend,
    Load,
    Position,
    Rebase,
    Recover,
    Reserve,
    ReturnUnits,
    SetState,
)
from gateway.inventory.keys import parse_reservation_id
from gateway.inventory.types import ReservationState
from tests.property.edges import Model
from tests.property.model import Claim
from tests.support.scripts.sale import Sale


class Fold(Model):
    """A fold over events, given what no event has: server run, bounds, the ledger's progress."""

    def __init__(self, sale: Sale, run_id: str, first: Event) -> None:
        super().__init__(sale, run_id, first.occurred_at)
        assert isinstance(first, Load)
        assert self.outbox == [first]

    def apply(self, event: Event) -> None:
        """Apply the next event: check its number, then do what it says."""
        if isinstance(event, Recover):
            assert event.previous == Position(self.epoch, self.sequence)
            self.shift += event.shift_ms
        else:
            assert event.position == Position(self.epoch, self.sequence + 1)
        self.epoch, self.sequence = event.epoch, event.sequence
        self.last_time = event.occurred_at
        if isinstance(event, Rebase):
            self.shift += event.shift_ms
        if isinstance(event, SetState):
            self._apply_state(event)
        elif isinstance(event, Adjust):
            account = self.accounts[self.sale.account_number(event.sku, event.location)]
            account.adjusted += event.delta
            account.available += event.delta
            if event.adjust_key is not None:
                made = (event.fingerprint or "", event.sequence, event.occurred_at)
                self.adjustments[event.adjust_key.rstrip("_")] = made
        elif isinstance(event, Reserve | Confirm | Cancel | Expire | Extend | ReturnUnits):
            self._apply_to_claim(event)
        else:
            assert isinstance(event, Load | Recover | Rebase)

    def _apply_state(self, event: SetState) -> None:
        if event.sku is None:
            self.state = event.to
        elif event.to == "paused":
            self.paused.add(self.sale.item_number(event.sku))
        else:
            self.paused.discard(self.sale.item_number(event.sku))

    def _apply_to_claim(
        self, event: Reserve | Confirm | Cancel | Expire | Extend | ReturnUnits
    ) -> None:
        reservation_id = parse_reservation_id(event.reservation_id)
        assert reservation_id is not None
        name = reservation_id.token.rstrip("_")
        lines = self._lines(event.lines)
        at = (event.epoch, event.sequence)
        if isinstance(event, Reserve):
            deadline = event.deadline - self.shift
            self.claims[name] = Claim(
                *(name, event.buyer_id, event.fingerprint, lines, deadline, at, at),
                admission=event.admission or 0,
            )
            self._move(lines, "available", "held")
            return
        claim = self.claims[name]
        claim.last = at
        assert claim.buyer == event.buyer_id
        if isinstance(event, Confirm):
            self.resolve(claim, ReservationState.CONFIRMED)
            claim.payment = event.payment_reference
            claim.lines = lines
            self._move(lines, "held", "sold")
            self._move(self._lines(event.released), "held", "available")
        elif isinstance(event, ReturnUnits):
            self._return(claim, event, lines)
        else:
            assert claim.lines == lines
            if isinstance(event, Extend):
                claim.deadline = event.deadline - self.shift
                claim.extended_ms = event.extended_ms
                if event.extend_key is not None:
                    claim.extend_keys[event.extend_key.rstrip("_")] = event.asked_ms or 0
                return
            cancelled = isinstance(event, Cancel)
            state = ReservationState.CANCELLED if cancelled else ReservationState.EXPIRED
            self.give_back(claim, state, event.occurred_at)
            self._move(lines, "held", "available")

    def _return(self, claim: Claim, event: ReturnUnits, lines: dict[int, int]) -> None:
        for number, units in lines.items():
            claim.returned[number] = claim.returned.get(number, 0) + units
            if not event.restock:
                self.accounts[number].sold -= units
                self.accounts[number].adjusted -= units
        if event.restock:
            self._move(lines, "sold", "available")
        claim.return_keys[event.return_key.rstrip("_")] = event.fingerprint

    def _lines(self, lines: tuple[EventLine, ...]) -> dict[int, int]:
        return {self.sale.account_number(n.sku, n.location): n.quantity for n in lines}

    def _move(self, lines: dict[int, int], from_: str, to: str) -> None:
        for number, units in lines.items():
            account = self.accounts[number]
            setattr(account, from_, getattr(account, from_) - units)
            setattr(account, to, getattr(account, to) + units)


def fold(
    sale: Sale, run_id: str, events: Sequence[Event], moves: Sequence[tuple[int, int]]
) -> Fold:
    """`moves`: how a test moved the partition's clock, as (events before it, shift added)."""
    folded = Fold(sale, run_id, events[0])
    for number, event in enumerate(events[1:], start=1):
        folded.shift += sum(shift for at, shift in moves if at == number)
        folded.apply(event)
    folded.shift += sum(shift for at, shift in moves if at >= len(events))
    return folded
