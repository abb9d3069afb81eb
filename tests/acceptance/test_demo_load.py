"""The load tools against a running `dropgate up`: they end with the verdict, and it can be bad."""

import asyncio
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import redis.asyncio

from config.client import Api
from loadtest.target import mint_token
from tests.support.servers import unique
from tests.support.up import Up

LOCUSTFILE = Path("loadtest/locustfile.py").absolute()
TIMEOUT_SECONDS = 180.0
SALE = {
    "hold_seconds": 2,
    "per_buyer_limit": 2,
    "items": [{"sku": "s", "price": {"amount": 100, "currency": "EUR"}, "stock": 60}],
}


async def run_tool(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """A module of the load tools, as a user starts it."""
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
    )


async def locust(up: Up, sale_id: str) -> "subprocess.CompletedProcess[str]":
    """A few seconds of the checkout scenario."""
    return await run_tool(
        *("locust", "-f", str(LOCUSTFILE), "--headless", "--users", "5", "--spawn-rate", "5"),
        *("--run-time", "2s", "--ready-file", str(up.ready_path), "--sale", sale_id, "Checkout"),
    )


@pytest.fixture
def open_sale(up: Up) -> str:
    sale_id = unique("load")
    token = mint_token(up.ready.auth_secret, "ops", "tests")
    ops = Api(up.ready.gateway, token)
    ops.call("PUT", f"/v1/sales/{sale_id}", msgspec.json.encode(SALE))
    ops.call("POST", f"/v1/sales/{sale_id}/open")
    return sale_id


async def test_a_drop_sells_out_and_says_so_in_json(up: Up, tmp_path: Path) -> None:
    sale_file = tmp_path / "small.json"
    sale_file.write_bytes(msgspec.json.encode(SALE))
    done = await run_tool(
        *("loadtest", "drop", "--ready-file", str(up.ready_path), "--sale-file", str(sale_file)),
        *("--buyers", "600", "--connections", "16", "--json"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = msgspec.json.decode(done.stdout)
    assert result["figures"]["sold"] == 60
    assert result["figures"]["buyers"] >= 600
    assert result["failures"] == []
    outcomes = {f["invariant"]: f["outcome"] for f in result["verdict"]["findings"]}
    assert outcomes.pop(9) == "not_judged"
    assert set(outcomes.values()) == {"held"}


async def test_locust_ends_with_the_verdict(up: Up, open_sale: str) -> None:
    done = await locust(up, open_sale)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Verdict of sale {open_sale}" in done.stdout


async def test_locust_ends_with_status_1_where_an_invariant_is_broken(
    up: Up, open_sale: str
) -> None:
    client = redis.asyncio.Redis.from_url(up.ready.redis, protocol=2)
    await client.hincrby(f"{{{open_sale}:0}}:stock", "s:default:sold", 1)
    await client.aclose()
    done = await locust(up, open_sale)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "broken" in done.stdout


async def test_a_sale_nobody_knows_cannot_be_judged(up: Up) -> None:
    done = await run_tool("loadtest", "verify", "nothing", "--ready-file", str(up.ready_path))
    assert done.returncode == 2
    assert "nothing" in done.stderr
