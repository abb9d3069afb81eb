"""Reconciliations that take longer than a call waits: followed, joined, and looked up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import asyncpg
import pytest
import pytest_asyncio

import order_writer.service
import reconciler.service
from config.settings import Settings
from gateway.api.operations import asking
from reconciler.duties.reconcile import BY_HAND, PERIODIC
from tests.support.api import Api, Reply
from tests.support.servers import unique
from tests.support.waiting import wait_until


@pytest_asyncio.fixture
async def ledger(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(settings.postgres.dsn)
    yield connection
    await connection.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, patience: None) -> None:  # noqa: ARG001 - goes first
    """No reconciler runs until a test starts it, and a call waits for a moment only."""
    monkeypatch.setattr(asking, "WAIT_SECONDS", 0.05)


@asynccontextmanager
async def processes(settings: Settings) -> AsyncIterator[None]:
    """The order writer and the reconciler."""
    stop = asyncio.Event()
    running = [
        asyncio.create_task(service.run(settings, stop))
        for service in (order_writer.service, reconciler.service)
    ]
    yield
    stop.set()
    await asyncio.gather(*running)


async def ask(api: Api, sale: str, *, apply: bool = False, **headers: str) -> Reply:
    path = f"/v1/sales/{sale}/reconciliations"
    return await api.ops("POST", path, {"apply": apply}, **headers)


async def look(api: Api, sale: str, identifier: object) -> Reply:
    return await api.ops("GET", f"/v1/sales/{sale}/reconciliations/{identifier}")


async def waited_at(ledger: asyncpg.Connection, identifier: int) -> datetime:
    query = "SELECT waited_at FROM reconciliations WHERE reconciliation_id = $1"
    moment: datetime = await ledger.fetchval(query, identifier)
    return moment


@pytest.mark.usefixtures("impatient")
async def test_a_run_that_goes_on_is_followed_to_its_end(
    api: Api, ledger: asyncpg.Connection, settings: Settings
) -> None:
    sale = await api.open_sale()
    asked = await ask(api, sale)
    assert asked.status == 202, asked.raw
    body = asked.body
    assert (body["status"], body["balanced"], body["finished_at"]) == ("requested", None, None)
    assert (body["compared"], body["to_compare"]) == (0, None)
    assert int(asked.headers["Retry-After"]) > 0
    identifier = body["reconciliation_id"]
    location = asked.headers["Location"]
    assert location == f"/v1/sales/{sale}/reconciliations/{identifier}"
    assert (await api.ops("GET", location)).body == body
    query = "UPDATE reconciliations SET status = 'running', compared = 5, to_compare = 9"
    await ledger.execute(query)
    shown = (await api.ops("GET", location)).body
    assert (shown["status"], shown["compared"], shown["to_compare"]) == ("running", 5, 9)

    async def ended() -> Reply | None:
        reply = await api.ops("GET", location)
        assert reply.status == 200, reply.raw
        return None if reply.body["status"] in {"requested", "running"} else reply

    async with processes(settings):
        done = await wait_until(ended, "the reconciliation has ended")
    assert (done.body["status"], done.body["balanced"]) == ("done", True)
    assert (done.body["compared"], done.body["to_compare"]) == (0, 0)


async def test_a_caller_may_ask_not_to_wait(api: Api) -> None:
    sale = await api.open_sale()
    for preference in ("wait=0", "respond-async, wait=0", "respond-async; wait=0"):
        assert (await ask(api, sale, Prefer=preference)).status == 202, preference


@pytest.mark.usefixtures("impatient")
async def test_asking_while_one_runs_joins_it(api: Api, ledger: asyncpg.Connection) -> None:
    sale, other = await api.open_sale(), await api.open_sale()
    replies = await asyncio.gather(*(ask(api, sale) for _ in range(5)))
    assert {reply.status for reply in replies} == {202}
    assert len({reply.body["reconciliation_id"] for reply in replies}) == 1
    first = replies[0].body["reconciliation_id"]
    before = await waited_at(ledger, first)
    await ledger.execute("UPDATE reconciliations SET status = 'running'")
    assert (await ask(api, sale)).body["reconciliation_id"] == first
    assert (await waited_at(ledger, first)) > before
    assert (await ask(api, other)).body["reconciliation_id"] != first
    assert await ledger.fetchval("SELECT count(*) FROM reconciliations") == 2
    await ledger.execute("UPDATE reconciliations SET status = 'done', balanced = true")
    assert (await ask(api, sale)).body["reconciliation_id"] > first


@pytest.mark.usefixtures("impatient")
async def test_a_repair_is_joined_by_all_and_joins_only_a_repair(api: Api) -> None:
    sale = await api.open_sale()
    comparison = (await ask(api, sale)).body["reconciliation_id"]
    repair = (await ask(api, sale, apply=True)).body["reconciliation_id"]
    assert repair != comparison
    assert (await ask(api, sale, apply=True)).body["reconciliation_id"] == repair
    assert (await ask(api, sale)).body["reconciliation_id"] == comparison
    other = await api.open_sale()
    repair = (await ask(api, other, apply=True)).body["reconciliation_id"]
    assert (await ask(api, other)).body["reconciliation_id"] == repair


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("requested_by", [PERIODIC, BY_HAND])
async def test_a_run_that_no_call_asked_for_is_not_joined(
    api: Api, ledger: asyncpg.Connection, requested_by: str
) -> None:
    """A periodic run may look at changes only; a run by hand ends with its command."""
    sale = await api.open_sale()
    own = await ledger.fetchval(
        "INSERT INTO reconciliations (sale_id, requested_by, status) "
        "VALUES ($1, $2, 'running') RETURNING reconciliation_id", sale, requested_by,
    )  # fmt: skip
    assert (await ask(api, sale)).body["reconciliation_id"] != own


@pytest.mark.usefixtures("impatient")
async def test_looking_is_waiting_until_the_run_has_ended(
    api: Api, ledger: asyncpg.Connection
) -> None:
    sale = await api.open_sale()
    identifier = (await ask(api, sale)).body["reconciliation_id"]
    await ledger.execute("UPDATE reconciliations SET waited_at = now() - interval '1 hour'")
    before = await waited_at(ledger, identifier)
    assert (await look(api, sale, identifier)).status == 200
    assert (await waited_at(ledger, identifier)) > before
    await ledger.execute("UPDATE reconciliations SET status = 'failed', failure = 'abandoned'")
    before = await waited_at(ledger, identifier)
    failed = await look(api, sale, identifier)
    assert (failed.status, failed.body["failure"]) == (200, "abandoned")
    assert await waited_at(ledger, identifier) == before


@pytest.mark.usefixtures("impatient")
async def test_only_a_run_of_the_sale_is_found(api: Api) -> None:
    sale, other = await api.open_sale(), await api.open_sale()
    identifier = (await ask(api, sale)).body["reconciliation_id"]
    assert (await look(api, other, identifier)).told == (404, "not_found")
    assert (await look(api, unique("none"), identifier)).told == (404, "not_found")
    for unknown in (identifier + 1, "x", "0x1", "9" * 30):
        assert (await look(api, sale, unknown)).told == (404, "not_found")
