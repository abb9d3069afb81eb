"""The load tools against a running `dropgate up`: they end with the verdict, and it can be bad."""

import asyncio
import subprocess
import sys
from pathlib import Path

import msgspec

from tests.support.up import Up
from tests.support.waiting import WAIT_SECONDS

SALE = {
    "hold_seconds": 2,
    "per_buyer_limit": 2,
    "items": [{"sku": "s", "price": {"amount": 100, "currency": "EUR"}, "stock": 60}],
}


async def run_tool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a module of the load tools, as a user starts it."""
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_SECONDS,
    )


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


async def test_a_sale_nobody_knows_cannot_be_judged(up: Up) -> None:
    done = await run_tool("loadtest", "verify", "nothing", "--ready-file", str(up.ready_path))
    assert done.returncode == 2
    assert "nothing" in done.stderr
