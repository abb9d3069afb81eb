"""`python -m loadtest.bench`: measure everything side by side, print it, and write it down."""

import resource
import sys

import uvloop
from rich.console import Console

from loadtest.bench.http_part import run_http
from loadtest.bench.measurements import Results
from loadtest.bench.options import Options, parse_options
from loadtest.bench.verdicts import run_verdicts
from loadtest.bench.wrk import WrkError, require_wrk


async def _run(options: Options, console: Console) -> None:
    results = Results()

    def say(line: str) -> None:
        console.print(line, soft_wrap=True)

    if "verdicts" in options.parts:
        await run_verdicts(options, say)
    if "http" in options.parts:
        await run_http(options, results, say)


def main(arguments: list[str]) -> int:
    """Exit status 2 where wrk is missing."""
    options = parse_options(arguments)
    console = Console(highlight=False)
    try:
        require_wrk()
    except WrkError as error:
        console.print(str(error))
        return 2
    # A thousand connections need as many descriptors, here and in every child.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvloop.run(_run(options, console))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
