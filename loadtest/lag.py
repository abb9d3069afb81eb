"""How far the ledger is behind Redis, reservation by reservation."""

import asyncio
from bisect import bisect_left
from dataclasses import dataclass

from loadtest.figures import Distribution
from loadtest.verdict.ledger import Ledger

POLL_SECONDS = 0.025


@dataclass(frozen=True, slots=True, order=True)
class Look:
    """The ledger was seen to have applied a partition this far, at this time."""

    partition: int
    epoch: int
    sequence: int
    seen_at_ms: int


class LagSampler:
    """Reads the watermarks forty times a second, over a connection of its own."""

    def __init__(self, dsn: str, sale_id: str) -> None:
        """Sample one sale."""
        self._dsn = dsn
        self._sale_id = sale_id
        self._looks: list[Look] = []

    async def run(self) -> None:
        """Sample until cancelled."""
        async with Ledger.connect(self._dsn, self._sale_id) as ledger:
            last: dict[int, tuple[int, int]] = {}
            while True:
                for row in await ledger.rows("watermark_now"):
                    position = (row["epoch"], row["sequence"])
                    if last.get(row["partition"]) != position:
                        last[row["partition"]] = position
                        self._looks.append(Look(row["partition"], *position, row["seen_at_ms"]))
                await asyncio.sleep(POLL_SECONDS)

    async def distribution(self) -> Distribution:
        """From each reserve event's time on Redis' clock to the first look that included it."""
        looks = sorted(self._looks)
        lags = []
        async with Ledger.connect(self._dsn, self._sale_id) as ledger:
            for row in await ledger.rows("reserve_times"):
                event = Look(row["partition"], row["epoch"], row["sequence"], 0)
                at = bisect_left(looks, event)
                if at < len(looks) and looks[at].partition == event.partition:
                    lags.append(looks[at].seen_at_ms - row["occurred_at_ms"])
        return Distribution.of(float(lag) for lag in lags)
