"""The model's reserve: a batch decided one request after the other."""

from dataclasses import dataclass

from msgspec.structs import force_setattr

from gateway.inventory.events import Expire, Reserve
from gateway.inventory.outcomes import ReserveReply
from gateway.inventory.types import Reservation, ReservationState
from tests.property.model import SHOWN_HOLDS, Claim, Partition
from tests.support.scripts.sale import Ask

Wanted = list[tuple[int, int, int]]  # (item, account or 0, units)


@dataclass
class Batch:
    """State shared by the requests of one call: the time, and the one sweep they may cause."""

    wall: int
    due: list[Claim]
    swept: bool = False


class Reserving(Partition):
    """A partition that takes reservations."""

    def reserve(self, wall: int, asks: tuple[Ask, ...]) -> tuple[ReserveReply, ...]:
        """All replies, in order."""
        batch = Batch(wall, self.due(wall))
        return tuple(self._decide(number, ask, batch) for number, ask in enumerate(asks))

    def expire_claim(self, claim: Claim, wall: int) -> None:
        """Held → expired."""
        self.emit_for(Expire, wall, claim)
        self.give_back(claim, ReservationState.EXPIRED, wall)
        for number, units in claim.lines.items():
            self.accounts[number].held -= units
            self.accounts[number].available += units

    def expire_if_due(self, claim: Claim, wall: int) -> None:
        """Whatever is answered about a due hold is answered after its event."""
        if self.is_due(claim, wall):
            self.expire_claim(claim, wall)

    def _decide(self, number: int, ask: Ask, batch: Batch) -> ReserveReply:
        known = self.claims.get(ask.name)
        if known is not None:
            if (known.buyer, known.fingerprint) != (ask.buyer, ask.fingerprint):
                return ReserveReply(number, "key_reused")
            self.expire_if_due(known, batch.wall)
            return ReserveReply(number, "replayed", self.view(known))
        remaining, wait_ms = self._metered(ask, batch.wall)
        if wait_ms:
            return ReserveReply(number, "rate_limited", wait_ms, remaining=0)
        reply = self._judge(number, ask, batch)
        force_setattr(reply, "remaining", remaining)
        return reply

    def _metered(self, ask: Ask, wall: int) -> tuple[int, int]:
        """Requests the buyer has left (-1: this one does not count); ms until the next may come."""
        if self.sale.rate is None or not ask.metered:
            return -1, 0
        requests, window_ms = self.sale.rate
        interval = window_ms * 1000 // requests
        now = wall * 1000
        full_at = max(self.full_at.get(ask.buyer, 0), now) + interval
        room = now + requests * interval - full_at
        if room < 0:
            return 0, -(room // 1000)
        self.full_at[ask.buyer] = full_at
        return room // interval, 0

    def _judge(self, number: int, ask: Ask, batch: Batch) -> ReserveReply:
        wanted = self._wanted(ask)
        refusal = self._cooling(number, ask.buyer, batch.wall)
        refusal = refusal or self._closed(number, wanted, batch.wall)
        refusal = refusal or self._unadmitted(number, ask, batch.wall)
        refusal = refusal or self._unpaid(number, ask.buyer, batch.wall)
        refusal = refusal or self._limited(number, ask.buyer, wanted, batch.wall)
        if refusal:
            return refusal
        placed = self._place_or_sweep(wanted, batch)
        if isinstance(placed, int):
            if batch.swept and len(batch.due) > self.sale.sweep_bound:
                return ReserveReply(number, "overloaded")
            return ReserveReply(number, "sold_out", placed, self._shown(ask.buyer))
        claim = self._hold(ask, placed, batch.wall)
        return ReserveReply(number, "accepted", self.view(claim))

    def _closed(self, number: int, wanted: Wanted, wall: int) -> ReserveReply | None:
        sale = self.sale
        in_window = wall >= sale.opens_at and (not sale.closes_at or wall < sale.closes_at)
        if self.state != "open" or not in_window:
            return ReserveReply(number, "not_open", self.state)
        if self.is_behind():
            return ReserveReply(number, "ledger_behind")
        for item, _, _ in wanted:
            if item in self.paused:
                return ReserveReply(number, "not_open", "item_paused", item)
        return None

    def _cooling(self, number: int, buyer: str, wall: int) -> ReserveReply | None:
        if not self.sale.cooldown[0]:
            return None
        self._expire_own(buyer, wall)
        wait_ms = self.cools_until.get(buyer, 0) - (wall - self.shift)
        if wait_ms <= 0:
            return None
        return ReserveReply(number, "cooling_down", wait_ms, self.given_back(buyer))

    def _unpaid(self, number: int, buyer: str, wall: int) -> ReserveReply | None:
        most, window_ms = self.sale.unpaid_per_buyer, self.sale.unpaid_window_ms
        given_back = self.given_back(buyer)
        if window_ms:
            unpaid, window = self.unpaid(buyer)
            given_back = unpaid if wall // window_ms <= window else 0
        if given_back + len(self.holds_of(buyer)) < most:
            return None
        return ReserveReply(number, "limit_exceeded", 0, most, self._shown(buyer))

    def _expire_own(self, buyer: str, wall: int) -> None:
        for claim in self.holds_of(buyer):
            self.expire_if_due(claim, wall)

    def _unadmitted(self, number: int, ask: Ask, wall: int) -> ReserveReply | None:
        if not self.sale.waiting_room:
            return None
        if not ask.admission:
            return ReserveReply(number, "not_admitted", "missing")
        if ask.admission <= self.spent_by(ask.buyer):
            return ReserveReply(number, "not_admitted", "spent")
        if ask.admission_ends_at <= wall:
            return ReserveReply(number, "not_admitted", "expired")
        return None

    def _limited(self, number: int, buyer: str, wanted: Wanted, wall: int) -> ReserveReply | None:
        if not self._over_limit(buyer, wanted):
            return None
        self._expire_own(buyer, wall)
        over = self._over_limit(buyer, wanted)
        if not over:
            return None
        limit = self.sale.items[over - 1].limit
        return ReserveReply(number, "limit_exceeded", over, limit, self._shown(buyer))

    def _shown(self, buyer: str) -> tuple[Reservation, ...]:
        return tuple(self.view(claim) for claim in self.holds_of(buyer)[-SHOWN_HOLDS:])

    def _hold(self, ask: Ask, placed: dict[int, int], wall: int) -> Claim:
        deadline = wall - self.shift + self.sale.hold_ms
        claim = Claim(ask.name, ask.buyer, ask.fingerprint, placed, deadline, (0, 0), (0, 0))
        claim.admission = ask.admission if self.sale.waiting_room else 0
        self.emit_for(
            *(Reserve, wall, claim),
            fingerprint=ask.fingerprint,
            deadline=deadline + self.shift,
            admission=claim.admission or None,
        )
        claim.accepted = claim.last
        self.claims[ask.name] = claim
        for number, units in placed.items():
            self.accounts[number].available -= units
            self.accounts[number].held += units
        return claim

    def _wanted(self, ask: Ask) -> Wanted:
        """Lines of one SKU and place are summed; lines that name a place come first."""
        units: dict[tuple[int, int], int] = {}
        for line in ask.lines:
            account = self.sale.account_number(line[0], line[2]) if len(line) == 3 else 0
            key = (self.sale.item_number(line[0]), account)
            units[key] = units.get(key, 0) + line[1]
        named = [(*key, n) for key, n in units.items() if key[1]]
        return named + [(*key, n) for key, n in units.items() if not key[1]]

    def _over_limit(self, buyer: str, wanted: Wanted) -> int:
        """The first item beyond its limit, or 0."""
        for item, _, _ in wanted:
            units = sum(n for i, _, n in wanted if i == item)
            if self.count_of(buyer, item) + units > self.sale.items[item - 1].limit:
                return item
        return 0

    def _place_or_sweep(self, wanted: Wanted, batch: Batch) -> dict[int, int] | int:
        placed = self._place(wanted)
        if isinstance(placed, int) and not batch.swept:
            batch.swept = True
            for claim in batch.due[: self.sale.sweep_bound]:
                if claim.state == ReservationState.HELD:
                    self.expire_claim(claim, batch.wall)
            placed = self._place(wanted)
        return placed

    def _place(self, wanted: Wanted) -> dict[int, int] | int:
        """Units by account, or the item that is short."""
        for item, _, _ in wanted:
            units = sum(n for i, _, n in wanted if i == item)
            if self.available(item) - units < self.sale.items[item - 1].floor:
                return item
        placed: dict[int, int] = {}
        for item, account, units in wanted:
            if not self._place_line(item, account, units, placed):
                return item
        return placed

    def _place_line(self, item: int, account: int, units: int, placed: dict[int, int]) -> bool:
        own = [n for n, a in self.accounts.items() if a.item == item]
        floor = self.sale.items[item - 1].floor
        lowest = floor if len(own) == 1 else min(0, floor)
        places = [account] if account else own

        def room(number: int) -> int:
            return self.accounts[number].available - placed.get(number, 0) - lowest

        for number in places:
            if room(number) >= units:
                placed[number] = placed.get(number, 0) + units
                return True
        if not self.sale.split:
            return False
        for number in places:
            part = min(units, room(number))
            if part > 0:
                placed[number] = placed.get(number, 0) + part
                units -= part
        return units == 0
