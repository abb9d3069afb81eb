"""When a number of units of an item could not be had, from the events that moved stock."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from loadtest.verdict.log.order import END, Place, Window


class StockMove(NamedTuple):
    """What an event did to the units that can be reserved of an item at a location."""

    place: Place
    sku: str
    location: str
    available: int


class Shortage:
    """The stretches of a log in which so many units of an item could not be had."""

    def __init__(self) -> None:
        """Begin where there is no stock yet: nobody is refused before it is loaded."""
        self._starts: list[Place] = []
        self._ends: list[Place] = []

    def note(self, place: Place, *, short: bool) -> None:
        """Remember whether the units are short after this event; events come in order."""
        is_open = len(self._starts) > len(self._ends)
        if short and not is_open:
            self._starts.append(place)
        elif is_open and not short:
            self._ends.append(place)

    def overlaps(self, window: Window) -> bool:
        """Whether the units were short in some state within the window."""
        last = bisect_left(self._starts, window.before) - 1
        if last < 0:
            return False
        return (self._ends[last] if last < len(self._ends) else END) > window.first


class Floors(NamedTuple):
    """How low `available` of an item may get: in total, and at each location."""

    item: int
    locations: Mapping[str, int]

    def allow(self, quantity: int, available: Mapping[str, int]) -> bool:
        """Whether a reserve of so many units surely finds them, whether or not lines are split."""
        if sum(available.values()) - quantity < self.item:
            return False
        return len(available) == 1 or any(
            units - self.locations.get(location, 0) >= quantity
            for location, units in available.items()
        )


def shortages(
    moves: Iterable[StockMove], floors: Mapping[str, Floors], wanted: Mapping[str, set[int]]
) -> dict[tuple[str, int], Shortage]:
    """The shortage of each number of units wanted of each SKU; `moves` are in the log's order."""
    found = {(sku, q): Shortage() for sku, quantities in wanted.items() for q in quantities}
    stock: dict[str, dict[str, int]] = {sku: {} for sku in wanted}
    for place, together in groupby(moves, key=attrgetter("place")):
        changed = set()
        for move in together:
            if move.sku in stock:
                at = stock[move.sku]
                at[move.location] = at.get(move.location, 0) + move.available
                changed.add(move.sku)
        for sku in changed:
            for quantity in wanted[sku]:
                is_short = not floors[sku].allow(quantity, stock[sku])
                found[sku, quantity].note(place, short=is_short)
    return found
