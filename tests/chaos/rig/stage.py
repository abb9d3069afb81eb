"""What a sale under faults is played on: where everything is, and what it logs."""

from pathlib import Path
from typing import Protocol

from config.ready import ReadyFile


class Stage(Protocol):
    """A running system: a `dropgate up`, or processes that a test has started by itself."""

    @property
    def ready(self) -> ReadyFile:
        """Addresses and pids of now."""

    @property
    def ready_path(self) -> Path:
        """The file of them."""

    @property
    def data(self) -> Path:
        """Its data folder; `logs/` is in it."""

    @property
    def folder(self) -> Path:
        """Where else files may be put."""
