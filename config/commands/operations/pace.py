"""What happened between two readings of a sale's figures: rates and percentiles."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

PERCENTILES = (0.5, 0.99)


@dataclass(frozen=True, slots=True)
class Pace:
    """Calls per second in a stretch of time, and how long reserves took in it.

    `percentiles_ms` has None where no reserve was answered, and infinity where it took longer than
    the last bound of the histogram.
    """

    accepted: float
    refused: dict[str, float]
    percentiles_ms: dict[float, float | None]


def pace_between(before: dict[str, Any], after: dict[str, Any]) -> Pace | None:
    """The pace between two answers of GET …/figures; None where no time is between them, or where
    the counters restarted.
    """
    seconds = (_read_at(after) - _read_at(before)).total_seconds()
    was, now = before["gateway"], after["gateway"]
    if seconds <= 0 or now["accepted"] < was["accepted"]:
        return None
    refused = {
        code: (count - was["refused"].get(code, 0)) / seconds
        for code, count in now["refused"].items()
    }
    old, new = was["reserve_latency"], now["reserve_latency"]
    counts = [b - a for a, b in zip(old["counts"], new["counts"], strict=True)]
    bounds = [*new["bounds_ms"], float("inf")]
    return Pace(
        accepted=(now["accepted"] - was["accepted"]) / seconds,
        refused={code: rate for code, rate in refused.items() if rate > 0},
        percentiles_ms={p: _percentile(p, bounds, counts) for p in PERCENTILES},
    )


def _percentile(part: float, bounds: list[float], counts: list[int]) -> float | None:
    """The bound of the histogram within which this part of the calls was answered."""
    wanted, seen = part * sum(counts), 0
    for bound, count in zip(bounds, counts, strict=True):
        seen += count
        if seen and seen >= wanted:
            return bound
    return None


def _read_at(figures: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(figures["read_at"])
