"""The gateway keeps to what /openapi.json says, for callers of every scope and of none.

schemathesis makes requests of the document, valid and not, follows its links, and judges every
answer with all its checks: no 5xx, nothing undocumented, what is invalid refused, what needs a
token refused without. The seed is fixed and printed; DROPGATE_TEST_SEED tries another.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import chain

import aiohttp
import jwt
import pytest
import pytest_asyncio

from gateway.api.contract.endpoints import Endpoint
from tests.contract.run import Outcome, Run, schemathesis
from tests.support.api import Api
from tests.support.endpoints import every_endpoint
from tests.support.insisting import insist
from tests.support.servers import unique
from tests.support.up import Up

SEED = int(os.environ.get("DROPGATE_TEST_SEED") or 20261127)
AT_ONCE = 2
SUBJECTS = {"buyer": "buyer-17", "storefront": "shop", "ops": "operator"}
LIFE = ("reserve", "reservation", "confirm", "cancel", "extend", "returns", "order", "orders")
OF_SALES = (
    *("open_sale", "pause_sale", "resume_sale", "close_sale", "settle_sale", "pause_item"),
    *("resume_item", "adjust", "snapshot", "accounting", "sale", "reconcile", "reconciliations"),
    "reconciliation",
)
# Without leaving: a place that was given up is seen to have ended a moment later.
IN_LINE = ("queue_join", "queue", "queue_events", "reserve")
ROOM: dict[str, object] = {"max_active_buyers": 100, "admission_seconds": 60}
MAKING = ("sale_put", "open_sale")
PAID = ("reserve", "confirm", "returns")
GIVEN_BACK = ("reserve", "extend", "cancel")
READ = ("reserve", "reservation")
# Calls that every gateway serves; the calls of a demonstration are left out.
SERVED = tuple(each for each in every_endpoint() if not each.path.startswith("/demo/"))
# Operations that no run can complete, and why.
OUT_OF_REACH = {
    "GET /openapi.json": "schemathesis reads it before it begins",
    "POST /v1/dead-letters/{id}/replay": "a healthy gateway has no dead letters",
}


@dataclass(frozen=True)
class Plan:
    """A run: tokens of which scopes, in order of preference; each operation by itself, or a walk
    along the links between some. `forgets` a status: the document is made to lie.
    """

    name: str
    scopes: tuple[str, ...]
    examples: int
    walk: tuple[str, ...] = ()
    sales: int = 1
    phases: str = "examples,coverage,fuzzing"
    forgets: str | None = None

    @property
    def arguments(self) -> tuple[str, ...]:
        """The command-line arguments of schemathesis."""
        if not self.walk:
            return ("--phases", self.phases)
        named = (("--include-operation-id", name) for name in self.walk)
        return ("--phases", "stateful", "--mode", "positive", *chain.from_iterable(named))

    def run(self, tokens: dict[str, str]) -> Run:
        """The input of the hooks."""
        sales = tuple(unique("contract") for _ in range(self.sales))
        rooms = (unique("contract-room"), unique("contract-draw"))
        if self.walk in {OF_SALES, MAKING}:
            return Run(tokens, sales, rooms, ("print-a2",), ("default",), plain_sales=True)
        return Run(tokens, sales, rooms, forgets=self.forgets)


PLANS = (
    Plan("nobody", (), 3, phases="examples,coverage"),
    Plan("buyer", ("buyer",), 6),
    Plan("storefront", ("storefront",), 6),
    Plan("ops", ("ops",), 6),
    Plan("walk-buyer", ("buyer",), 10, GIVEN_BACK),
    Plan("walk-shop", ("buyer", "storefront"), 15, LIFE),
    Plan("walk-read", ("buyer",), 5, READ),
    Plan("walk-paid", ("buyer", "storefront"), 10, PAID),
    Plan("walk-queue", ("buyer",), 5, IN_LINE),
    Plan("walk-making", ("ops",), 5, MAKING),
    Plan("walk-ops", ("ops",), 30, OF_SALES, sales=24),
)
LIE = Plan("lie", ("buyer",), 1, phases="examples", forgets="201")


async def _open_sales(gateway: str, tokens: dict[str, str], run: Run) -> None:
    """Make the run's sales, with more units than the run can take, and open them."""
    price = {"amount": 25000, "currency": "EUR"}
    locations = dict.fromkeys(run.locations, 100_000_000)
    stock: dict[str, object] = {"stock": 1000} if run.plain_sales else {"locations": locations}
    items = [{"sku": sku, "price": price} | stock for sku in run.skus]
    body = {"items": items, "per_buyer_limit": 1_000_000_000, "hold_seconds": 3600}
    async with aiohttp.ClientSession() as session:
        api = Api(session, gateway)

        async def call(method: str, path: str, scope: str = "ops", body: object = None) -> None:
            answer = await insist(
                lambda: api.call(method, path, token=tokens[scope], json=body), f"{method} {path}"
            )
            assert answer.status < 400, answer.raw

        for sale in (*run.sales, *run.rooms):
            order = "draw" if sale == run.rooms[-1] else "fifo"
            more = {"waiting_room": ROOM | {"order": order}} if sale in run.rooms else {}
            await call("PUT", f"/v1/sales/{sale}", body=body | more)
            await call("POST", f"/v1/sales/{sale}/open")
        for room in run.rooms:  # the first look at a room may take longer than a call waits for it
            await call("POST", f"/v1/sales/{room}/queue", "buyer", body={})


@pytest_asyncio.fixture(scope="module")
async def outcomes(
    up: Up, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, Outcome]]:
    """The outcome of every plan, by its name; plans run side by side."""
    print(f"seed {SEED}")
    ready, folder = up.ready, tmp_path_factory.mktemp("contract")
    claims = {"aud": "dropgate", "exp": time.time() + 3600}
    tokens = {
        scope: jwt.encode(claims | {"sub": subject, "scope": scope}, ready.auth_secret)
        for scope, subject in SUBJECTS.items()
    }
    turns = asyncio.Semaphore(AT_ONCE)

    async def outcome(plan: Plan) -> tuple[str, Outcome]:
        async with turns:
            run = plan.run({scope: tokens[scope] for scope in plan.scopes})
            await _open_sales(ready.gateway, tokens, run)
            done = await schemathesis(
                ready.gateway, run, folder / plan.name,
                seed=SEED, examples=plan.examples, arguments=plan.arguments,
            )  # fmt: skip
            return plan.name, done

    yield dict(await asyncio.gather(*(outcome(plan) for plan in (*PLANS, LIE))))


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
def test_every_answer_is_as_described(plan: Plan, outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes[plan.name]
    assert outcome.status == 0, outcome.said


def test_every_call_is_done_by_somebody(outcomes: dict[str, Outcome]) -> None:
    described = {f"{each.method} {each.path}" for each in SERVED}
    done = set().union(*(outcome.succeeded() for outcome in outcomes.values()))
    assert described - done == set(OUT_OF_REACH)


def test_every_scope_is_refused_what_is_not_its_own(outcomes: dict[str, Outcome]) -> None:
    for scope in SUBJECTS:
        others = {
            f"{each.method} {each.path}"
            for each in SERVED
            if isinstance(each, Endpoint) and scope not in each.scopes
        }
        assert not outcomes[scope].succeeded() & others
        assert {label for label, status in outcomes[scope].answers if status == 403} >= others


def test_a_document_that_leaves_an_answer_out_is_found_out(outcomes: dict[str, Outcome]) -> None:
    """The negative control: the document says that no call ever creates anything."""
    assert outcomes[LIE.name].status == 1
    assert "Undocumented status code" in outcomes[LIE.name].said
