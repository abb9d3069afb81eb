"""A partition in plain Python: what the scripts do, written a second time and naively.

The model never looks at a clock. It is given the wall time a script says it decided at, and with
it must come to the same reply, the same events and the same content of every key.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from gateway.inventory.events import Event, EventLine, Load, LoadedAccount
from gateway.inventory.types import AccountCounters, PlacedLines, Reservation, ReservationState
from tests.support.scripts.sale import Sale, token
from tests.support.scripts.state import (
    Buyer,
    Meta,
    PartitionState,
    StoredAccount,
    StoredCatalog,
    StoredItem,
    StoredRecord,
)

Kind = TypeVar("Kind", bound=Event)
HELD, CONFIRMED = ReservationState.HELD, ReservationState.CONFIRMED
SHOWN_HOLDS = 8


@dataclass
class Account:
    """One stock account; units move between its counters."""

    sku: str
    location: str
    item: int
    loaded: int
    available: int
    adjusted: int = 0
    held: int = 0
    sold: int = 0


@dataclass
class Claim:
    """A reservation. `lines` and `returned`: account → units, in the order they were taken."""

    name: str
    buyer: str
    fingerprint: str
    lines: dict[int, int]
    deadline: int
    accepted: tuple[int, int]
    last: tuple[int, int]
    state: ReservationState = HELD
    extended_ms: int = 0
    payment: str = ""
    returned: dict[int, int] = field(default_factory=dict)
    return_keys: dict[str, str] = field(default_factory=dict)
    extend_keys: dict[str, int] = field(default_factory=dict)
    admission: int = 0
    given_back_at: int = 0  # wall time; 0 for a claim that was not

    def left(self) -> dict[int, int]:
        """Units not returned yet."""
        left = {a: n - self.returned.get(a, 0) for a, n in self.lines.items()}
        return {account: units for account, units in left.items() if units}


class Partition:
    """The state, and how it is compared with what lies in Redis."""

    def __init__(self, sale: Sale, run_id: str, wall: int) -> None:
        self.sale = sale
        self.run_id = run_id
        self.epoch, self.sequence, self.ledger_sequence = 1, 0, 0
        self.state = "scheduled"
        self.paused = {n for n, item in enumerate(sale.items, start=1) if item.paused}
        self.shift = 0
        self.last_time = wall
        self.accounts = {
            number: Account(sku, location, item, units, units)
            for number, (sku, location, item, units) in enumerate(sale.accounts, start=1)
        }
        self.claims: dict[str, Claim] = {}
        self.cools_until: dict[str, int] = {}
        self.adjustments: dict[str, tuple[str, int, int]] = {}  # key: fingerprint, sequence, time
        self.full_at: dict[str, int] = {}  # µs, by buyer: no part of what is folded
        self.outbox: list[Event] = []
        self.emit(
            Load,
            wall,
            accounts=tuple(
                LoadedAccount(sku, location, units, item.unit_price, item.limit, item.floor)
                for sku, location, number, units in sale.accounts
                for item in (sale.items[number - 1],)
            ),
            hold_ms=sale.hold_ms,
            extension_ms=sale.extension_ms,
            opens_at=sale.opens_at,
            closes_at=sale.closes_at,
            split=sale.split,
            waiting_room=sale.waiting_room,
            unpaid_per_buyer=sale.unpaid_per_buyer,
            cooldown_after=sale.cooldown[0],
            cooldown_ms=sale.cooldown[1],
            cooldown_max_ms=sale.cooldown[2],
            unpaid_window_ms=sale.unpaid_window_ms,
        )

    # -- what the edges share ---------------------------------------------------------------------

    def emit(self, kind: type[Kind], wall: int, **fields: Any) -> None:
        """The next event."""
        self.sequence += 1
        self.last_time = wall
        name = f"{self.sale.sale_id}:{self.sale.number}"
        common: Mapping[str, Any] = {
            "v": 1,
            "event_id": f"{name}:{self.epoch}-{self.sequence}",
            "sale_id": self.sale.sale_id,
            "partition": self.sale.number,
            "epoch": self.epoch,
            "sequence": self.sequence,
            "occurred_at": wall,
        }
        self.outbox.append(kind(**common, **fields))

    def emit_for(
        self,
        kind: type[Kind],
        wall: int,
        claim: Claim,
        lines: dict[int, int] | None = None,
        **fields: Any,
    ) -> None:
        """The next event, about a reservation, which remembers its number."""
        name = f"{self.sale.sale_id}.{self.sale.number}.{token(claim.name)}"
        event_lines = self.event_lines(claim.lines if lines is None else lines)
        about = {"reservation_id": name, "buyer_id": claim.buyer, "lines": event_lines}
        self.emit(kind, wall, **about, **fields)
        claim.last = (self.epoch, self.sequence)

    def event_lines(self, lines: dict[int, int]) -> tuple[EventLine, ...]:
        """Lines as an event has them."""
        found = ((self.accounts[number], units) for number, units in lines.items())
        return tuple(
            EventLine(a.sku, a.location, units, self.sale.items[a.item - 1].unit_price)
            for a, units in found
        )

    def is_behind(self) -> bool:
        """Whether the ledger is so far behind that no new reservation may begin."""
        return self.sequence - self.ledger_sequence >= self.sale.outbox_bound

    def is_due(self, claim: Claim, wall: int) -> bool:
        """Whether a hold's time is up."""
        return claim.state == HELD and claim.deadline <= wall - self.shift

    def due(self, wall: int) -> list[Claim]:
        """Due holds, oldest first; holds of one deadline by token."""
        due = [claim for claim in self.claims.values() if self.is_due(claim, wall)]
        return sorted(due, key=lambda claim: (claim.deadline, token(claim.name)))

    def holds_of(self, buyer: str) -> list[Claim]:
        """Active holds in the order they were accepted."""
        return [c for c in self.claims.values() if c.buyer == buyer and c.state == HELD]

    def count_of(self, buyer: str, item: int) -> int:
        """Units of an item a buyer holds or has bought."""
        return sum(
            units
            for claim in self.claims.values()
            if claim.buyer == buyer and claim.state in {HELD, CONFIRMED}
            for account, units in claim.left().items()
            if self.accounts[account].item == item
        )

    def given_back(self, buyer: str) -> int:
        """Reservations of the buyer that nobody paid for, and that are over."""
        over = {ReservationState.CANCELLED, ReservationState.EXPIRED}
        return sum(c.buyer == buyer and c.state in over for c in self.claims.values())

    def unpaid(self, buyer: str) -> tuple[int, int]:
        """How many were given back in the latest window that has any, and the window's number."""
        if self.sale.unpaid_window_ms == 0:
            return 0, 0
        windows = Counter(
            claim.given_back_at // self.sale.unpaid_window_ms
            for claim in self.claims.values()
            if claim.buyer == buyer and claim.given_back_at
        )
        latest = max(windows, default=0)
        return windows[latest], latest

    def resolve(self, claim: Claim, state: ReservationState) -> None:
        """Held → resolved; from now on no outage moves the deadline, which is on the wall clock."""
        claim.state = state
        claim.deadline += self.shift

    def give_back(self, claim: Claim, state: ReservationState, wall: int) -> None:
        """Held → cancelled or expired, and what that means for the buyer's next hold."""
        begin = claim.deadline if state == ReservationState.EXPIRED else wall - self.shift
        self.resolve(claim, state)
        claim.given_back_at = wall
        after, first_ms, most_ms = self.sale.cooldown
        beyond = self.given_back(claim.buyer) - after
        if after and beyond >= 0:
            until = begin + min(first_ms * 2**beyond, most_ms)
            self.cools_until[claim.buyer] = max(until, self.cools_until.get(claim.buyer, 0))

    def spent_by(self, buyer: str) -> int:
        """The highest admission number a buyer has spent."""
        return max((c.admission for c in self.claims.values() if c.buyer == buyer), default=0)

    def available(self, item: int) -> int:
        """Units available over all locations."""
        return sum(a.available for a in self.accounts.values() if a.item == item)

    def view(self, claim: Claim) -> Reservation:
        """A reservation as answers have it."""
        deadline = claim.deadline + (self.shift if claim.state == HELD else 0)
        return Reservation(
            token(claim.name),
            claim.state,
            *(*claim.last, *claim.accepted, deadline, claim.extended_ms),
            *(claim.buyer, claim.fingerprint, _flat(claim.lines), claim.payment),
            _flat(claim.returned),
        )

    # -- as it must lie in Redis ------------------------------------------------------------------

    def as_state(self) -> PartitionState:
        """Every key."""
        held = [claim for claim in self.claims.values() if claim.state == HELD]
        return PartitionState(
            meta=self._meta(),
            stock={
                (a.sku, a.location): AccountCounters(
                    a.sku, a.location, a.loaded, a.adjusted, 0, 0, a.available, a.held, a.sold
                )
                for a in self.accounts.values()
            },
            records={token(claim.name): _record(claim) for claim in self.claims.values()},
            buyers=self._buyers(),
            deadlines={token(claim.name): claim.deadline for claim in held},
            events=tuple(self.outbox),
        )

    def _meta(self) -> Meta:
        sale = self.sale
        items = tuple(
            StoredItem(
                *(item.sku, item.unit_price, item.limit, item.floor, number in self.paused),
                tuple(n for n, account in self.accounts.items() if account.item == number),
            )
            for number, item in enumerate(sale.items, start=1)
        )
        accounts = tuple(StoredAccount(a.sku, a.location, a.item) for a in self.accounts.values())
        return Meta(
            *(self.run_id, self.epoch, self.sequence, self.state, sale.sale_id, sale.number),
            *(sale.opens_at, sale.closes_at, sale.hold_ms, sale.extension_ms),
            *(self.last_time, self.shift, self.ledger_sequence),
            *(sale.outbox_bound, sale.sweep_bound, sale.fingerprint),
            StoredCatalog(items, accounts, sale.split, sale.rules),
            totals={
                number: sum(self.accounts[account].available for account in item.accounts)
                for number, item in enumerate(items, start=1)
                if len(item.accounts) > 1
            },
            adjustments=tuple(
                value
                for key, (fingerprint, sequence, wall) in self.adjustments.items()
                for value in (f"{token(key)}:{fingerprint}", sequence, wall)
            ),
        )

    def _buyers(self) -> dict[str, Buyer]:
        buyers: dict[str, Buyer] = {}
        for buyer in {claim.buyer for claim in self.claims.values()}:
            items = range(1, len(self.sale.items) + 1)
            counts = {item: n for item in items if (n := self.count_of(buyer, item))}
            holds = tuple(token(claim.name) for claim in self.holds_of(buyer))
            admission = self.spent_by(buyer)
            known = Buyer(
                *(counts, holds, admission, self.given_back(buyer)),
                *(self.cools_until.get(buyer, 0), *self.unpaid(buyer)),
            )
            if known != Buyer({}):
                buyers[buyer] = known
        return buyers


def _record(claim: Claim) -> StoredRecord:
    return StoredRecord(
        *(claim.state, *claim.last, *claim.accepted, claim.deadline, claim.extended_ms),
        *(claim.buyer, claim.fingerprint, _flat(claim.lines), claim.payment),
        _flat({a: claim.returned[a] for a in claim.lines if a in claim.returned}),
        tuple(f"{token(key)}:{value}" for key, value in claim.return_keys.items()),
        tuple(f"{token(key)}:{asked}" for key, asked in claim.extend_keys.items()),
    )


def _flat(lines: dict[int, int]) -> PlacedLines:
    return PlacedLines(tuple(number for line in lines.items() for number in line))
