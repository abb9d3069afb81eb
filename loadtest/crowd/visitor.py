"""One visitor's calls over Locust's client, each counted by Locust and kept in the history."""

import random
import socket
import time
from collections.abc import Callable, Mapping
from functools import partial
from urllib.parse import urlsplit

import gevent
import msgspec
from locust.contrib.fasthttp import FastHttpSession

from config.waiting import Backoff
from loadtest.client.answers import Answer, Asked, Line, remembered, understood
from loadtest.client.history import NO_ANSWER, Attempt
from loadtest.client.target import mint_token
from loadtest.crowd.arrivals import Arrival
from loadtest.crowd.run import Run

SAME_KEY_TRIES_MAX = 5
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.4, 3.2
LATE = "from its due time"  # the request type under which Locust shows the open loop's latency


class Visitor:
    """Somebody who comes once, with an account and a mind of their own."""

    def __init__(self, run: Run, session: FastHttpSession, arrival: Arrival) -> None:
        """The decisions of visitor n depend on the seed alone, whatever other visitors do."""
        self.run, self.plan = run, run.plan.buyer
        self._session = session
        self._due = arrival.due
        self.dice = random.Random(f"{run.options.seed}-{arrival.number}")
        self.buyer_id = f"{run.plan.name}-{arrival.number:07d}"
        self._keys = 0
        self.admission = ""  # the Admission-Token, where there is a waiting room
        skus = list(run.demand)
        (self.sku,) = self.dice.choices(skus, weights=[run.demand[sku] for sku in skus])

    def happens(self, share: float) -> bool:
        """Whether this visitor now does what this share of visitors do."""
        return self.dice.random() < share

    def think(self) -> None:
        """Pause for as long as people take to decide."""
        gevent.sleep(self.dice.uniform(*self.plan.think_seconds))

    def new_key(self) -> str:
        """An Idempotency-Key never used before."""
        self._keys += 1
        return f"{self.buyer_id}-{self._keys}"

    def token(self, buyer_id: str = "") -> str:
        """A token of this visitor, or of the named buyer."""
        return mint_token(self.run.target.auth_secret, "buyer", buyer_id or self.buyer_id)

    def _asked(
        self,
        call: str,
        caller: str = "buyer",
        key: str = "",
        of: str = "",
        wanted: tuple[tuple[str, int], ...] = (),
    ) -> Asked:
        """The first request of a visit with a timetable has waited since it was due."""
        asked = Asked(
            *(call, caller, self.buyer_id, self.run.history.now(), key, of, self._due),
            admission=self.admission if call == "reserve" else "",
            wanted=wanted,
        )
        self._due = 0.0
        return asked

    def send(
        self,
        asked: Asked,
        method: str,
        path: str,
        token: str,
        body: object = None,
        ticket: str = "",
    ) -> tuple[Attempt, Answer]:
        """One request, remembered however it ends. A 4xx is an answer, not a failure."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if asked.key:
            headers["Idempotency-Key"] = asked.key
        if asked.admission:
            headers["Admission-Token"] = asked.admission
        if ticket:
            headers["Queue-Ticket"] = ticket
        status, answer = NO_ANSWER, Answer()
        seen: Mapping[str, str] = {}
        try:
            with self._session.request(
                method, path, name=asked.call, headers=headers, json=body, catch_response=True
            ) as response:
                status = response.status_code or NO_ANSWER
                seen = response.headers or {}
                if 200 <= status < 500:
                    response.success()
                answer = understood(status, response.content or b"")
        finally:
            attempt = remembered(
                asked,
                answer,
                status=status,
                seconds=self.run.history.now() - asked.started_at,
                replayed="Idempotent-Replayed" in seen,
                retry_after="Retry-After" in seen,
            )
            self.run.history.add(attempt)
        if asked.scheduled_at and status != NO_ANSWER:
            self._session.request_event.fire(
                request_type=LATE,
                name=asked.call,
                response_time=(time.time() - asked.scheduled_at) * 1000,
                response_length=0,
                exception=None,
                context={},
            )
        return attempt, answer

    def queue(self, call: str, ticket: str = "") -> tuple[Attempt, Answer]:
        """Join, poll or leave the waiting room."""
        method = {"join": "POST", "poll": "GET", "leave": "DELETE"}[call]
        path = f"/v1/sales/{self.run.sale_id}/queue"
        return self.send(self._asked(call), method, path, self.token(), ticket=ticket)

    def reserve(self, key: str, quantity: int = 1, token: str = "") -> Attempt:
        """One try for this visitor's SKU; a call with a given `token` is a forger's."""
        wanted = ((self.sku, quantity),)
        asked = self._asked("reserve", "forger" if token else "buyer", key, wanted=wanted)
        path = f"/v1/sales/{self.run.sale_id}/reservations"
        body = {"lines": [{"sku": self.sku, "quantity": quantity}]}
        return self.send(asked, "POST", path, token or self.token(), body)[0]

    def insist(self, key: str, quantity: int = 1) -> Attempt:
        """Reserve with this key until there is an answer."""
        return self._until_answered(partial(self.reserve, key, quantity))

    @staticmethod
    def _until_answered(call: Callable[[], Attempt]) -> Attempt:
        """Make the call again after a 503 and after no answer, at most SAME_KEY_TRIES_MAX times."""
        backoff = Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, jitter=False)
        attempt = call()
        for _ in range(1, SAME_KEY_TRIES_MAX):
            if attempt.status not in {NO_ANSWER, 503}:
                break
            gevent.sleep(backoff.next_seconds())
            attempt = call()
        return attempt

    def lose(self, key: str) -> None:
        """Send a reserve on a connection that is cut before the answer."""
        asked = self._asked("reserve", key=key)
        body = msgspec.json.encode({"lines": [Line(self.sku, 1)]})
        parts = urlsplit(self.run.target.gateway)
        head = (
            f"POST /v1/sales/{self.run.sale_id}/reservations HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            f"Authorization: Bearer {self.token()}\r\nIdempotency-Key: {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        )
        head += f"Admission-Token: {self.admission}\r\n" if self.admission else ""
        try:
            with socket.create_connection((parts.hostname, parts.port), timeout=5) as connection:
                connection.sendall(head.encode() + b"\r\n" + body)
                gevent.sleep(
                    self.dice.uniform(0, 0.005)
                )  # the cut may meet any moment of the handling
        except OSError:
            gevent.sleep(0)  # the answer is lost either way
        self.run.history.add(
            remembered(
                asked, Answer(), status=NO_ANSWER, seconds=0.0, replayed=False, retry_after=False
            )
        )

    def _about(
        self, call: str, reservation_id: str, caller: str, body: object, token: str
    ) -> Attempt:
        asked = self._asked(call, caller, of=reservation_id)
        path = f"/v1/reservations/{reservation_id}"
        if call == "read":
            return self.send(asked, "GET", path, token)[0]
        return self.send(asked, "POST", f"{path}/{call}", token, body)[0]

    def read(self, reservation_id: str) -> Attempt:
        """Look at a reservation of this visitor or of another buyer."""
        return self._about("read", reservation_id, "buyer", None, self.token())

    def cancel(self, reservation_id: str) -> Attempt:
        """Give a hold back."""
        return self._about("cancel", reservation_id, "buyer", {}, self.token())

    def pay(self, reservation_id: str) -> Attempt:
        """The shop confirms until there is an answer."""
        body = {"payment_reference": f"pay-{reservation_id[-12:]}"}
        confirm = partial(
            self._about, "confirm", reservation_id, "storefront", body, self.run.storefront
        )
        return self._until_answered(confirm)

    def browse(self) -> Attempt:
        """Look at the sale without a token."""
        return self.send(
            self._asked("browse", "anybody"), "GET", f"/v1/sales/{self.run.sale_id}", ""
        )[0]
