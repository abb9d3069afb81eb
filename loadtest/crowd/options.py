"""The options of a run: on the command line, in the environment, or in Locust's web form."""

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path

import msgspec

from loadtest.crowd.curves import CURVES
from loadtest.crowd.plan import Plan

RUNS = Path("var/load")


class RunOptions(msgspec.Struct, frozen=True):
    """One run of a scenario: its plan with the options applied, and its files."""

    plan: Plan
    ready_file: Path
    sale: str  # empty: the run makes a new sale
    seed: int
    output: Path


def add_options(parser: ArgumentParser, plan: Plan) -> None:
    """The scenario's numbers are the defaults. No group of options: Locust's form shows none."""
    parser.add_argument("--stock", type=int, default=plan.sale.stock, help="units to sell")
    parser.add_argument(
        "--buyers",
        type=int,
        default=plan.arrivals.buyers,
        help="number of buyers in all (0: no limit)",
    )
    parser.add_argument(
        "--rate",
        type=float,
        default=plan.arrivals.rate,
        help="arrivals a second at the peak, by the clock (open loop); 0: closed loop",
    )
    parser.add_argument(
        "--shape",
        choices=list(CURVES),
        default=plan.arrivals.shape,
        help="shape of the crowd over time",
    )
    parser.add_argument(
        "--hold-seconds",
        type=int,
        default=plan.sale.hold_seconds,
        help="seconds until a hold lapses",
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the crowd")
    parser.add_argument(
        "--sale",
        default=os.environ.get("DROPGATE_TEST_SALE", ""),
        help="id of an open sale (default: the run makes a new sale)",
    )
    parser.add_argument(
        "--ready-file",
        default=os.environ.get("DROPGATE_TEST_READY_FILE", "var/ready.json"),
        help="ready file of dropgate up",
    )
    parser.add_argument("--output", default=str(RUNS), help="folder for the records of runs")


def options_of(parsed: Namespace, plan: Plan) -> RunOptions:
    """The run that the options describe."""
    replaced = msgspec.structs.replace
    arrivals = replaced(
        plan.arrivals,
        buyers=parsed.buyers,
        rate=parsed.rate,
        shape=parsed.shape,
        users=int(parsed.num_users or plan.arrivals.users),
        seconds=int(parsed.run_time or plan.arrivals.seconds),
    )
    sale = replaced(plan.sale, stock=parsed.stock, hold_seconds=parsed.hold_seconds)
    chosen = replaced(plan, arrivals=arrivals, sale=sale)
    return RunOptions(
        chosen, Path(parsed.ready_file), parsed.sale, parsed.seed, Path(parsed.output)
    )
