"""`python -m loadtest drop · verify · judge`: a drop, a verdict, and the verdict of a recorded run.

Every command takes the ready file of `dropgate up`. Exit status 1: an invariant does not hold;
2: the command could not run.
"""

import argparse
import asyncio
import sys
from pathlib import Path

import msgspec
from rich.console import Console

from loadtest.client.calls import RefusedError
from loadtest.client.history import NO_ANSWER, History
from loadtest.client.target import Target
from loadtest.drop.demo import new_sale_id, run_drop, show
from loadtest.drop.rush import DropOptions
from loadtest.report.page import page
from loadtest.report.record import REPORT, VERDICT, Record
from loadtest.verdict.ledger import UnknownSaleError
from loadtest.verdict.run import DRAIN_TIMEOUT_SECONDS, verify

READY_FILE = Path("var/ready.json")
DEMO_SALE = Path(__file__).parent.parent / "config" / "sales" / "demo.json"
EXIT_BROKEN, EXIT_COULD_NOT_RUN = 1, 2


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtest", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    drop = commands.add_parser("drop", help="a crowd buys out a new sale")
    drop.add_argument("--buyers", type=int, default=20_000)
    drop.add_argument("--connections", type=int, default=DropOptions().connections)
    drop.add_argument("--seed", type=int, default=DropOptions().seed, help="seed of the crowd")
    drop.add_argument("--sale-file", type=Path, default=DEMO_SALE)
    verdict = commands.add_parser("verify", help="judge a sale")
    verdict.add_argument("sale")
    verdict.add_argument("--history", type=Path, help="history file that a run wrote")
    verdict.add_argument("--drain-timeout-seconds", type=float, default=DRAIN_TIMEOUT_SECONDS)
    judged = commands.add_parser("judge", help="verdict and report of a run that was recorded")
    judged.add_argument("folder", type=Path, help="folder of the recorded run")
    for command in (drop, verdict, judged):
        command.add_argument("--ready-file", type=Path, default=READY_FILE)
    for command in (drop, verdict):
        command.add_argument("--json", action="store_true", help="print JSON instead of tables")
    return parser.parse_args(argv)


async def _drop(arguments: argparse.Namespace, target: Target) -> int:
    options = DropOptions(
        buyers=arguments.buyers, connections=arguments.connections, seed=arguments.seed
    )
    console = Console(stderr=arguments.json)
    sale_id = new_sale_id(arguments.sale_file)
    result = await run_drop(target, arguments.sale_file, sale_id, options, console)
    if arguments.json:
        print(msgspec.json.encode(result).decode())
    else:
        show(result, console)
    return result.exit_code


async def _verify(arguments: argparse.Namespace, target: Target) -> int:
    history = History.read(arguments.history) if arguments.history else None
    verdict = await verify(
        arguments.sale,
        redis_url=target.redis,
        dsn=target.postgres,
        history=history,
        drain_timeout_seconds=arguments.drain_timeout_seconds,
    )
    if arguments.json:
        print(verdict.to_json().decode())
    else:
        Console().print(verdict.table())
    return 0 if verdict.holds else EXIT_BROKEN


async def _judge(arguments: argparse.Namespace, target: Target) -> int:
    """Write the verdict and the report beside the record."""
    record = Record.read(arguments.folder)
    if not any(attempt.status != NO_ANSWER for attempt in record.history.attempts):
        print("no request was answered, so there is nothing to judge", file=sys.stderr)
        return EXIT_COULD_NOT_RUN
    verdict = await verify(
        record.facts.sale_id, redis_url=target.redis, dsn=target.postgres, history=record.history
    )
    (arguments.folder / VERDICT).write_bytes(verdict.to_json())
    report = arguments.folder / REPORT
    report.write_text(page(record, verdict), encoding="utf-8")
    Console().print(verdict.table())
    print(f"report: {report}")
    return 0 if verdict.holds else EXIT_BROKEN


COMMANDS = {"drop": _drop, "verify": _verify, "judge": _judge}


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    arguments = _arguments(argv)
    try:
        target = Target.from_ready_file(arguments.ready_file)
        return asyncio.run(COMMANDS[arguments.command](arguments, target))
    except (OSError, msgspec.DecodeError, UnknownSaleError) as error:
        print(f"{error}: start dropgate up, or name its --ready-file", file=sys.stderr)
    except RefusedError as error:
        print(f"the gateway did not do its part: {error}", file=sys.stderr)
    return EXIT_COULD_NOT_RUN


if __name__ == "__main__":
    sys.exit(main())
