"""`python -m loadtest.bench`: measure everything side by side, print it, and write it down."""

import asyncio
import os
import resource
import shlex
import signal
import sys

import uvloop
from rich.console import Console

from loadtest.bench.charts import draw_charts
from loadtest.bench.engine.holds import run_holds
from loadtest.bench.engine.rates import run_rates
from loadtest.bench.engine.rooms import run_rooms
from loadtest.bench.facts import Facts, gather_facts
from loadtest.bench.headline_part import run_headline
from loadtest.bench.http_part import run_http
from loadtest.bench.ledger_part import run_ledger
from loadtest.bench.measurements import Results
from loadtest.bench.options import Options, parse_options
from loadtest.bench.overload_part import run_overload
from loadtest.bench.ratios import ratio_rows
from loadtest.bench.rebuild_part import run_rebuild
from loadtest.bench.report import all_grids, json_lines, markdown, print_grids
from loadtest.bench.say import Say
from loadtest.bench.stack import StackError, run_stack
from loadtest.bench.verdicts import Verdict, run_verdicts
from loadtest.bench.waiting_part import run_waiting
from loadtest.bench.wrk import WrkError, require_wrk

WIDTH_WITHOUT_TERMINAL = 200


async def _facts() -> Facts:
    load_average = os.getloadavg()[0]  # before anything of ours runs
    async with run_stack(1) as stack:
        running = stack.running
        return await gather_facts(running.redis, running.postgres, load_average)


def _stop_on_sigterm() -> None:
    """End as by Ctrl-C: every process that was started is stopped on the way out."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


async def _measure(options: Options, say: Say) -> tuple[Facts, Results, list[Verdict]]:
    _stop_on_sigterm()
    results, verdicts = Results(), list[Verdict]()
    facts = await _facts()
    if "http" in options.parts:
        await run_http(options, results, say)
    if "engine" in options.parts:
        await run_rates(options, results, say)
        await run_holds(options, results, say)
    if "ledger" in options.parts:
        await run_ledger(options, results, say)
    if "rebuild" in options.parts:
        await run_rebuild(options, results, say)
    if "headline" in options.parts:
        await run_headline(options, results, say)
    if "waiting" in options.parts:
        await run_waiting(options, results, say)
    if "overload" in options.parts:
        await run_overload(options, results, say)
    if "waiting_room" in options.parts:
        await run_rooms(options, results, say)
    if "verdicts" in options.parts:
        verdicts = await run_verdicts(options, say)
    return facts, results, verdicts


def _write(
    options: Options, command: str, measured: tuple[Facts, Results, list[Verdict]], console: Console
) -> None:
    facts, results, verdicts = measured
    rows = ratio_rows(results)
    grids = all_grids(results, rows, verdicts)
    options.output.mkdir(parents=True, exist_ok=True)
    charts = draw_charts(results, options.output)
    (options.output / "results.jsonl").write_bytes(json_lines(facts, results, rows, verdicts))
    (options.output / "results.md").write_text(markdown(facts, command, grids, charts))
    print_grids(console, facts, grids)
    console.print(f"written to {options.output}/", soft_wrap=True)


def main(arguments: list[str]) -> int:
    """Exit status 2 where wrk or a server is missing or does not run."""
    options = parse_options(arguments)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH_WITHOUT_TERMINAL

    def say(line: str) -> None:
        console.print(line, soft_wrap=True)

    # A thousand connections need as many descriptors, here and in every child.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        require_wrk()
        measured = uvloop.run(_measure(options, say))
    except (WrkError, StackError) as error:
        say(f"bench: {error}")
        return 2
    except (KeyboardInterrupt, asyncio.CancelledError):
        say("bench: stopped; nothing is written")
        return 130
    command = shlex.join(["python", "-m", "loadtest.bench", *arguments])
    _write(options, command, measured, console)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
