"""Keeps servers and processes running: restarts, reports changed pids, stops all in order.

Used by `dropgate up` (servers and processes) and by `dropgate gateway --workers N` (processes).
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from config.stack.process import Child, StackError
from config.waiting import Backoff

# The pause between two looks at a unit; far below the second in which it must be back.
WATCH_SECONDS = 0.05
# The pauses before restarts of a unit that keeps dying: doubled from the first to the longest.
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 0.8
# A unit that ran this long has recovered: its next restart comes after the first pause.
STEADY_SECONDS = 5.0

_log = structlog.get_logger()


class Unit(Protocol):
    """Something that can be started, watched and stopped, such as a server of the stack."""

    @property
    def name(self) -> str:
        """Its name in the ready file; several units may share a name."""

    @property
    def pid(self) -> int:
        """The pid started last."""

    @property
    def alive(self) -> bool:
        """Whether it runs."""

    async def start(self) -> None:
        """Start it if it does not run. Raises `StackError`."""

    async def stop(self) -> None:
        """Stop it, by force if need be, within a bounded time. Idempotent."""


class ProcessUnit:
    """A child process as a unit; it counts as started as soon as it is spawned."""

    def __init__(self, name: str, child: Child, *, stop_timeout_seconds: float) -> None:
        self.name = name
        self.child = child
        self._stop_timeout_seconds = stop_timeout_seconds

    @property
    def pid(self) -> int:
        """The pid started last."""
        return self.child.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.child.alive

    async def start(self) -> None:
        """Spawn the process if it does not run."""
        if not self.child.alive:
            self.child.start()

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL for the process group after the time."""
        await self.child.stop(self._stop_timeout_seconds)


class Supervisor:
    """Watches units from `keep` until `stop`; `changed` is called whenever a pid changes.

    Units of one group are started and stopped together, groups in the order they were added;
    they are stopped in reverse order.
    """

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        self._changed = changed
        self._groups: list[list[Unit]] = []
        self._keepers: list[asyncio.Task[None]] = []
        self.restarts = 0

    @property
    def units(self) -> list[Unit]:
        """All units, in the order of their start."""
        return [unit for group in self._groups for unit in group]

    @property
    def alive(self) -> bool:
        """Whether everything runs."""
        return all(unit.alive for unit in self.units)

    def pids(self) -> dict[str, list[int]]:
        """The pids by name, in the order of the units."""
        found: dict[str, list[int]] = {}
        for unit in self.units:
            found.setdefault(unit.name, []).append(unit.pid)
        return found

    async def start(self, units: Sequence[Unit]) -> None:
        """Add a group and start it. Raises the first `StackError`; call `stop` in any case."""
        self._groups.append(list(units))
        try:
            async with asyncio.TaskGroup() as group:
                for unit in units:
                    group.create_task(unit.start())
        except* StackError as errors:
            raise errors.exceptions[0] from None

    def keep(self) -> None:
        """From now on restart every unit whenever it dies."""
        self._keepers = [asyncio.create_task(self._keep(unit)) for unit in self.units]

    async def stop(self) -> None:
        """Stop watching, then stop every unit, last group first. Idempotent."""
        keepers, self._keepers = self._keepers, []
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        for group in reversed(self._groups):
            await asyncio.gather(*(unit.stop() for unit in group))

    async def _keep(self, unit: Unit) -> None:
        clock = asyncio.get_running_loop().time
        pauses = Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, jitter=False)
        started_at = clock()
        while True:
            if unit.alive:
                if clock() - started_at >= STEADY_SECONDS:
                    pauses.reset()
                await asyncio.sleep(WATCH_SECONDS)
                continue
            _log.warning("died", action="supervise", unit=unit.name, pid=unit.pid)
            await pauses.pause()
            started_at = clock()
            await self._restart(unit)

    async def _restart(self, unit: Unit) -> None:
        self.restarts += 1
        previous = unit.pid
        starting = asyncio.create_task(unit.start())
        try:
            # A server's start ends when it serves, but its pid changes with the spawn.
            while not starting.done():
                if unit.pid != previous:
                    previous = unit.pid
                    self._changed()
                await asyncio.wait([starting], timeout=WATCH_SECONDS)
            starting.result()
        except Exception as error:  # noqa: BLE001 - after any fault the next try follows
            _log.error("not restarted", action="supervise", unit=unit.name, reason=str(error))
        else:
            _log.info("restarted", action="supervise", unit=unit.name, pid=unit.pid)
        finally:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            self._changed()
