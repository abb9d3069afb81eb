from pathlib import Path

import pytest

from loadtest.bench.command_line import parse_options
from loadtest.bench.machine.wrk import Load, WrkError, command_of, parse_output
from loadtest.bench.parts.table import PARTS

LINE = (
    'bench-result {"requests":1000,"seconds":2.0,"refused":100,"failed":3,'
    '"p50_ms":1.5,"p99_ms":9.25,"max_ms":20.0,"laps":0}'
)


def test_the_result_is_found_in_what_wrk_prints() -> None:
    result = parse_output(f"Running 2s test @ http://127.0.0.1\n  Non-2xx: 100\n{LINE}\n")
    assert (result.requests, result.failed, result.p99_ms) == (1000, 3, 9.25)
    assert result.accepted_per_second == 450.0
    assert result.refused_per_second == 50.0


@pytest.mark.parametrize("output", ["", "unable to connect", "bench-result {nonsense"])
def test_output_without_a_result_is_an_error_that_shows_it(output: str) -> None:
    with pytest.raises(WrkError, match="result"):
        parse_output(output)


def test_the_command_line_names_the_slice_of_buyers() -> None:
    load = Load(
        url="http://127.0.0.1:8080",
        path="/v1/sales/s/reservations",
        tokens=Path("/tmp/tokens"),  # noqa: S108 - only a name here
        first=500,
        count=1000,
        connections=64,
        seconds=2,
        key_prefix="run",
        per_second=250,
    )
    command = command_of(load)
    assert command[:4] == ["wrk", "-t1", "-c64", "-d2s"]
    assert command[-8:] == [
        *("/tmp/tokens", "500", "1000", "1"),  # noqa: S108 - as above
        *("/v1/sales/s/reservations", "127.0.0.1:8080", "run", "250"),
    ]


def test_everything_runs_unless_told_otherwise() -> None:
    options = parse_options([])
    assert options.parts == tuple(part.name for part in PARTS)
    assert {"echo", "dropgate_1", "postgres_skip_locked"} <= set(options.contestants)


def test_only_takes_parts_and_contestants() -> None:
    assert parse_options(["--only", "engine"]).parts == ("engine",)
    chosen = parse_options(["--only", "echo", "dropgate_1"])
    assert (chosen.parts, chosen.contestants) == (("http",), ("echo", "dropgate_1"))
    both = parse_options(["--only", "verdicts", "redis_watch"])
    assert (both.parts, both.contestants) == (("verdicts",), ("redis_watch",))
