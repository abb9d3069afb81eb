"""The fold: a run of events becomes arrays for set-based statements. Pure, one pass, no database.

What happens to a reservation within one run is folded to its last state; the counters of an account
are summed. What can be checked here is checked here (IntegrityViolation); the rest is left to the
row counts and constraints of the statements. Folding runs one after the other gives what folding
them together gives, so a run may be cut anywhere.
"""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, get_args

from gateway.inventory.events import (
    Adjust,
    Cancel,
    Confirm,
    Event,
    EventLine,
    Expire,
    Extend,
    Load,
    Rebase,
    Recover,
    Repair,
    Reserve,
    ReturnUnits,
    SetState,
)
from order_writer.folding.errors import IntegrityViolation
from order_writer.folding.items import Item
from order_writer.folding.letter_rows import dead_letter, mark_row
from order_writer.folding.reservations import Reservations
from order_writer.folding.rows import (
    AccountChange,
    Folded,
    LedgerRow,
    LoadedRow,
    PausedRow,
    ShiftRow,
)

_TYPES: dict[type[Event], str] = {kind: str(kind.__struct_config__.tag) for kind in get_args(Event)}


class Fold:
    """Takes items in order (partitions may be mixed) and ends with `result()`."""

    def __init__(self) -> None:
        self._out = Folded()
        self._reservations = Reservations()
        self._accounts: dict[tuple[str, int, str, str], list[int]] = {}
        self._paused: dict[tuple[str, str], bool] = {}
        self._marks: dict[tuple[str, int], Item] = {}

    def add(self, items: Iterable[Item]) -> None:
        """Fold items, each into its number; an item with a death becomes a void number."""
        ledger = self._out.ledger
        for item in items:
            entry, event = item.entry, item.event
            partition, position = entry.partition, entry.position
            if item.death is not None or event is None:
                self._bury(item)
            else:
                self._handlers[type(event)](self, event)
                ledger.append(
                    LedgerRow(
                        partition.sale_id, partition.number, position.epoch, position.sequence,
                        _TYPES[type(event)], getattr(event, "reservation_id", None),
                        event.occurred_at, item.fingerprint, entry.raw.decode(),
                    )
                )  # fmt: skip
            self._marks[partition.sale_id, partition.number] = item

    def set_aside(self, items: Iterable[Item]) -> None:
        """Make dead letters of items that are not in the history (fenced); they hold no number."""
        self._out.dead.extend(dead_letter(item) for item in items)

    def result(self) -> Folded:
        """The rows of everything added."""
        out = self._out
        self._reservations.add_rows(out)
        out.accounts = [
            AccountChange(*key, *delta) for key, delta in sorted(self._accounts.items())
        ]
        out.paused = [PausedRow(*key, paused) for key, paused in sorted(self._paused.items())]
        out.marks = [mark_row(item) for _, item in sorted(self._marks.items())]
        return out

    def _bury(self, item: Item) -> None:
        partition, position = item.entry.partition, item.entry.position
        self._out.dead.append(dead_letter(item))
        self._out.ledger.append(
            LedgerRow(
                partition.sale_id, partition.number, position.epoch, position.sequence, "void",
                None, None, item.fingerprint, "{}",
            )
        )  # fmt: skip

    def _reserve(self, event: Reserve) -> None:
        self._reservations.accept(event)
        self._move(event, event.lines, (0, -1, 1, 0))

    def _confirm(self, event: Confirm) -> None:
        reservation = self._reservations.step(event, "held", "confirmed")
        reservation.payment_reference = event.payment_reference
        for line in event.lines:
            reservation.confirm(line)
        self._move(event, event.lines, (0, 0, -1, 1))
        self._move(event, event.released, (0, 1, -1, 0))

    def _cancel(self, event: Cancel) -> None:
        self._reservations.step(event, "held", "cancelled")
        self._move(event, event.lines, (0, 1, -1, 0))

    def _expire(self, event: Expire) -> None:
        self._reservations.step(event, "held", "expired")
        self._move(event, event.lines, (0, 1, -1, 0))

    def _extend(self, event: Extend) -> None:
        reservation = self._reservations.step(event, "held", "held")
        reservation.deadline, reservation.extended_ms = event.deadline, event.extended_ms

    def _return_units(self, event: ReturnUnits) -> None:
        reservation = self._reservations.step(event, "confirmed", "confirmed")
        for line in event.lines:
            reservation.take_back(line)
        self._move(event, event.lines, (0, 1, 0, -1) if event.restock else (-1, 0, 0, -1))

    def _adjust(self, event: Adjust) -> None:
        counters = self._account(event, event.sku, event.location)
        counters[0] += event.delta
        counters[1] += event.delta

    def _set_state(self, event: SetState) -> None:
        if event.sku is not None:
            self._paused[event.sale_id, event.sku] = event.to == "paused"

    def _load(self, event: Load) -> None:
        if (event.epoch, event.sequence) != (1, 1):
            raise IntegrityViolation("a partition is loaded once, at 1-1")
        self._out.loaded.extend(
            LoadedRow(event.sale_id, event.partition, account.sku, account.location, account.units)
            for account in event.accounts
        )

    def _recover(self, event: Recover) -> None:
        if event.sequence != 1:
            raise IntegrityViolation("recover is the first event of its epoch")
        self._out.shifts.append(ShiftRow(event.sale_id, event.partition, event.shift_ms))

    def _rebase(self, event: Rebase) -> None:
        """The first of its run, see plan.py."""
        self._out.shifts.append(ShiftRow(event.sale_id, event.partition, event.shift_ms))

    def _repair(self, event: Repair) -> None:
        """Nothing to fold: Redis was made equal to the ledger."""

    def _account(self, event: Event, sku: str, location: str) -> list[int]:
        key = (event.sale_id, event.partition, sku, location)
        counters = self._accounts.get(key)
        if counters is None:
            counters = self._accounts[key] = [0, 0, 0, 0]
        return counters

    def _move(
        self, event: Event, lines: tuple[EventLine, ...], signs: tuple[int, int, int, int]
    ) -> None:
        """Add `signs` times quantity to each line's (adjusted, available, held, sold)."""
        adjusted, available, held, sold = signs
        for line in lines:
            counters, quantity = self._account(event, line.sku, line.location), line.quantity
            counters[0] += adjusted * quantity
            counters[1] += available * quantity
            counters[2] += held * quantity
            counters[3] += sold * quantity

    _handlers: ClassVar[dict[type[Event], Callable[[Any, Any], None]]] = {
        Load: _load,
        SetState: _set_state,
        Reserve: _reserve,
        Confirm: _confirm,
        Cancel: _cancel,
        Expire: _expire,
        Extend: _extend,
        ReturnUnits: _return_units,
        Adjust: _adjust,
        Recover: _recover,
        Rebase: _rebase,
        Repair: _repair,
    }
