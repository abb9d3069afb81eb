"""What the scripts answer, and what a step of theirs did to the partition."""

from dataclasses import dataclass
from typing import TypeVar

import msgspec

from gateway.inventory.events import Event
from gateway.inventory.types import AccountCounters
from tests.support.scripts.state import COUNTERS, PartitionState

Decoded = TypeVar("Decoded")


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """The envelope of every reply; `ok` sets all fields but the last, a refusal sets fewer."""

    status: str
    detail: int | str
    wall_ms: int | bool = 0
    shift_ms: int = 0
    result: msgspec.Raw = msgspec.Raw(b"\xc0")
    remaining: tuple[int, ...] = ()

    def read(self, kind: type[Decoded]) -> Decoded:
        """The result of a script that was answered `ok`."""
        assert self.status == "ok", self
        return msgspec.msgpack.decode(self.result, type=kind)


class SnapshotAnswer(msgspec.Struct, frozen=True, array_like=True):
    """The result of snapshot.lua."""

    sequence: int
    state: str
    run_id: str
    ledger_sequence: int
    outbox_length: int
    due_holds: int
    reservations: int
    accounts: tuple[AccountCounters, ...]
    paused_skus: tuple[str, ...]


@dataclass
class Step:
    """One partition before and after something was done to it."""

    before: PartitionState
    after: PartitionState

    @property
    def events(self) -> tuple[Event, ...]:
        """The outbox entries that were added; the old ones must still be there."""
        known = len(self.before.events)
        assert self.after.events[:known] == self.before.events
        return self.after.events[known:]

    @property
    def moved(self) -> dict[tuple[str, str], dict[str, int]]:
        """The counters that changed, by how much."""
        moved: dict[tuple[str, str], dict[str, int]] = {}
        assert self.before.stock.keys() == self.after.stock.keys()
        for name, was in self.before.stock.items():
            now = self.after.stock[name]
            deltas = {c: getattr(now, c) - getattr(was, c) for c in COUNTERS}
            if any(deltas.values()):
                moved[name] = {counter: delta for counter, delta in deltas.items() if delta}
        return moved
