"""Who is next, and when: the same queue of visitors for both kinds of load.

Closed loop: whoever is free is the next visitor at once, so a slow server is asked less. Open loop:
visitors have a timetable drawn beforehand, and `due` stays as drawn however late a free user takes
the visitor, so that a stalled server cannot hide by keeping the load away ("coordinated omission",
Gil Tene).
"""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice

from loadtest.crowd.curves import Curve

STEP_SECONDS = 0.01  # the step in which the rate follows its curve


@dataclass(frozen=True, slots=True)
class Arrival:
    """A visitor; `due` is Unix time, 0 where there is no timetable."""

    number: int
    due: float = 0.0


def timetable(
    curve: Curve, peak_per_second: float, seconds: float, dice: random.Random
) -> Iterator[float]:
    """Seconds from the start at which visitors are due: independent people (a Poisson process)
    whose rate follows the curve.
    """
    at, wanted = 0.0, dice.expovariate(1.0)
    while at < seconds:
        expected = curve(at / seconds) * peak_per_second * STEP_SECONDS
        while wanted <= expected:
            yield at + STEP_SECONDS * wanted / expected
            wanted += dice.expovariate(1.0)
        wanted -= expected
        at += STEP_SECONDS


class Visitors:
    """The visitors of one run, handed out one by one."""

    def __init__(self, due: Iterator[float] | None, most: int) -> None:
        """`due` None is the closed loop; `most` limits the visitors (0: no limit)."""
        began = time.time()
        visitors: Iterator[Arrival] = (
            (Arrival(number) for number in count())
            if due is None
            else (Arrival(number, began + at) for number, at in enumerate(due))
        )
        self._visitors = islice(visitors, most) if most else visitors
        self._under_way = 0
        self.is_empty = False

    def take(self) -> Arrival | None:
        """The next visitor, who is then under way until `leave`; None when nobody is left."""
        arrival = next(self._visitors, None)
        if arrival is None:
            self.is_empty = True
        else:
            self._under_way += 1
        return arrival

    def leave(self) -> None:
        """A visit has ended."""
        self._under_way -= 1

    @property
    def is_over(self) -> bool:
        """Everybody has come and gone."""
        return self.is_empty and self._under_way == 0
