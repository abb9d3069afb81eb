"""The options of a run of the benchmarks."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says; command_line.py reads it.

    `seconds` is the length of each measured run over HTTP, `buyers` are the numbers of connections
    at once, `scale` shrinks the sizes of the other parts, and `seed` draws the order in a round.
    """

    rounds: int
    seconds: int
    parts: tuple[str, ...]
    contestants: tuple[str, ...]
    buyers: tuple[int, ...]
    output: Path
    scale: float
    seed: int
