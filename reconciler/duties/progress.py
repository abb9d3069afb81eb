"""How far a reconciliation is, written into its row while it runs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from config.waiting import cancelled
from reconciler.context import OUTAGES, QUERIES, Context

PROGRESS_SECONDS = 1.0

_log = structlog.get_logger()


@dataclass(slots=True)
class Progress:
    """Reservations compared so far; `expected`: how many there were when the run began.

    `expected` is None while no partition is compared whole: then nothing is counted. It never falls
    below `compared`, although reservations are accepted while the run goes on.
    """

    compared: int = 0
    expected: int | None = None

    def add(self, seen: int) -> None:
        """Count a page of `seen` reservations."""
        self.compared += seen

    @property
    def to_compare(self) -> int | None:
        """The bound of `compared`, as far as it is known."""
        return None if self.expected is None else max(self.expected, self.compared)


@asynccontextmanager
async def written(
    context: Context, identifier: int, progress: Progress, *, by_hand: bool
) -> AsyncIterator[None]:
    """Write `progress` every PROGRESS_SECONDS for the life of the block.

    A run by hand has a caller as long as it is written: `waited_at` follows. An outage costs the
    writes that meet it, and nothing else.
    """
    task = asyncio.create_task(_write(context, identifier, progress, by_hand=by_hand))
    try:
        yield
    finally:
        await cancelled(task)


async def _write(context: Context, identifier: int, progress: Progress, *, by_hand: bool) -> None:
    shown = None
    while True:
        await asyncio.sleep(PROGRESS_SECONDS)
        now = (progress.compared, progress.to_compare)
        if now == shown and not by_hand:
            continue
        try:
            await context.ledger.execute(QUERIES["show_progress"], identifier, *now, by_hand)
            shown = now
        except OUTAGES as error:
            reason = str(error) or type(error).__name__
            _log.warning("progress_not_written", reconciliation_id=identifier, error=reason)
