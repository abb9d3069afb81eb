"""From the accepted answer to the row in the ledger, at a sustained rate, everything running."""

import asyncio
from contextlib import suppress

from loadtest.bench.gate import Gate
from loadtest.bench.http_part import DRAIN_TIMEOUT_SECONDS, PATH, STOCK
from loadtest.bench.measurements import Results
from loadtest.bench.options import Options
from loadtest.bench.say import Say
from loadtest.bench.stack import run_stack
from loadtest.bench.tokens import write_tokens
from loadtest.bench.wrk import Load, run_wrk
from loadtest.lag import LagSampler

PART = "ledger"
# A little is lost at both ends of a run, so the rate to reach is asked for with a little on top.
RATES_PER_SECOND = (1_000, 2_500, 5_000, 7_500, 10_100, 12_600)
SECONDS = 8
CONNECTIONS = 128
# Below this share of what is asked for there is no point in asking for more.
LEAST_SHARE = 0.8


async def run_ledger(options: Options, results: Results, say: Say) -> None:
    """Each rate once, from low to high; the first that is missed by far is the last."""
    seconds = max(2, round(SECONDS * options.scale))
    async with run_stack(1) as stack, Gate.of(stack) as gate:
        tokens = stack.folder / "tokens"
        most = RATES_PER_SECOND[-1] * (seconds + 1)
        write_tokens(tokens, stack.running.auth_secret, most)
        for rate in RATES_PER_SECOND:
            sale_id = f"lag-{rate}"
            await gate.open_sale(sale_id, STOCK, limit=1)
            sampler = LagSampler(stack.running.postgres, sale_id)
            looking = asyncio.create_task(sampler.run())
            load = Load(
                url=stack.running.gateway,
                path=PATH.format(sale=sale_id),
                tokens=tokens,
                first=0,
                count=most,
                connections=CONNECTIONS,
                seconds=seconds,
                key_prefix=sale_id,
                per_second=rate,
            )
            try:
                result = await run_wrk(load)
                drained = await gate.wait_for_ledger(sale_id, DRAIN_TIMEOUT_SECONDS)
            finally:
                looking.cancel()
                with suppress(asyncio.CancelledError):
                    await looking
            if not drained:
                say(f"  {rate:,}/s: the ledger did not drain in {DRAIN_TIMEOUT_SECONDS} s")
                return
            lag = await sampler.distribution()
            results.add(
                PART,
                "accept to row in the ledger",
                f"{rate:,}/s asked for",
                1,
                accepted_per_second=result.accepted_per_second,
                lag_p50_ms=lag.p50_ms,
                lag_p99_ms=lag.p99_ms,
                lag_max_ms=lag.max_ms,
                answer_p99_ms=result.p99_ms,
            )
            accepted = result.accepted_per_second
            say(f"  {rate:,}/s: {accepted:,.0f}/s accepted, lag p99 {lag.p99_ms:,.0f} ms")
            if accepted < rate * LEAST_SHARE:
                return
