"""How many units of an item a buyer had, from the events that moved the buyer's units."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from loadtest.verdict.log.order import Place, Window


class BuyerMove(NamedTuple):
    """What an event did to the units that a buyer holds or has bought of an item."""

    place: Place
    buyer_id: str
    sku: str
    units: int


class Possession:
    """Units held and bought after each event, by buyer and SKU."""

    def __init__(self, moves: Iterable[BuyerMove]) -> None:
        """`moves` are in the order of the log."""
        self._places: dict[tuple[str, str], list[Place]] = {}
        self._units: dict[tuple[str, str], list[int]] = {}
        for move in moves:
            whose = move.buyer_id, move.sku
            units = self._units.setdefault(whose, [])
            units.append((units[-1] if units else 0) + move.units)
            self._places.setdefault(whose, []).append(move.place)

    def most(self, buyer_id: str, sku: str, window: Window) -> int:
        """The most units the buyer had in some state within the window."""
        places = self._places.get((buyer_id, sku), [])
        units = self._units.get((buyer_id, sku), [])
        first = bisect_right(places, window.first)
        before = bisect_left(places, window.before)
        # What the buyer had when the window began is the result of the event before it.
        return max(units[max(first - 1, 0) : before], default=0)
