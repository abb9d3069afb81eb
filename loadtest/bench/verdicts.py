"""Is a contestant right, not only fast? Too few units, impatient buyers, and one crash.

Every buyer wants one unit with one key. Some send the request twice at once, some drop the
connection right after sending; whoever has no answer asks again with the same key, as clients do.
In a second run the worker is killed once in the middle and started again. Then the books are read.
"""

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product

import msgspec

from loadtest.bench.contestants import CONTESTANTS, Contestant, DesignProcess, run_designs
from loadtest.bench.designs.design import Audit
from loadtest.bench.gate import Gate
from loadtest.bench.http_part import PATH, create_database
from loadtest.bench.options import Options
from loadtest.bench.say import Say
from loadtest.bench.stack import Stack, run_stack
from loadtest.client.http_client import HttpClient, NoAnswerError
from loadtest.client.target import mint_token

STOCK, BUYERS, CONNECTIONS = 200, 600, 64
DROPS_SHARE, TWICE_SHARE = 0.3, 0.3
MOST_TRIES, PAUSE_SECONDS = 60, 0.1
KILL_AFTER_ACCEPTED = 60
RUN_TIMEOUT_SECONDS = 90.0
LEDGER_TIMEOUT_SECONDS = 30.0
KILLED = "killed worker"
SETTINGS = ("dropped connections", KILLED)
BODY = b'{"lines":[{"sku":"BENCH","quantity":1}]}'


class Verdict(msgspec.Struct, frozen=True):
    """What the books say; every count but `promised` should be zero."""

    contestant: str
    setting: str
    stock: int
    promised: int
    oversold: int
    stranded: int  # neither promised nor there to be sold
    left_unsold: int  # there to be sold, although buyers were refused
    doubled: int  # keys with more than one reservation
    unanswered: int  # buyers without an answer after all tries

    @property
    def correct(self) -> bool:
        """Whether all units sold once."""
        wrong = self.oversold + self.stranded + self.left_unsold + self.doubled + self.unanswered
        return wrong == 0

    @property
    def text(self) -> str:
        """`correct`, or what is wrong."""
        faults = {
            "oversold": self.oversold,
            "stranded": self.stranded,
            "left unsold": self.left_unsold,
            "doubled": self.doubled,
            "unanswered": self.unanswered,
        }
        found = ", ".join(f"{count} {fault}" for fault, count in faults.items() if count)
        return found or "correct"


def judge(
    contestant: str, setting: str, stock: int, books: Audit, doubled: int, unanswered: int
) -> Verdict:
    """From the books at rest and what the buyers saw."""
    return Verdict(
        contestant=contestant,
        setting=setting,
        stock=stock,
        promised=books.promised,
        oversold=max(0, books.promised - stock),
        stranded=max(0, stock - books.promised - books.remaining),
        left_unsold=max(0, books.remaining),
        doubled=max(doubled, books.reservations - books.distinct_keys),
        unanswered=unanswered,
    )


class _Made(msgspec.Struct, frozen=True):
    reservation_id: str = ""


_made = msgspec.json.Decoder(_Made)


@dataclass(slots=True)
class _Crowd:
    """The buyers of one run."""

    url: str
    path: str
    secret: str
    crash: Callable[[], Awaitable[None]] | None
    random: random.Random
    ids: dict[str, set[str]] = field(default_factory=dict)
    unanswered: int = 0
    accepted: int = 0
    _crash: "asyncio.Future[None] | None" = None

    async def rush(self) -> None:
        """All buyers, a bounded number at a time."""
        client = HttpClient(self.url, CONNECTIONS)
        places = asyncio.Semaphore(CONNECTIONS)
        try:
            async with asyncio.timeout(RUN_TIMEOUT_SECONDS), asyncio.TaskGroup() as group:
                for number in range(BUYERS):
                    group.create_task(self._buyer(client, places, f"buyer-{number:04d}"))
            if self._crash is not None:
                await self._crash
        finally:
            await client.close()

    async def _buyer(self, client: HttpClient, places: asyncio.Semaphore, buyer: str) -> None:
        token = mint_token(self.secret, "buyer", buyer)
        request = (
            f"POST {self.path} HTTP/1.1\r\nHost: {client.authority}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n"
            f"Authorization: Bearer {token}\r\nIdempotency-Key: key-{buyer}\r\n\r\n"
        ).encode() + BODY
        drops, twice = self.random.random() < DROPS_SHARE, self.random.random() < TWICE_SHARE
        async with places:
            if drops:
                with suppress(NoAnswerError, OSError):  # it was to be lost anyway
                    await client.send_and_cut(request)
            tries = [self._ask(client, buyer, request) for _ in range(2 if twice else 1)]
            answered = await asyncio.gather(*tries)
        if not all(answered):
            self.unanswered += 1

    async def _ask(self, client: HttpClient, buyer: str, request: bytes) -> bool:
        for _ in range(MOST_TRIES):
            try:
                response = await client.request(request)
            except NoAnswerError:
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            if response.status == 201:
                self._note(buyer, _made.decode(response.body).reservation_id)
                return True
            if response.status == 409:
                return True
            await asyncio.sleep(PAUSE_SECONDS)
        return False

    def _note(self, buyer: str, reservation_id: str) -> None:
        self.ids.setdefault(buyer, set()).add(reservation_id)
        self.accepted += 1
        if self.accepted == KILL_AFTER_ACCEPTED and self.crash is not None:
            self._crash = asyncio.ensure_future(self.crash())

    @property
    def doubled(self) -> int:
        """Buyers who were told of more than one reservation for their one key."""
        return sum(len(ids) > 1 for ids in self.ids.values())


async def run_verdicts(options: Options, say: Say) -> list[Verdict]:
    """Two runs of each contestant that reserves."""
    chosen = [
        c
        for c in CONTESTANTS
        if c.name in options.contestants and (c.kind == "design" or c.name == "dropgate_1")
    ]
    verdicts = []
    async with run_stack(1) as stack, Gate.of(stack) as gate:
        designs = [c.name for c in chosen if c.kind == "design"]
        if designs:
            await create_database(stack)
        async with run_designs(stack, designs) as processes:
            for contestant, setting in product(chosen, SETTINGS):
                crowd_random = random.Random(options.seed)
                if contestant.kind == "design":
                    process = processes[contestant.name]
                    verdict = await _of_design(contestant, setting, process, stack, crowd_random)
                else:
                    verdict = await _of_dropgate(contestant, setting, gate, crowd_random)
                say(f"  {contestant.title}, {setting}: {verdict.text}")
                verdicts.append(verdict)
    return verdicts


async def _of_design(
    contestant: Contestant,
    setting: str,
    process: DesignProcess,
    stack: Stack,
    own_random: random.Random,
) -> Verdict:
    await process.call("POST", f"/bench/reset/{STOCK}")

    async def crash() -> None:
        await process.kill()
        await process.start()

    secret = stack.running.auth_secret
    path = PATH.format(sale="bench")
    crowd = _Crowd(process.url, path, secret, crash if setting == KILLED else None, own_random)
    await crowd.rush()
    await process.call("POST", "/bench/rest")
    answer = await process.call("GET", "/bench/audit")
    books = msgspec.json.decode(answer.body, type=Audit)
    return judge(contestant.name, setting, STOCK, books, crowd.doubled, crowd.unanswered)


async def _of_dropgate(
    contestant: Contestant, setting: str, gate: Gate, own_random: random.Random
) -> Verdict:
    sale_id = "verdict-" + setting.replace(" ", "-")
    await gate.open_sale(sale_id, STOCK, limit=1)

    async def crash() -> None:
        gate.stack.signal("gateway", signal.SIGKILL)

    running = gate.stack.running
    path, killed = PATH.format(sale=sale_id), crash if setting == KILLED else None
    crowd = _Crowd(running.gateway, path, running.auth_secret, killed, own_random)
    await crowd.rush()
    await gate.wait_for_ledger(sale_id, LEDGER_TIMEOUT_SECONDS)
    counters = await gate.snapshot(sale_id)
    doubled = max(crowd.doubled, await gate.doubled_buyers(sale_id))
    books = Audit(counters.available, counters.promised, counters.promised, counters.promised)
    return judge(contestant.name, setting, STOCK, books, doubled, crowd.unanswered)
