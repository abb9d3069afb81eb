"""`python -m loadtest.bench.herd HERD.json`: a crowd, in a process of its own."""

import sys
from pathlib import Path

import msgspec
import uvloop

from loadtest.bench.herd.drop import DropHerd, run_drop
from loadtest.bench.herd.queue import QueueHerd, run_queue


def main() -> int:
    """Exit status 1 where a buyer was given up."""
    herd = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=DropHerd | QueueHerd)
    given_up = uvloop.run(run_drop(herd) if isinstance(herd, DropHerd) else run_queue(herd))
    if given_up:
        print(f"{given_up} buyers never had an answer", file=sys.stderr)
    return 1 if given_up else 0


if __name__ == "__main__":
    sys.exit(main())
