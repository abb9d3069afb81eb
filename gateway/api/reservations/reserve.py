"""The hot path: `POST /v1/sales/{sale}/reservations`, from header and body bytes to answer bytes.

The module is independent of the web framework, so that the hot path and aiohttp's way share it.
Whatever requests have in common is made once; a request that reaches Redis shares a script call.
"""

import asyncio
from collections.abc import Mapping
from functools import lru_cache

import msgspec

from config.waiting import Backoff
from gateway.admission.passes import InvalidPass, passes_of
from gateway.admission.tokens import Principal, Scope
from gateway.api.contract.bodies import Decoder, check_json, idempotency_key
from gateway.api.contract.problems import Answer, Problem, recovering
from gateway.api.contract.rate_headers import Quota, rate_headers, rate_limited
from gateway.api.contract.rendering import REPLAYED, json_answer
from gateway.api.contract.requests import ReserveBody
from gateway.api.ledger.connections import LedgerUnavailable
from gateway.api.metrics.catalogue import GatewayMetrics
from gateway.api.queue.gate import QueueGate
from gateway.api.reservations.lines import buyer_of, fingerprint_of, numbered_lines
from gateway.api.reservations.refusals import key_reused, not_open, refusal
from gateway.api.reservations.rendering import reservation_answer
from gateway.api.reservations.settled import SettledReservations
from gateway.api.sales.directory import SaleDirectory
from gateway.api.sales.facts import SaleFacts
from gateway.api.sales.lookup import facts_or_problem, is_settled
from gateway.inventory.batcher import ReserveBatcher
from gateway.inventory.errors import Overloaded, Recovering, UnknownOutcome
from gateway.inventory.keys import PartitionId, ReservationId, keyed_token
from gateway.inventory.outcomes import Outcome, ReserveReply
from gateway.inventory.types import Reservation, ReserveRequest, SaleState

ASK_AGAIN_FIRST_SECONDS = 0.05
# The number of a buyer's admission, and the instant of its end in ms on Redis' clock.
Admission = tuple[int, int]
NO_ADMISSION: Admission = (0, 0)
ENDED_AT_MS = 0

_body = Decoder(ReserveBody)


def _shape(
    headers: Mapping[str, str], raw: bytes, principal: Principal
) -> tuple[ReserveBody, str, str, str]:
    """Body, fingerprint, idempotency key and buyer. Raises Problem."""
    check_json(headers)
    body, fingerprint = _known_body(raw)
    return body, fingerprint, idempotency_key(headers), buyer_of(principal, body.buyer_id)


def _admission(
    gate: QueueGate, facts: SaleFacts, headers: Mapping[str, str], buyer_id: str
) -> Admission:
    """The admission in the request's token, in a sale with a waiting room. Only the partition knows
    whether it is still valid, and a replay needs none, so a bad token gives NO_ADMISSION.
    """
    if facts.spec.waiting_room is None or not gate.lets(facts.sale_id, buyer_id):
        return NO_ADMISSION
    try:
        passes = passes_of(facts.hash_key, facts.sale_id)
        admission = passes.admitted(headers.get("Admission-Token", ""), buyer_id, now_ms=0)
    except InvalidPass:
        return NO_ADMISSION
    if gate.has_place(facts.sale_id, admission.number):
        return admission
    # The script tells whether the place was used or given up: it looks at the number first.
    return admission.number, ENDED_AT_MS


class Ask(msgspec.Struct, frozen=True, gc=False):
    """A well-formed request: the sale, the partition, and the request for the script."""

    facts: SaleFacts
    partition: PartitionId
    request: ReserveRequest

    @property
    def identifier(self) -> ReservationId:
        """The reservation's id, whether or not the partition accepts the request."""
        return ReservationId(self.partition, self.request.token)


@lru_cache(maxsize=1024)
def _known_body(raw: bytes) -> tuple[ReserveBody, str]:
    """A body and its fingerprint, cached: in a drop nearly all bodies are equal."""
    body = _body.decode_json(raw)
    return body, fingerprint_of(body.lines)


class Reserve:
    """The call `reserve`. The hot path uses `ask`, `send` and `answer`, which never wait."""

    def __init__(
        self,
        directory: SaleDirectory,
        batcher: ReserveBatcher,
        settled: SettledReservations,
        metrics: GatewayMetrics,
        gate: QueueGate,
        *,
        buyer_quota: Quota | None,
        deadline_seconds: float,
    ) -> None:
        """`buyer_quota`: the store's rate limit per buyer; `deadline_seconds`: bound of the retries
        while an outcome is unknown.
        """
        self._gate = gate
        self._directory = directory
        self._batcher = batcher
        self._settled = settled
        self._metrics = metrics
        self._buyer_quota = buyer_quota
        self._deadline_seconds = deadline_seconds

    async def __call__(
        self, sale_id: str, headers: Mapping[str, str], raw: bytes, principal: Principal
    ) -> Answer:
        """Check the shape, decide in Redis (after settlement: in the ledger), render.

        Raises Problem for every answer other than 201.
        """
        facts = self._directory.cached(sale_id)
        if facts is None:
            _shape(
                headers, raw, principal
            )  # a malformed request is refused before the sale is read
            facts = await facts_or_problem(self._directory, sale_id)
        if self._must_see_room(facts):
            await self._gate.see(facts)
        ask = self.ask(facts, headers, raw, principal)
        try:
            return await self._decide(ask)
        except Problem as problem:
            self._metrics.count_reservation(problem.kind.code)
            raise

    def facts_at_hand(self, sale_id: str) -> SaleFacts | None:
        """The sale's facts, when Redis answers for it and nothing must be read first; else None."""
        facts = self._directory.cached(sale_id)
        if facts is None or facts.state is SaleState.SETTLED or self._must_see_room(facts):
            return None
        return facts

    def _must_see_room(self, facts: SaleFacts) -> bool:
        if facts.spec.waiting_room is None or not facts.opened:
            return False
        return facts.state is not SaleState.SETTLED and not self._gate.is_seen(facts.sale_id)

    def ask(
        self, facts: SaleFacts, headers: Mapping[str, str], raw: bytes, principal: Principal
    ) -> Ask:
        """The request in the partition's terms. Raises Problem for a wrong shape."""
        body, fingerprint, key, buyer_id = _shape(headers, raw, principal)
        token = keyed_token(facts.hash_key, buyer_id, key)
        admission, admission_expires_at = _admission(self._gate, facts, headers, buyer_id)
        request = ReserveRequest(
            self._batcher.next_number(),
            token,
            buyer_id,
            fingerprint,
            numbered_lines(facts, body.lines),
            admission,
            admission_expires_at,
            # A shop acts for many buyers and has a rate limit of its own.
            principal.scope is Scope.BUYER,
        )
        return Ask(facts, facts.home_of(buyer_id), request)

    def send(self, ask: Ask) -> asyncio.Future[ReserveReply]:
        """Enqueue the request in the batcher; the future raises its errors. Raises Overloaded."""
        return self._batcher.enqueue(ask.partition, ask.request)

    def answer(self, ask: Ask, reply: ReserveReply) -> Answer | Problem:
        """The answer or the Problem for a reply of the script; counts it."""
        detail, quota = reply.detail, self._buyer_quota
        told = () if quota is None or reply.remaining < 0 else rate_headers(quota, reply.remaining)
        if not isinstance(detail, Reservation):
            problem = self._refusal(ask, reply)
            if reply.outcome != Outcome.RATE_LIMITED:
                problem.headers += told
            if problem.kind.code == "rate_limited":
                self._metrics.count_limited(str(problem.members["limit"]))
            self._metrics.count_reservation(problem.kind.code)
            return problem
        self._metrics.count_reservation(reply.outcome)
        body = reservation_answer(ask.facts, ask.partition, detail)
        location = ("Location", f"/v1/reservations/{body.reservation_id}")
        if reply.outcome == Outcome.REPLAYED:
            return json_answer(201, body, location, REPLAYED)
        return json_answer(201, body, location, *told)

    def _refusal(self, ask: Ask, reply: ReserveReply) -> Problem:
        if reply.outcome == Outcome.RATE_LIMITED and isinstance(reply.detail, int):
            if self._buyer_quota is None:
                raise RuntimeError("a script refused by a rate limit that is not configured")
            return rate_limited(
                self._buyer_quota,
                reply.detail / 1000,
                "This buyer reserves too often in this sale.",
            )
        return refusal(ask.facts, ask.partition, reply)

    async def insist(self, ask: Ask, doubt: Exception) -> Answer | Problem:
        """The answer after a first try ended in `doubt`. After an unknown outcome the script is
        called again, with the reservation's id, until the deadline.
        """
        try:
            return self.answer(ask, await self._ask_again(ask, doubt))
        except Overloaded:
            problem = Problem("overloaded", "Too many reservations are under way.")
        except (Recovering, UnknownOutcome):
            facts = ask.facts
            if await is_settled(self._directory, facts.sale_id):
                return await self._replay_settled(ask)
            problem = recovering()
        self._metrics.count_reservation(problem.kind.code)
        return problem

    async def _decide(self, ask: Ask) -> Answer:
        facts = ask.facts
        if not facts.opened:
            raise not_open(facts.state)
        if facts.state is SaleState.SETTLED:
            return await self._replay_settled(ask)
        try:
            answer = self.answer(ask, await self.send(ask))
        except (Overloaded, Recovering, UnknownOutcome) as error:
            answer = await self.insist(ask, error)
        if isinstance(answer, Problem):
            raise answer
        return answer

    async def _ask_again(self, ask: Ask, doubt: Exception) -> ReserveReply:
        """The script's reply. Raises the doubt when nothing was sent or the time is up."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._deadline_seconds
        pauses = Backoff(ASK_AGAIN_FIRST_SECONDS, self._deadline_seconds, jitter=False)
        pause_seconds = pauses.next_seconds()
        while isinstance(doubt, UnknownOutcome) and loop.time() + pause_seconds < deadline:
            await asyncio.sleep(pause_seconds)
            pause_seconds = pauses.next_seconds()
            try:
                return await self.send(ask)
            except UnknownOutcome as error:
                doubt = error
            except Recovering:
                continue  # nothing was sent, so the earlier outcome is still unknown
        raise doubt

    async def _replay_settled(self, ask: Ask) -> Answer:
        identifier, request = ask.identifier, ask.request
        try:
            found = await self._settled.find(identifier)
        except LedgerUnavailable as error:
            raise recovering() from error
        if found is None:
            raise not_open(SaleState.SETTLED)
        if found.answer.buyer_id != request.buyer_id or found.fingerprint != request.fingerprint:
            raise key_reused()
        self._metrics.count_reservation(Outcome.REPLAYED)
        location = ("Location", f"/v1/reservations/{identifier}")
        return json_answer(201, found.answer, location, REPLAYED)
