"""Every load scenario, run briefly as a user starts it: Locust, the verdict, the report."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
import redis.asyncio

from config.client import Api
from config.commands.loadtest import SCENARIOS
from loadtest.client.target import mint_token
from loadtest.report.record import REPORT, VERDICT, Record
from tests.support.command import Done, dropgate
from tests.support.servers import unique
from tests.support.up import Up

AT_ONCE = 2
SMALL = ("--users", "12", "--run-time", "2s", "--hold-seconds", "1")
OWN = {
    "drop": ("--buyers", "120", "--stock", "20", "--run-time", "120s"),  # over when all have come
    "steady": ("--rate", "40"),
    "mixed": ("--shape", "flat"),
}
SALE = {
    "hold_seconds": 2,
    "items": [{"sku": "s", "price": {"amount": 100, "currency": "EUR"}, "stock": 60}],
}
Runs = dict[str, "asyncio.Task[tuple[Done, Path]]"]


async def load(up: Up, scenario: str, output: Path, *arguments: str) -> Done:
    return await dropgate(
        *("loadtest", scenario, "--ready-file", str(up.ready_path), "--output", str(output)),
        *SMALL,
        *arguments,
    )


def open_sale(up: Up, sale_id: str) -> None:
    ops = Api(up.ready.gateway, mint_token(up.ready.auth_secret, "ops", "tests"))
    ops.call("PUT", f"/v1/sales/{sale_id}", msgspec.json.encode(SALE))
    ops.call("POST", f"/v1/sales/{sale_id}/open")


def the_run(output: Path) -> Path:
    (folder,) = output.iterdir()
    return folder


@pytest_asyncio.fixture(scope="module")
async def runs(up: Up, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Runs]:
    """All scenarios, a few at a time, on one system."""
    places = asyncio.Semaphore(AT_ONCE)

    async def run(scenario: str) -> tuple[Done, Path]:
        output = tmp_path_factory.mktemp(scenario)
        async with places:
            return await load(up, scenario, output, *OWN.get(scenario, ())), output

    tasks = {scenario: asyncio.create_task(run(scenario)) for scenario in SCENARIOS}
    yield tasks
    await asyncio.gather(*tasks.values())


def codes(record: Record) -> set[str]:
    return set(record.history.refusals())


# What shows that a scenario did what it is for.
DID: dict[str, Callable[[Record], bool]] = {
    "drop": lambda r: (
        len({a.buyer_id for a in r.history.attempts}) == 120
        and any(a.admission for a in r.history.of("reserve"))
        and {"waiting", "admitted", "sold_out"} <= {a.state for a in r.history.of("poll")}
    ),
    "steady": lambda r: any(a.scheduled_at for a in r.history.of("reserve")),
    "hot_sku": lambda r: len(r.history.reservations()) > 0,
    "hoarders": lambda r: any(a.units == 4 for a in r.history.of("reserve")),
    "bots": lambda r: codes(r) >= {"unauthenticated", "not_admitted"},
    "retry_storm": lambda r: (
        "no answer" in codes(r) and any(a.replayed for a in r.history.of("reserve"))
    ),
    "browse": lambda r: any(a.accepted for a in r.history.of("browse")),
    "mixed": lambda r: {"reserve", "browse", "confirm"} <= {a.call for a in r.history.attempts},
}


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_a_scenario_ends_with_a_verdict_that_holds_and_a_report(
    runs: Runs, scenario: str
) -> None:
    done, output = await runs[scenario]
    assert done.status == 0, done.output + done.errors
    folder = the_run(output)
    assert "Every promise was kept." in (folder / REPORT).read_text()
    assert msgspec.json.decode((folder / VERDICT).read_bytes())["holds"] is True
    record = Record.read(folder)
    assert len(record.samples) > 2
    assert DID[scenario](record), record.history.refusals()


async def test_a_planted_violation_is_status_1_and_stands_in_the_report(
    up: Up, tmp_path: Path
) -> None:
    sale_id = unique("load")
    await asyncio.to_thread(open_sale, up, sale_id)
    client = redis.asyncio.Redis.from_url(up.ready.redis, protocol=2)
    await client.hincrby(f"{{{sale_id}:0}}:stock", "s:default:sold", 1)
    await client.aclose()
    done = await load(up, "steady", tmp_path, "--sale", sale_id)
    assert done.status == 1, done.output + done.errors
    assert f"Verdict of sale {sale_id}" in done.output
    assert "Broken: " in (the_run(tmp_path) / REPORT).read_text()


async def test_a_load_that_cannot_start_says_why(up: Up, tmp_path: Path) -> None:
    done = await load(up, "steady", tmp_path, "--sale", "no-such-sale")
    assert done.status == 2
    assert "404" in done.output + done.errors
    done = await load(up, "nothing", tmp_path)
    assert done.status != 0
    assert "hot_sku" in done.output + done.errors
