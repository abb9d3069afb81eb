"""Progress of a drop: a live table on a terminal, plain lines elsewhere."""

import asyncio
import time
from collections.abc import Callable

from rich.console import Console
from rich.live import Live
from rich.table import Table

from loadtest.client.calls import SnapshotAnswer
from loadtest.client.history import History

LIVE_PAUSE_SECONDS = 0.25
LINE_PAUSE_SECONDS = 2.0


class Progress:
    """Shows the state of a drop until cancelled."""

    def __init__(
        self,
        console: Console,
        history: History,
        latest_snapshot: Callable[[], SnapshotAnswer | None],
    ) -> None:
        """Read from the history as it grows; `latest_snapshot` costs no call."""
        self._console = console
        self._history = history
        self._latest_snapshot = latest_snapshot
        self._began = time.monotonic()
        self._counted = 0
        self._accepted = 0
        self._paid = 0
        self._refused: dict[str, int] = {}

    def _count(self) -> None:
        """Count the attempts that ended since the last count."""
        attempts = self._history.attempts
        upto = len(attempts)
        for index in range(self._counted, upto):
            attempt = attempts[index]
            if attempt.call == "confirm":
                self._paid += attempt.accepted
            elif attempt.call == "reserve" and attempt.accepted:
                self._accepted += not attempt.replayed
            elif attempt.call == "reserve":
                code = attempt.code or "no answer"
                self._refused[code] = self._refused.get(code, 0) + 1
        self._counted = upto

    def _facts(self) -> list[tuple[str, str]]:
        self._count()
        snapshot = self._latest_snapshot()
        refused = ", ".join(f"{code} {count}" for code, count in sorted(self._refused.items()))
        facts = [
            ("time", f"{time.monotonic() - self._began:.1f} s"),
            ("requests", str(self._counted)),
            ("accepted", str(self._accepted)),
            ("confirmed", str(self._paid)),
            ("refused", refused or "none"),
        ]
        if snapshot is not None:
            stock = f"{snapshot.available} available, {snapshot.held} held, {snapshot.sold} sold"
            facts.append(("stock", stock))
        return facts

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for name, value in self._facts():
            table.add_row(f"[dim]{name}[/]", value)
        return table

    def print_line(self) -> None:
        """Print the state of the drop in one line."""
        line = " · ".join(f"{name} {value}" for name, value in self._facts())
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    async def run(self) -> None:
        """Show until cancelled; the last state stays."""
        if not self._console.is_terminal:
            while True:
                await asyncio.sleep(LINE_PAUSE_SECONDS)
                self.print_line()
        with Live(self._table(), console=self._console, auto_refresh=False) as live:
            try:
                while True:
                    await asyncio.sleep(LIVE_PAUSE_SECONDS)
                    live.update(self._table(), refresh=True)
            finally:
                live.update(self._table(), refresh=True)
