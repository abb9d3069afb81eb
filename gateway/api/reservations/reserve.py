"""The hot path: `POST /v1/sales/{sale}/reservations`, from header and body bytes to answer bytes.

Nothing here knows a web framework, so that every way in shares it. What is the same for all
requests is made once; a request that gets as far as Redis takes one script call, with others.
"""

import asyncio
from collections.abc import Mapping
from functools import lru_cache

import msgspec

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
# The number of a buyer's admission, and when it ends in ms on the server's clock.
Admission = tuple[int, int]
NO_ADMISSION: Admission = (0, 0)

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
    """What the buyer's token says, where the sale has a waiting room; whether it still lets anybody
    in only the partition knows, and a replay passes without one.
    """
    if facts.spec.waiting_room is None or not gate.lets(facts.sale_id, buyer_id):
        return NO_ADMISSION
    try:
        passes = passes_of(facts.hash_key, facts.sale_id)
        return passes.admitted(headers.get("Admission-Token", ""), buyer_id, now_ms=0)
    except InvalidPass:
        return NO_ADMISSION


class Ask(msgspec.Struct, frozen=True, gc=False):
    """A request that has the right shape: what to ask the partition for, and for whom."""

    facts: SaleFacts
    partition: PartitionId
    request: ReserveRequest

    @property
    def identifier(self) -> ReservationId:
        """The reservation's id, whether or not the partition accepts the request."""
        return ReservationId(self.partition, self.request.token)


@lru_cache(maxsize=1024)
def _known_body(raw: bytes) -> tuple[ReserveBody, str]:
    """A body and its fingerprint; in a drop nearly everybody sends the same bytes."""
    body = _body.decode_json(raw)
    return body, fingerprint_of(body.lines)


class Reserve:
    """The call. What needs no waiting is in `ask`, `send` and `answer`, for the hot path to use."""

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
        """`buyer_quota` is the limit the store was given; `deadline_seconds`: how long to ask again
        when an outcome is unknown.
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

        Raises Problem for every answer that is no 201.
        """
        facts = self._directory.cached(sale_id)
        if facts is None:
            _shape(headers, raw, principal)  # a bad request is told so, whatever the sale
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
        """Facts of a sale that Redis answers for, where they are known without waiting."""
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
            # Shops have a limit of their own: theirs are the buyers of a whole storefront.
            principal.scope is Scope.BUYER,
        )
        return Ask(facts, facts.home_of(buyer_id), request)

    def send(self, ask: Ask) -> asyncio.Future[ReserveReply]:
        """Hand over to the batcher; its errors are in the future, Overloaded is raised at once."""
        return self._batcher.enqueue(ask.partition, ask.request)

    def answer(self, ask: Ask, reply: ReserveReply) -> Answer | Problem:
        """What the caller is told."""
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
                raise RuntimeError("a limit was reached where there is none")
            detail = "This buyer reserves too often in this sale."
            return rate_limited(self._buyer_quota, reply.detail / 1000, detail)
        return refusal(ask.facts, ask.partition, reply)

    async def insist(self, ask: Ask, doubt: Exception) -> Answer | Problem:
        """The answer although a first try ended in `doubt`: asks again with the same id within the
        deadline where the outcome is unknown.
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
        """The script's reply at last. Raises `doubt` where nothing was sent, or time is up."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._deadline_seconds
        pause_seconds = ASK_AGAIN_FIRST_SECONDS
        while isinstance(doubt, UnknownOutcome) and loop.time() + pause_seconds < deadline:
            await asyncio.sleep(pause_seconds)
            pause_seconds *= 2
            try:
                return await self.send(ask)
            except UnknownOutcome as error:
                doubt = error
            except Recovering:
                continue  # nothing was sent this time: the doubt is still the first one's
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
