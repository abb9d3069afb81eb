"""The command line of the benchmarks."""

import argparse
from pathlib import Path

from loadtest.bench.contestants import CONTESTANTS
from loadtest.bench.options import Options
from loadtest.bench.parts.http import HTTP
from loadtest.bench.parts.table import PARTS

DEFAULT_OUTPUT = Path("docs/benchmarks")


def parse_options(arguments: list[str]) -> Options:
    """Read the command line; argparse ends the process on a mistake.

    Contestants that are named without a part take part over HTTP.
    """
    parts = [part.name for part in PARTS]
    contestants = [contestant.name for contestant in CONTESTANTS]
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.bench",
        description="Side-by-side benchmarks: dropgate, bare aiohttp, and other designs.",
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds of every contestant (3)")
    parser.add_argument(
        "--seconds", type=int, default=2, help="length of one measured run over HTTP (2)"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=[*parts, *contestants],
        default=[],
        help="parts or contestants to run (all)",
    )
    parser.add_argument(
        "--buyers", type=int, nargs="+", default=[64, 1000], help="connections at once (64 1000)"
    )
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, help="folder for results")
    parser.add_argument(
        "--scale",
        type=float,
        default=1.0,
        help="factor on the sizes of every part except http, overload and verdicts (1.0)",
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the order within a round (1)")
    parsed = parser.parse_args(arguments)
    chosen_parts = tuple(name for name in parts if name in parsed.only)
    chosen = tuple(name for name in contestants if name in parsed.only)
    if chosen and not chosen_parts:
        chosen_parts = (HTTP.name,)
    return Options(
        rounds=parsed.rounds,
        seconds=parsed.seconds,
        parts=chosen_parts or tuple(parts),
        contestants=chosen or tuple(contestants),
        buyers=tuple(parsed.buyers),
        output=parsed.output,
        scale=parsed.scale,
        seed=parsed.seed,
    )
