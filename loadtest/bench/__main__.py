"""`python -m loadtest.bench`: run the parts that were asked for, print and write the results."""

import asyncio
import os
import resource
import shlex
import signal
import sys

import uvloop
from rich.console import Console

from loadtest.bench.command_line import parse_options
from loadtest.bench.machine.facts import Facts, gather_facts
from loadtest.bench.machine.stack import StackError, run_stack
from loadtest.bench.machine.wrk import WrkError, require_wrk
from loadtest.bench.options import Options
from loadtest.bench.parts.table import PARTS
from loadtest.bench.report.charts import draw_charts
from loadtest.bench.report.page import all_grids, json_lines, markdown, print_grids, target_rows
from loadtest.bench.results.measurements import Results
from loadtest.bench.say import Say

WIDTH_WITHOUT_TERMINAL = 200


async def _facts() -> Facts:
    load_average = os.getloadavg()[0]  # before the bench itself is load
    async with run_stack(1) as stack:
        running = stack.running
        return await gather_facts(running.redis, running.postgres, load_average)


def _stop_on_sigterm() -> None:
    """End as by Ctrl-C: every process that was started is stopped on the way out."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


async def _measure(options: Options, say: Say) -> tuple[Facts, Results]:
    _stop_on_sigterm()
    results, facts = Results(), await _facts()
    for part in PARTS:
        if part.name in options.parts:
            await part.run(options, results, say)
    return facts, results


def _write(
    options: Options, command: str, facts: Facts, results: Results, console: Console
) -> None:
    rows = target_rows(results, options.parts)
    grids = all_grids(results, rows)
    options.output.mkdir(parents=True, exist_ok=True)
    charts = draw_charts(results, options.output)
    (options.output / "results.jsonl").write_bytes(json_lines(facts, results, rows))
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

    # A thousand connections need as many file descriptors, here and in every child process.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        require_wrk()
        facts, results = uvloop.run(_measure(options, say))
    except (WrkError, StackError) as error:
        say(f"bench: {error}")
        return 2
    except (KeyboardInterrupt, asyncio.CancelledError):
        say("bench: stopped; nothing is written")
        return 130
    command = shlex.join(["python", "-m", "loadtest.bench", *arguments])
    _write(options, command, facts, results, console)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
