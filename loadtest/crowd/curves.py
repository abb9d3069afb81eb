"""Shapes of a crowd: what share of the peak comes at each moment of a run.

A curve takes the share of the run that is over (0 to 1) and gives the share of the peak (0 to 1).
In a closed loop the peak is the number of users, in an open loop the arrivals per second.
"""

import math
from collections.abc import Callable

Curve = Callable[[float], float]

SPIKE_AT, SPIKE_ENDS, QUIET = 0.15, 0.4, 0.1
RAMP_ENDS = 0.7
WAVES = 3


def flat(_over: float) -> float:
    """The peak all the time."""
    return 1.0


def spike(over: float) -> float:
    """A few, then the peak at once, then ever fewer: the crowd after an announcement."""
    if over < SPIKE_AT:
        return QUIET
    if over < SPIKE_ENDS:
        return 1.0
    return QUIET + (1 - QUIET) * math.exp(-(over - SPIKE_ENDS) * 8)


def ramp(over: float) -> float:
    """Growing evenly, then the peak until the end."""
    return max(0.02, min(1.0, over / RAMP_ENDS))


def waves(over: float) -> float:
    """Up and down, as when several shops announce one after the other."""
    return QUIET + (1 - QUIET) * (1 - math.cos(2 * math.pi * WAVES * over)) / 2


CURVES: dict[str, Curve] = {"flat": flat, "spike": spike, "ramp": ramp, "waves": waves}
