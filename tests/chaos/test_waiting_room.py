"""Those who wait keep their numbers through the death of every process, and are let in in order."""

import os
import signal
from functools import partial
from typing import Any, NamedTuple

import aiohttp
import msgspec
import pytest

from config.client import make_token
from loadtest.client.history import NO_ANSWER
from tests.support.api import sale_body
from tests.support.insisting import PASSING, insist
from tests.support.servers import unique
from tests.support.up import Up
from tests.support.waiting import wait_until

BUYERS = 12
ROOM = {"max_active_buyers": 2, "admission_seconds": 600}


class Answer(NamedTuple):
    """An answer's status and its JSON; `NO_ANSWER` and nothing where the connection broke."""

    status: int
    body: dict[str, Any]


class Line:
    """One sale's waiting room, seen by its buyers over HTTP."""

    def __init__(self, up: Up, session: aiohttp.ClientSession) -> None:
        self.sale = unique("line")
        self.path = f"/v1/sales/{self.sale}"
        self.tickets: dict[str, str] = {}
        self._up = up
        self._session = session

    async def call(
        self, scope: str, subject: str, method: str, path: str, body: object = None, **headers: str
    ) -> Answer:
        """One request, as it is answered now."""
        ready = self._up.ready
        token = make_token(
            ready.auth_secret, scope=scope, subject=subject, audience="dropgate", life_seconds=600
        )
        sent = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        data = msgspec.json.encode({} if body is None else body)
        try:
            async with self._session.request(
                method, ready.gateway + path, headers=sent, data=None if method == "GET" else data
            ) as response:
                return Answer(response.status, msgspec.json.decode(await response.read()))
        except aiohttp.ClientConnectionError:
            return Answer(NO_ANSWER, {})

    async def answered(self, *asked: Any) -> Answer:
        """As `call`, asked again while there is an outage."""
        return await insist(lambda: self.call(*asked))

    async def is_all_well(self) -> bool:
        """Whether the gateway is ready, and reaches Postgres."""
        status, told = await self.call("ops", "ops", "GET", "/readyz")
        return status == 200 and told["postgres"] == "up"

    async def open(self) -> None:
        """The sale, open, and everybody in line."""
        made, _ = await self.answered("ops", "ops", "PUT", self.path, sale_body(waiting_room=ROOM))
        assert made in {200, 201}
        opened, _ = await self.answered("ops", "ops", "POST", f"{self.path}/open")
        assert opened == 200
        for number in range(1, BUYERS + 1):
            status, told = await self.answered(
                "buyer", f"buyer-{number}", "POST", f"{self.path}/queue"
            )
            assert (status, told["position"]) == (200, number)
            self.tickets[f"buyer-{number}"] = told["ticket"]

    async def are_in_place(self) -> bool:
        """Whether everybody is served again, each with the number they had."""
        for number in range(1, BUYERS + 1):
            status, told = await self.call("buyer", f"buyer-{number}", "POST", f"{self.path}/queue")
            if status in PASSING:
                return False
            assert (status, told["position"]) == (200, number), told
        return True

    async def admitted(self, buyer: str) -> str | None:
        """The buyer's admission token, if there is one now."""
        status, told = await self.call(
            "buyer", buyer, "GET", f"{self.path}/queue", Queue_Ticket=self.tickets[buyer]
        )
        return told.get("admission_token") if status == 200 else None

    async def reserve(self, buyer: str, admission: str) -> int:
        """The status of a reserve."""
        lines = {"lines": [{"sku": "shirt", "quantity": 1}]}
        status, _ = await self.call(
            *("buyer", buyer, "POST", f"{self.path}/reservations"),
            lines,
            Idempotency_Key=buyer,
            Admission_Token=admission,
        )
        return status


@pytest.mark.parametrize("name", ["gateway", "redis", "postgres", "reconciler"])
async def test_a_killed_process_costs_nobody_the_place(up: Up, name: str) -> None:
    async with aiohttp.ClientSession() as session:
        line = Line(up, session)
        await line.open()
        # The first pid is the server itself; every pid of a gateway is a worker.
        killed = up.ready.pids[name] if name == "gateway" else up.ready.pids[name][:1]
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        for pid in killed:
            await up.ready_where(name, not_pid=pid)
        await wait_until(line.are_in_place, "everybody is in place again")

        # The room goes on: who is let in can buy, and the next one is called for it.
        for number in (1, 2, 3):
            buyer = f"buyer-{number}"
            admission = await wait_until(partial(line.admitted, buyer), f"{buyer} is let in")

            async def bought(buyer: str = buyer, admission: str = admission) -> bool:
                return await line.reserve(buyer, admission) == 201

            await wait_until(bought, f"{buyer} has a unit")

        await wait_until(line.is_all_well, "nothing of it is left to the next test")
