"""The calls of the HTTP contract that the load makes, each remembered in the history."""

from collections.abc import Sequence
from contextlib import suppress

import msgspec

from loadtest.client.answers import Answer, Asked, Line, listed, remembered, understood
from loadtest.client.history import NO_ANSWER, Attempt, History
from loadtest.client.http_client import HttpClient, NoAnswerError, Response
from loadtest.client.target import Target, mint_token


class SnapshotItem(msgspec.Struct, frozen=True):
    """Counters of one item over partitions and locations."""

    sku: str
    loaded: int
    adjusted: int
    available: int
    held: int
    sold: int


class SnapshotAnswer(msgspec.Struct, frozen=True):
    """Counters of the sale."""

    items: tuple[SnapshotItem, ...]

    @property
    def available(self) -> int:
        """Units that can be reserved now."""
        return sum(item.available for item in self.items)

    @property
    def held(self) -> int:
        """Units on hold now."""
        return sum(item.held for item in self.items)

    @property
    def sold(self) -> int:
        """Units confirmed."""
        return sum(item.sold for item in self.items)


class ReconciliationAnswer(msgspec.Struct, frozen=True):
    """One comparison of Redis with the ledger; `differences` are kept to be shown."""

    balanced: bool | None
    differences: tuple[msgspec.Raw, ...] = ()


class RefusedError(Exception):
    """An operations call that had to succeed was refused."""


class UnavailableError(RefusedError):
    """An operations call was refused for the moment (503)."""


class Calls:
    """One sale's calls. Buyers' tokens are made once per buyer and kept."""

    def __init__(self, target: Target, sale_id: str, client: HttpClient, history: History) -> None:
        """Call through `client`, remember in `history`."""
        self._secret = target.auth_secret
        self._client = client
        self._sale_id = sale_id
        self._history = history
        self._tokens: dict[str, str] = {}
        self._admissions: dict[str, str] = {}  # admission tokens by buyer id
        self._storefront = mint_token(self._secret, "storefront", "loadtest-shop")
        self._ops = mint_token(self._secret, "ops", "loadtest-ops")

    def _token(self, buyer_id: str) -> str:
        token = self._tokens.get(buyer_id)
        if token is None:
            token = self._tokens[buyer_id] = mint_token(self._secret, "buyer", buyer_id)
        return token

    def _request(
        self, method: str, path: str, token: str, body: bytes = b"", headers: str = ""
    ) -> bytes:
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._client.authority}\r\n"
            f"Authorization: Bearer {token}\r\n{headers}"
        )
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return head.encode() + b"\r\n" + body

    def _reserve_request(self, buyer_id: str, key: str, lines: Sequence[Line]) -> bytes:
        return self._request(
            "POST",
            f"/v1/sales/{self._sale_id}/reservations",
            self._token(buyer_id),
            msgspec.json.encode({"lines": lines}),
            f"Idempotency-Key: {key}\r\n" + self._admission_header(buyer_id),
        )

    def _admission_header(self, buyer_id: str) -> str:
        admission = self._admissions.get(buyer_id)
        return f"Admission-Token: {admission}\r\n" if admission else ""

    async def _attempt(
        self, request: bytes, call: str, caller: str, buyer_id: str, *, of: str
    ) -> Attempt:
        asked = Asked(call, caller, buyer_id, self._history.now(), of=of)
        return (await self._ask(request, asked))[0]

    async def _ask(self, request: bytes, asked: Asked) -> tuple[Attempt, Answer]:
        response = Response(NO_ANSWER, b"", b"")
        try:
            with suppress(NoAnswerError):
                response = await self._client.request(request)
        finally:  # a call that was given up is remembered too
            answer = understood(response.status, response.body)
            attempt = remembered(
                asked,
                answer,
                status=response.status,
                seconds=self._history.now() - asked.started_at,
                replayed=response.has(b"idempotent-replayed"),
                retry_after=response.has(b"retry-after"),
            )
            self._history.add(attempt)
        return attempt, answer

    async def queue(self, call: str, buyer_id: str, ticket: str = "") -> tuple[Attempt, Answer]:
        """Join or poll the waiting room; an admission is kept for the buyer's reserve."""
        method = {"join": "POST", "poll": "GET"}[call]
        headers = f"Queue-Ticket: {ticket}\r\n" if ticket else ""
        path = f"/v1/sales/{self._sale_id}/queue"
        request = self._request(method, path, self._token(buyer_id), headers=headers)
        attempt, answer = await self._ask(
            request, Asked(call, "buyer", buyer_id, self._history.now())
        )
        if answer.admission_token:
            self._admissions[buyer_id] = answer.admission_token
        return attempt, answer

    async def reserve(self, buyer_id: str, key: str, lines: Sequence[Line]) -> Attempt:
        """One try of a buyer."""
        request = self._reserve_request(buyer_id, key, lines)
        asked = Asked(
            *("reserve", "buyer", buyer_id, self._history.now(), key),
            admission=self._admissions.get(buyer_id, ""),
            wanted=tuple((line.sku, line.quantity) for line in lines),
        )
        return (await self._ask(request, asked))[0]

    async def reserve_and_hang_up(self, buyer_id: str, key: str, lines: Sequence[Line]) -> None:
        """One try whose connection is cut before the answer."""
        started_at = self._history.now()
        with suppress(NoAnswerError):  # the buyer has no answer either way
            await self._client.send_and_cut(self._reserve_request(buyer_id, key, lines))
        self._history.add(Attempt("reserve", "buyer", buyer_id, NO_ANSWER, started_at, 0.0, key))

    async def confirm(self, buyer_id: str, reservation_id: str, reference: str) -> Attempt:
        """The shop says that the buyer has paid."""
        body = msgspec.json.encode({"payment_reference": reference})
        path = f"/v1/reservations/{reservation_id}/confirm"
        request = self._request("POST", path, self._storefront, body)
        return await self._attempt(request, "confirm", "storefront", buyer_id, of=reservation_id)

    async def cancel(self, buyer_id: str, reservation_id: str) -> Attempt:
        """A buyer gives back a hold; also tried on other buyers' holds."""
        path = f"/v1/reservations/{reservation_id}/cancel"
        request = self._request("POST", path, self._token(buyer_id), b"{}")
        return await self._attempt(request, "cancel", "buyer", buyer_id, of=reservation_id)

    async def extend(self, buyer_id: str, reservation_id: str, seconds: int) -> Attempt:
        """A buyer asks for more time."""
        path = f"/v1/reservations/{reservation_id}/extend"
        body = msgspec.json.encode({"seconds": seconds})
        request = self._request("POST", path, self._token(buyer_id), body)
        return await self._attempt(request, "extend", "buyer", buyer_id, of=reservation_id)

    async def read(self, buyer_id: str, reservation_id: str) -> Attempt:
        """A buyer looks at a reservation; also tried on other buyers' reservations."""
        path = f"/v1/reservations/{reservation_id}"
        request = self._request("GET", path, self._token(buyer_id))
        return await self._attempt(request, "read", "buyer", buyer_id, of=reservation_id)

    async def orders(self, buyer_id: str) -> Attempt:
        """A buyer looks at the first page of the own orders; those of this sale are remembered."""
        request = self._request("GET", "/v1/orders", self._token(buyer_id))
        attempt, answer = await self._ask(
            request, Asked("list", "buyer", buyer_id, self._history.now())
        )
        for order in answer.orders:
            if order.sale_id == self._sale_id:
                self._history.add(listed(attempt, order))
        return attempt

    async def _operate(self, method: str, path: str, body: bytes = b"") -> Response:
        """Returns 503, try again later, for a call without an answer."""
        try:
            return await self._client.request(self._request(method, path, self._ops, body))
        except NoAnswerError as error:
            return Response(503, b"", str(error).encode())

    async def create_and_open(self, spec: bytes) -> None:
        """Make the sale and open it; raises RefusedError."""
        await self.create(spec)
        await self.open_sale()

    async def create(self, spec: bytes) -> None:
        """Make the sale; raises RefusedError."""
        await self._must("PUT", f"/v1/sales/{self._sale_id}", spec)

    async def open_sale(self) -> None:
        """Open the sale; raises RefusedError."""
        await self._must("POST", f"/v1/sales/{self._sale_id}/open", b"{}")

    async def _must(self, method: str, path: str, body: bytes) -> None:
        response = await self._operate(method, path, body)
        if response.status not in {200, 201}:
            refusal = UnavailableError if response.status == 503 else RefusedError
            raise refusal(f"{method} {path}: {response.status} {response.body.decode()}")

    async def close_sale(self) -> None:
        """Close the sale; raises RefusedError."""
        await self._must("POST", f"/v1/sales/{self._sale_id}/close", b"{}")

    async def adjust(self, sku: str, delta: int) -> Response:
        """An operator puts units in, or takes some out."""
        body = msgspec.json.encode({"sku": sku, "delta": delta, "reason": "counted again"})
        path = f"/v1/sales/{self._sale_id}/stock-adjustments"
        return await self._operate("POST", path, body)

    async def snapshot(self) -> SnapshotAnswer | None:
        """The counters, or None where they cannot be had at the moment (503)."""
        response = await self._operate("GET", f"/v1/sales/{self._sale_id}/snapshot")
        if response.status == 503:
            return None
        if response.status != 200:
            raise RefusedError(f"snapshot: {response.status} {response.body.decode()}")
        return msgspec.json.decode(response.body, type=SnapshotAnswer)

    async def reconcile(self) -> ReconciliationAnswer | None:
        """A comparison at one sequence number, or None where there was none in time (503).

        None also for a comparison that goes on (202): the next call joins it.
        """
        path = f"/v1/sales/{self._sale_id}/reconciliations"
        response = await self._operate("POST", path, b'{"apply":false}')
        if response.status in {202, 503}:
            return None
        if response.status not in {200, 201}:
            raise RefusedError(f"reconciliation: {response.status} {response.body.decode()}")
        return msgspec.json.decode(response.body, type=ReconciliationAnswer)
