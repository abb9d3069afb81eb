"""What was asked for on the command line."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from loadtest.bench.contestants import CONTESTANTS

PARTS = (
    "http",
    "verdicts",
    "engine",
    "ledger",
    "headline",
    "waiting",
    "waiting_room",
    "overload",
    "rebuild",
)
DEFAULT_OUTPUT = Path("docs/benchmarks")


@dataclass(frozen=True, slots=True)
class Options:
    """`seconds` is each measured run over HTTP; `scale` shrinks the engine's and ledger's sizes."""

    rounds: int
    seconds: int
    parts: tuple[str, ...]
    contestants: tuple[str, ...]
    buyers: tuple[int, ...]
    output: Path
    scale: float
    seed: int


def parse_options(arguments: list[str]) -> Options:
    """Parse; argparse ends the process on a mistake."""
    names = [contestant.name for contestant in CONTESTANTS]
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.bench",
        description="Side-by-side benchmarks: dropgate, bare aiohttp, and other designs.",
    )
    parser.add_argument("--rounds", type=int, default=3, help="of every contestant (3)")
    parser.add_argument("--seconds", type=int, default=2, help="of one measured run (2)")
    parser.add_argument(
        "--only", nargs="+", choices=[*PARTS, *names], default=[], help="parts or contestants"
    )
    parser.add_argument(
        "--buyers", type=int, nargs="+", default=[64, 1000], help="connections at once (64 1000)"
    )
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, help="folder for results")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="of the engine's and the ledger's sizes (1.0)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the order within a round")
    parsed = parser.parse_args(arguments)
    parts = tuple(part for part in PARTS if part in parsed.only)
    chosen = tuple(name for name in names if name in parsed.only)
    if chosen and not parts:
        parts = ("http",)
    return Options(
        rounds=parsed.rounds,
        seconds=parsed.seconds,
        parts=parts or PARTS,
        contestants=chosen or tuple(names),
        buyers=tuple(parsed.buyers),
        output=parsed.output,
        scale=parsed.scale,
        seed=parsed.seed,
    )
