"""Arguments and options that several commands take, each written once."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

DATA_FOLDER = Path("var")
READY_FILE = "ready.json"
# Where the ready file of a `dropgate up` without options is.
READY = DATA_FOLDER / READY_FILE


class EventLogKind(StrEnum):
    """Where events go after the outbox."""

    OUTBOX = "outbox"
    KAFKA = "kafka"


Sale = Annotated[str, typer.Argument(help="The sale's id.")]
Ready = Annotated[Path, typer.Option(help="Ready file of dropgate up, with addresses and secret.")]
