"""The model's other edges: what becomes of a reservation, of stock, of the sale, of the epoch."""

from gateway.inventory.events import (
    Adjust,
    Cancel,
    Confirm,
    Extend,
    Position,
    Rebase,
    Recover,
    ReturnUnits,
    SetState,
)
from gateway.inventory.outcomes import AdjustReply, EdgeReply
from gateway.inventory.types import Reservation, ReservationState
from tests.property.model import CONFIRMED, HELD, Claim
from tests.property.reserving import Reserving
from tests.support.scripts.sale import Lines, token

MOST_RETURNS = 32
MOST_EXTEND_KEYS = 32
SALE_EDGES = {
    "scheduled": {"open", "closed"},
    "open": {"paused", "closed"},
    "paused": {"open", "closed"},
    "closed": set[str](),
}


class Model(Reserving):
    """The whole partition."""

    def confirm(self, wall: int, name: str, payment: str, lines: Lines) -> EdgeReply:
        """Held → confirmed."""
        claim = self.claims.get(name)
        if claim is not None and claim.state == CONFIRMED and claim.payment == payment:
            return self._told("replayed", claim)
        refusal = self._not_held(claim, wall, {CONFIRMED, ReservationState.CANCELLED})
        if refusal or claim is None:
            return refusal or EdgeReply("unknown")
        sold = self._select(claim.lines, lines)
        if sold is None:
            return self._told("not_reserved", claim)
        released = {a: left for a, n in claim.lines.items() if (left := n - sold.get(a, 0))}
        claim.lines, claim.payment = sold, payment
        self.resolve(claim, CONFIRMED)
        back = self.event_lines(released)
        self.emit_for(Confirm, wall, claim, released=back, payment_reference=payment)
        for number, units in sold.items():
            self.accounts[number].held -= units
            self.accounts[number].sold += units
        for number, units in released.items():
            self.accounts[number].held -= units
            self.accounts[number].available += units
        return self._told("confirmed", claim)

    def cancel(self, wall: int, name: str, actor: str) -> EdgeReply:
        """Held → cancelled."""
        claim = self.claims.get(name)
        if claim is not None and claim.state == ReservationState.CANCELLED:
            return self._told("replayed", claim)
        refusal = self._not_held(claim, wall, {CONFIRMED})
        if refusal or claim is None:
            return refusal or EdgeReply("unknown")
        self.emit_for(Cancel, wall, claim, actor=actor)
        self.give_back(claim, ReservationState.CANCELLED, wall)
        for number, units in claim.lines.items():
            self.accounts[number].held -= units
            self.accounts[number].available += units
        return self._told("cancelled", claim)

    def extend(self, wall: int, name: str, milliseconds: int, key: str) -> EdgeReply:
        """A later deadline; the key is empty for none."""
        claim = self.claims.get(name)
        if claim is not None and key in claim.extend_keys:
            if claim.extend_keys[key] != milliseconds:
                return EdgeReply("key_reused")
            self.expire_if_due(claim, wall)
            return self._told("replayed", claim)
        refusal = self._not_held(claim, wall, {CONFIRMED, ReservationState.CANCELLED})
        if refusal or claim is None:
            return refusal or EdgeReply("unknown")
        granted = min(milliseconds, self.sale.extension_ms - claim.extended_ms)
        if granted <= 0:
            return self._told("at_cap", claim)
        if key and len(claim.extend_keys) >= MOST_EXTEND_KEYS:
            return self._told("too_many", claim)
        if self.is_behind():
            return EdgeReply("ledger_behind")
        claim.deadline += granted
        claim.extended_ms += granted
        deadline = claim.deadline + self.shift
        once = {"extend_key": token(key), "asked_ms": milliseconds} if key else {}
        about = {"deadline": deadline, "extended_ms": claim.extended_ms, **once}
        self.emit_for(Extend, wall, claim, None, **about)
        if key:
            claim.extend_keys[key] = milliseconds
        return self._told("extended", claim)

    def return_units(
        self, wall: int, name: str, key: str, lines: Lines, *, restock: bool, fingerprint: str
    ) -> EdgeReply:
        """Units given back after confirmation."""
        claim = self.claims.get(name)
        if claim is None:
            return EdgeReply("unknown")
        if key in claim.return_keys:
            same = claim.return_keys[key] == fingerprint
            return self._told("replayed", claim) if same else EdgeReply("key_reused")
        if claim.state != CONFIRMED:
            self.expire_if_due(claim, wall)
            return self._told("not_confirmed", claim)
        back = self._select(claim.left(), lines)
        if not back:
            return self._told("not_sold", claim)
        if len(claim.return_keys) >= MOST_RETURNS:
            return self._told("too_many", claim)
        about = {"restock": restock, "reason": "refund", "return_key": token(key)}
        self.emit_for(ReturnUnits, wall, claim, back, **about, fingerprint=fingerprint)
        claim.return_keys[key] = fingerprint
        for number, units in back.items():
            account = self.accounts[number]
            account.sold -= units
            if restock:
                account.available += units
            else:
                account.adjusted -= units
        given = {a: claim.returned.get(a, 0) + back.get(a, 0) for a in claim.lines}
        claim.returned = {account: units for account, units in given.items() if units}
        return self._told("returned", claim)

    def adjust(self, wall: int, number: int, delta: int, once: tuple[str, str]) -> AdjustReply:
        """Units in or out; `once`: key and fingerprint, the key empty for none."""
        account = self.accounts[number]
        floor = self.sale.items[account.item - 1].floor
        alone = sum(a.item == account.item for a in self.accounts.values()) == 1
        lowest = floor if alone else min(0, floor)
        key, fingerprint = once
        outcome, sequence = "adjusted", self.sequence
        if key in self.adjustments:
            same = self.adjustments[key][0] == fingerprint
            outcome = "replayed" if same else "key_reused"
            sequence = self.adjustments[key][1] if same else sequence
        elif self.state == "closed":
            outcome = "closed"
        elif self.is_behind():
            outcome = "ledger_behind"
        elif delta < 0 and (
            self.available(account.item) + delta < floor or account.available + delta < lowest
        ):
            outcome = "floor_violation"
        if outcome == "adjusted":
            place = {"sku": account.sku, "location": account.location}
            about = {"adjust_key": token(key), "fingerprint": fingerprint} if key else {}
            self.emit(Adjust, wall, **place, delta=delta, reason="recount", actor="ops", **about)
            sequence = self.sequence
            if key:
                self.adjustments[key] = (fingerprint, sequence, wall)
            account.adjusted += delta
            account.available += delta
        counters = (self.available(account.item), account.held, account.sold)
        return AdjustReply(outcome, *counters, floor, sequence)

    def set_state(self, wall: int, to: str, item: int) -> tuple[str, str]:
        """Change the state of the sale, or of one item."""
        was = self.state
        if item:
            was = "paused" if item in self.paused else "open"
        if was == to:
            return "unchanged", was
        if to not in SALE_EDGES[was] or (item and to == "closed"):
            return "invalid_state", was
        sku = self.sale.items[item - 1].sku if item else None
        self.emit(SetState, wall, from_=was, to=to, sku=sku, actor="ops")
        if item:
            self.paused ^= {item}
        else:
            self.state = to
        return "changed", was

    def expire(self, wall: int, most: int) -> tuple[int, int, int]:
        """Returns holds expired, holds still due, and the next deadline on the wall clock."""
        due = self.due(wall)
        for claim in due[:most]:
            self.expire_claim(claim, wall)
        held = [claim.deadline for claim in self.claims.values() if claim.state == HELD]
        following = min(held) + self.shift if held else 0
        return len(due[:most]), len(due[most:]), following

    def trim(self, watermark: int) -> tuple[int, int]:
        """Events dropped, and the watermark."""
        if watermark < self.ledger_sequence:
            return 0, self.ledger_sequence
        self.ledger_sequence = watermark
        first = Position(self.epoch, self.ledger_sequence)
        kept = [event for event in self.outbox if event.position >= first]
        trimmed = len(self.outbox) - len(kept)
        self.outbox = kept
        return trimmed, self.ledger_sequence

    def recover(self, wall: int, run_id: str, epoch: int, closed: Position, alive_at: int) -> str:
        """A new epoch."""
        if epoch == self.epoch:
            return "already" if run_id == self.run_id else "differs"
        if epoch < self.epoch:
            return "newer"
        if closed != Position(self.epoch, self.sequence):
            return "differs"
        outage = max(0, wall - max(alive_at, self.last_time))
        self.run_id, self.epoch, self.sequence, self.ledger_sequence = run_id, epoch, 0, 0
        self.emit(Recover, wall, previous=closed, shift_ms=outage, restored=False)
        self.shift += outage
        return "recovered"

    def read(self, wall: int, names: list[str]) -> list[Reservation | bool]:
        """Reservations by name, False for a name that nobody has used."""
        found: list[Reservation | bool] = []
        for name in names:
            claim = self.claims.get(name)
            if claim is not None:
                self.expire_if_due(claim, wall)
            found.append(claim is not None and self.view(claim))
        return found

    def rebase(self, wall: int, ahead: int) -> None:
        """The server's time again; the partition's own clock goes on from where it stood."""
        self.emit(Rebase, wall, shift_ms=-ahead)
        self.shift -= ahead

    def _told(self, outcome: str, claim: Claim) -> EdgeReply:
        return EdgeReply(outcome, self.view(claim))

    def _not_held(
        self, claim: Claim | None, wall: int, resolved: set[ReservationState]
    ) -> EdgeReply | None:
        if claim is None:
            return EdgeReply("unknown")
        if claim.state in resolved:
            return self._told("already_resolved", claim)
        self.expire_if_due(claim, wall)
        if claim.state == ReservationState.EXPIRED:
            return self._told("hold_expired", claim)
        return None

    def _select(self, lines: dict[int, int], selection: Lines) -> dict[int, int] | None:
        """The named part of `lines`, named places first; None where `lines` has fewer units."""
        if not selection:
            return dict(lines)
        left = dict(lines)
        for line in sorted(selection, key=len, reverse=True):
            item, missing = self.sale.item_number(line[0]), line[1]
            for number, units in left.items():
                account = self.accounts[number]
                if account.item == item and (len(line) == 2 or account.location == line[2]):
                    part = min(missing, units)
                    left[number] = units - part
                    missing -= part
            if missing:
                return None
        return {a: taken for a, n in lines.items() if (taken := n - left[a])}
