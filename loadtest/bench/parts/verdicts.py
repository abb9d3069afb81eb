"""The part `verdicts`: is a contestant right? Few units, impatient buyers, and one crash.

Every buyer wants one unit with one key. Some send the request twice at once, some drop the
connection right after sending; a buyer without an answer repeats the request with its key, as
clients do. In a second run the worker is killed once in the middle and started again. Then the
books are read.
"""

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product

import msgspec

from loadtest.bench.contestants import CONTESTANTS, TITLES, Contestant
from loadtest.bench.designs.design import Audit
from loadtest.bench.designs.process import DesignProcess, run_designs
from loadtest.bench.machine.gate import Gate
from loadtest.bench.machine.stack import Stack, run_stack
from loadtest.bench.options import Options
from loadtest.bench.parts.part import Part
from loadtest.bench.results.measurements import Results
from loadtest.bench.results.tables import Lines, Table
from loadtest.bench.results.verdicts import Verdict
from loadtest.bench.sale import reserve_request
from loadtest.bench.say import Say
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


def judge(
    contestant: str, setting: str, stock: int, books: Audit, doubled: int, unanswered: int
) -> Verdict:
    """The verdict of the books at rest and of the buyers' answers."""
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
    sale_id: str
    secret: str
    crash: Callable[[], Awaitable[None]] | None
    random: random.Random
    ids: dict[str, set[str]] = field(default_factory=dict)
    unanswered: int = 0
    accepted: int = 0
    _crash: asyncio.Future[None] | None = None

    async def rush(self) -> None:
        """Let all buyers ask, a bounded number at a time."""
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
        request = reserve_request(self.sale_id, client.authority, token, f"key-{buyer}")
        drops, twice = self.random.random() < DROPS_SHARE, self.random.random() < TWICE_SHARE
        async with places:
            if drops:
                with suppress(NoAnswerError, OSError):  # the answer was to be lost anyway
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
        """How many buyers were answered with several reservations for one key."""
        return sum(len(ids) > 1 for ids in self.ids.values())


async def _run(options: Options, results: Results, say: Say) -> None:
    """Make two runs of each contestant that reserves."""
    chosen = [
        c
        for c in CONTESTANTS
        if c.name in options.contestants and (c.kind == "design" or c.name == "dropgate_1")
    ]
    async with run_stack(1) as stack, Gate.of(stack) as gate:
        designs = [c.name for c in chosen if c.kind == "design"]
        async with run_designs(stack, designs) as processes:
            for contestant, setting in product(chosen, SETTINGS):
                crowd_random = random.Random(options.seed)
                if contestant.kind == "design":
                    process = processes[contestant.name]
                    verdict = await _of_design(contestant, setting, process, stack, crowd_random)
                else:
                    verdict = await _of_dropgate(contestant, setting, gate, crowd_random)
                say(f"  {contestant.title}, {setting}: {verdict.text}")
                results.verdicts.append(verdict)


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

    secret, killed = stack.running.auth_secret, crash if setting == KILLED else None
    crowd = _Crowd(process.url, "bench", secret, killed, own_random)
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
    killed = crash if setting == KILLED else None
    crowd = _Crowd(running.gateway, sale_id, running.auth_secret, killed, own_random)
    await crowd.rush()
    await gate.wait_for_ledger(sale_id, LEDGER_TIMEOUT_SECONDS)
    counters = await gate.snapshot(sale_id)
    doubled = max(crowd.doubled, await gate.doubled_buyers(sale_id))
    books = Audit(counters.available, counters.promised, counters.promised, counters.promised)
    return judge(contestant.name, setting, STOCK, books, doubled, crowd.unanswered)


def _lines(results: Results) -> Lines:
    rows = tuple(
        (TITLES[v.contestant], v.setting, f"{v.promised} of {v.stock}", v.text)
        for v in results.verdicts
    )
    return Lines(("contestant", "what happened to it", "units promised", "verdict"), rows)


VERDICTS = Part(
    name="verdicts",
    run=_run,
    tables=(Table("Right, not only fast: 200 units, 600 buyers", _lines),),
)
