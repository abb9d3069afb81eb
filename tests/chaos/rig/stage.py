"""What a sale under faults is played on: where everything is, and what it logs."""

from pathlib import Path
from typing import Protocol

from config.ready import ReadyFile


class Stage(Protocol):
    """A running system: a `dropgate up`, or processes that a test has started by itself."""

    @property
    def ready(self) -> ReadyFile:
        """The present addresses and pids."""

    @property
    def ready_path(self) -> Path:
        """The file with the addresses and pids."""

    @property
    def data(self) -> Path:
        """The data folder; `logs/` is in it."""

    @property
    def folder(self) -> Path:
        """A folder for other files of a test."""
