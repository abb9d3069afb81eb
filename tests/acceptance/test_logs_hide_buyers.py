"""With `log.buyer_ids = hashed` no log of any process names a buyer, whatever happens."""

import asyncio
import os
import signal
import time
from pathlib import Path

import aiohttp
import jwt
import pytest

from gateway.api.contract.endpoints import Endpoint
from gateway.api.description.examples import example_of
from tests.support.api import Api, sale_body
from tests.support.endpoints import api_endpoints
from tests.support.up import NewUp
from tests.support.waiting import wait_until

BUYER = "buyer-nobody-may-read"


async def test_no_log_names_a_buyer(new_up: NewUp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROPGATE_LOG__BUYER_IDS", "hashed")
    monkeypatch.setenv("DROPGATE_LOG__HASH_KEY", "a-key-of-at-least-32-bytes-for-logs")
    monkeypatch.setenv("DROPGATE_LOG__LEVEL", "debug")
    up = new_up()
    ready = await up.start()
    claims = {"aud": "dropgate", "exp": time.time() + 600}
    tokens = {
        scope: jwt.encode(claims | {"sub": subject, "scope": scope}, ready.auth_secret)
        for scope, subject in (("buyer", BUYER), ("storefront", "shop"), ("ops", "operator"))
    }
    async with aiohttp.ClientSession() as session:
        api = Api(session, ready.gateway)

        async def reserve(key: str) -> str:
            path, json = "/v1/sales/drop/reservations", {"lines": [{"sku": "shirt", "quantity": 1}]}
            headers = {"Idempotency-Key": key}
            made = await api.call("POST", path, token=tokens["buyer"], json=json, headers=headers)
            return str(made.body.get("reservation_id", "drop.0.AAAAAAAAAAAAAAAAAAAAAA"))

        await api.call("PUT", "/v1/sales/drop", token=tokens["ops"], json=sale_body())
        await api.call("POST", "/v1/sales/drop/open", token=tokens["ops"])

        async def every_call() -> None:
            for number, endpoint in enumerate(api_endpoints()):
                reservation = await reserve(f"{endpoint.route}-{number}")
                if endpoint.path.endswith(("/close", "/settle", "/events")):
                    continue
                path = endpoint.path.format(sale="drop", sku="shirt", id=reservation, buyer=BUYER)
                given = endpoint.body if isinstance(endpoint, Endpoint) else None
                body = None if given is None else example_of(given)
                for scope in endpoint.scopes if isinstance(endpoint, Endpoint) else ("buyer",):
                    headers = {"Idempotency-Key": f"{BUYER}-{number}", "Queue-Ticket": BUYER}
                    token = tokens[scope]
                    told = await api.call(
                        endpoint.method, path, token=token, json=body, headers=headers
                    )
                    assert told.status != 500, (path, told.raw)

        await every_call()
        # Processes log most while servers are gone.
        for name in ("postgres", "redis"):
            pid = ready.pids[name][0]
            os.kill(pid, signal.SIGKILL)
            await every_call()
            ready = await up.ready_where(name, not_pid=pid)

        async def well() -> bool:
            return (await api.call("GET", "/readyz")).status == 200

        await wait_until(well, "everything is back")
        await reserve("last")
    assert await up.stop() == 0
    logs = await asyncio.to_thread(lambda: {path: path.read_bytes() for path in log_files(up.data)})
    assert len(logs) >= 5
    assert sum(map(len, logs.values())) > 1000
    naming = [str(path) for path, content in logs.items() if BUYER.encode() in content]
    assert not naming
    assert BUYER not in up.output


def log_files(data: Path) -> list[Path]:
    return [path for path in data.rglob("*.log*") if path.is_file()]
