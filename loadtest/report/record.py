"""The record of a run, in a folder that the verdict and the report read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from loadtest.client.history import History

RUN, HISTORY, SAMPLES = "run.json", "history.jsonl", "samples.jsonl"
VERDICT, REPORT = "verdict.json", "report.html"


class RunFacts(msgspec.Struct, frozen=True):
    """The facts of a run. Times are Unix time; the report shows `settings` unchanged."""

    scenario: str
    about: str
    sale_id: str
    began_at: float
    ended_at: float
    settings: dict[str, Any]


class Sample(msgspec.Struct, frozen=True):
    """The sale at one moment."""

    at: float
    available: int
    held: int
    sold: int


class Record(msgspec.Struct, frozen=True):
    """The record of one run."""

    facts: RunFacts
    samples: tuple[Sample, ...]
    history: History

    def write(self, folder: Path) -> None:
        """Write the record into this folder, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RUN).write_bytes(msgspec.json.format(msgspec.json.encode(self.facts)))
        write_samples(folder / SAMPLES, self.samples)
        self.history.write(folder / HISTORY)

    @classmethod
    def read(cls, folder: Path) -> "Record":
        """Read what `write` left; raises OSError, msgspec.DecodeError."""
        decoder = msgspec.json.Decoder(Sample)
        return cls(
            facts=msgspec.json.decode((folder / RUN).read_bytes(), type=RunFacts),
            samples=tuple(decoder.decode_lines((folder / SAMPLES).read_bytes())),
            history=History.read(folder / HISTORY),
        )


def write_samples(path: Path, samples: Sequence[Sample]) -> None:
    """Write JSON, one sample a line."""
    path.write_bytes(msgspec.json.Encoder().encode_lines(samples))
