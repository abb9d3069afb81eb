"""`python -m loadtest.bench.designs NAME`: one worker of one design, as a process of its own.

Addresses and the token secret come from the environment, since a process list shows arguments:
BENCH_PORT, BENCH_REDIS, BENCH_POSTGRES, BENCH_SECRET. Ends on SIGTERM.
"""

import os
import sys

import uvloop
from aiohttp import web

from loadtest.bench.designs.catalogue import DESIGNS, ECHOES
from loadtest.bench.designs.design import Addresses
from loadtest.bench.designs.front import Front
from loadtest.bench.machine.ports import HOST
from loadtest.bench.sale import RESERVE_PATH

BACKLOG = 4096


async def _application(name: str) -> web.Application:
    app = web.Application(client_max_size=8192)
    if name in ECHOES:
        app.router.add_post(RESERVE_PATH, ECHOES[name])
        return app
    design = DESIGNS[name]()
    await design.start(Addresses(os.environ["BENCH_REDIS"], os.environ["BENCH_POSTGRES"]))
    Front(design, os.environ["BENCH_SECRET"]).add_routes(app)
    return app


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM."""
    if len(arguments) != 1 or arguments[0] not in {*ECHOES, *DESIGNS}:
        sys.stderr.write(f"usage: python -m loadtest.bench.designs {{{','.join(DESIGNS)}}}\n")
        return 2
    web.run_app(
        _application(arguments[0]),
        host=HOST,
        port=int(os.environ["BENCH_PORT"]),
        backlog=BACKLOG,
        access_log=None,
        print=None,
        loop=uvloop.new_event_loop(),
        shutdown_timeout=1.0,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
