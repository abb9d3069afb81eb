"""Connections break on both sides of the gateway, in the middle of whatever they carry."""

from loadtest.client.answers import Line
from tests.chaos.faults.extra import proxied_gateway, proxied_reconciler
from tests.chaos.rig.trial import SKU, trial
from tests.support.up import Up

CUT_CONNECTIONS = 600


async def test_buyers_who_hang_up_strand_no_unit(up: Up) -> None:
    async with trial(up) as run:
        async with run.load.running():
            await run.under_way(20)
            await run.load.hang_up(CUT_CONNECTIONS)
            await run.goes_on(served=20, fresh=5)
        verdict = await run.judge()
        assert verdict.finding(2).outcome == "held"
        stored = await run.ledger_row(
            "SELECT count(*) AS reservations FROM reservations WHERE sale_id = $1"
        )
        assert stored["reservations"] > len(run.history.reservations()), (
            "some were accepted unheard"
        )


async def test_a_network_that_cuts_the_way_to_redis_shifts_and_loses_no_reply(up: Up) -> None:
    async with (
        proxied_gateway(up) as (gateway, proxy),
        trial(up, gateway=gateway) as run,
    ):
        async with run.load.running():
            await run.under_way()
            for _ in range(5):
                proxy.cut()
                await run.goes_on(served=20, fresh=5)
        assert proxy.cuts > 0
        await run.judge()


async def test_a_reconciler_that_loses_its_way_to_redis_leaves_the_partition_alone(up: Up) -> None:
    async with trial(up) as run:
        async with run.load.running(), run.down("reconciler"), proxied_reconciler(up) as proxy:
            await run.under_way()
            for _ in range(60):
                proxy.cut()
                await run.goes_on(served=4, fresh=1)
        assert proxy.cuts > 0
        assert (await run.watermark())[0] == 1, "nothing was lost, so nothing was rebuilt"
        await run.judge()


async def test_replies_that_never_come_are_an_unknown_outcome_and_a_retry_finds_it(up: Up) -> None:
    async with (
        proxied_gateway(up) as (gateway, proxy),
        trial(up, gateway=gateway) as run,
    ):
        async with run.load.running():
            await run.under_way()
            proxy.hold_replies()
            unknown = await run.calls.reserve("ann", "first", (Line(SKU, 1),))
            assert (unknown.status, unknown.code) == (503, "recovering")
            proxy.cut()
            proxy.pass_replies()
            found = await run.reserve("ann", "first")
            assert found.accepted
            await run.goes_on(served=20, fresh=5)
        await run.judge()
