"""Faults by pid: killed, stopped, kept down, and whether everything runs again."""

import os
import signal
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.chaos.rig.stage import Stage
from tests.chaos.rig.watched import WatchedUp
from tests.support.up import Up
from tests.support.waiting import wait_until


@dataclass(frozen=True)
class Processes:
    """The processes of a running system, most often of `dropgate up`, by their names."""

    up: Stage
    killed: set[str] = field(default_factory=set, kw_only=True)

    @property
    def _supervised(self) -> Up:
        assert isinstance(self.up, Up), "nobody starts again what dies"
        return self.up

    def pids(self, name: str) -> list[int]:
        """The pids that run under this name now."""
        return self.up.ready.pids[name]

    @property
    def redis_folder(self) -> Path:
        """Where the Redis that serves keeps its data."""
        up = self._supervised
        return up.redis_folder(up.primary) if isinstance(up, WatchedUp) else up.data / "redis"

    def _serving(self, name: str) -> int:
        """Index of the process that does the work: a server's primary, otherwise the first."""
        return self.up.serving(name) if isinstance(self.up, WatchedUp) else 0

    def kill(self, name: str, *, which: int | None = None) -> int:
        """SIGKILL one process, by default the process that does the work; returns its pid."""
        pid = self.pids(name)[self._serving(name) if which is None else which]
        os.kill(pid, signal.SIGKILL)
        self.killed.add(name)
        return pid

    async def kill_and_wait(self, name: str, *, which: int | None = None) -> None:
        """SIGKILL, and wait until another one runs in its place."""
        await self._supervised.ready_where(name, not_pid=self.kill(name, which=which))

    @asynccontextmanager
    async def stopped(self, *names: str, which: int | None = None) -> AsyncIterator[None]:
        """SIGSTOP all processes of these names, or only process `which`, with their children;
        SIGCONT after the block.
        """
        pids = await wait_until(lambda: self._living(names, which), "all of them run")
        self._signal(pids, signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(pids, signal.SIGCONT)

    def _living(self, names: Iterable[str], which: int | None) -> list[int]:
        """The pids under these names, with children; empty while any process is dying."""
        chosen = slice(None) if which is None else slice(which, which + 1)
        try:
            found = [psutil.Process(pid) for name in names for pid in self.pids(name)[chosen]]
            family = [*found, *(child for each in found for child in each.children())]
            is_dying = any(each.status() == psutil.STATUS_ZOMBIE for each in family)
        except psutil.NoSuchProcess:
            return []
        return [] if is_dying else [each.pid for each in family]

    def _signal(self, pids: Iterable[int], number: signal.Signals) -> None:
        for pid in pids:
            if psutil.pid_exists(pid):
                os.kill(pid, number)

    @asynccontextmanager
    async def down(self, name: str, *, which: int | None = None) -> AsyncIterator[None]:
        """SIGKILL one process, by default the process that does the work, and keep it down during
        the block.
        """
        async with self.unsupervised():
            killed = psutil.Process(self.kill(name, which=which))
            await wait_until(lambda: killed.status() == psutil.STATUS_ZOMBIE, f"{name} is dead")
            yield

    @asynccontextmanager
    async def unsupervised(self) -> AsyncIterator[None]:
        """What dies during the block stays down until its end: the supervisor is stopped."""
        supervisor = self._supervised.process
        supervisor.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            supervisor.send_signal(signal.SIGCONT)

    async def all_running(self) -> None:
        """Wait until every pid of the ready file is a living child of `up`, none just killed."""
        await wait_until(self._is_running, "everything that died runs again")

    def _is_running(self) -> bool:
        children = psutil.Process(self._supervised.process.pid).children()
        try:
            living = {child.pid for child in children if child.status() != psutil.STATUS_ZOMBIE}
        except psutil.NoSuchProcess:  # the process ended during the look
            return False
        return living >= {pid for pids in self.up.ready.pids.values() for pid in pids}
