"""A `dropgate up` that another command starts for itself and stops again."""

from collections.abc import Mapping
from pathlib import Path

from config.ready import ReadyFile
from config.stack.process import POLL_SECONDS, Child, StackError, dropgate_command
from config.waiting import poll_until

START_TIMEOUT_SECONDS = 300.0
STOP_TIMEOUT_SECONDS = 15.0


class OwnUp:
    """`dropgate up` on a free port; its output is the file `up.log` beside the ready file."""

    def __init__(
        self,
        data_dir: Path,
        ready_path: Path,
        *options: str,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`options` are those of `dropgate up`; `environment` replaces the inherited one."""
        self.ready_path = ready_path.absolute()
        self._child = Child(
            dropgate_command(
                *("up", "--port", "0", "--data-dir", str(data_dir)),
                *("--ready-file", str(self.ready_path), *options),
            ),
            environment=environment,
            log=self.ready_path.with_name("up.log"),
        )

    def start(self) -> None:
        """Start it; returns at once."""
        self._child.start()

    async def wait_serving(self) -> ReadyFile:
        """The ready file once it is there. Raises `StackError` when `up` ends or takes too long."""

        async def decided() -> bool:
            return self.ready_path.exists() or not self._child.alive

        await poll_until(decided, START_TIMEOUT_SECONDS, first_seconds=POLL_SECONDS)
        if not self.ready_path.exists():
            raise StackError(f"dropgate up did not come up:\n{self._child.log_tail()}")
        return ReadyFile.read(self.ready_path)

    async def stop(self) -> None:
        """Stop it and all it runs, by force after `STOP_TIMEOUT_SECONDS`. Idempotent."""
        await self._child.stop(STOP_TIMEOUT_SECONDS)
