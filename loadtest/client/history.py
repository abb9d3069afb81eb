"""What clients sent and what was answered: the evidence of the verdict.

There is one `Attempt` for each HTTP request, also for a request without an answer.
`History.complete` says that no other client took part in the sale; only then is a reservation
wrong that no client of the history asked for.
"""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import msgspec

NO_ANSWER = 0  # status of an attempt whose connection ended before its answer

# Codes that promise that nothing was changed. `recovering` makes no such promise: the gateway may
# not know the outcome, which a retry finds.
CERTAIN_REFUSALS = frozenset(
    {
        "malformed",
        "idempotency_key_required",
        "unauthenticated",
        "forbidden",
        "not_admitted",
        "sold_out",
        "limit_exceeded",
        "sale_not_open",
        "too_large",
        "unsupported_media_type",
        "invalid",
        "rate_limited",
        "ledger_behind",
        "overloaded",
    }
)


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """One HTTP request as its client saw it.

    `call` is reserve, confirm, cancel, extend, read, list, browse, join, poll or leave; `caller`
    the scope of its token, or `forger` where the token is not valid. `key` is the Idempotency-Key
    of a reserve, `wanted` its (SKU, quantity) pairs (empty: not recorded), `reservation_id` the
    reservation in a reserve's answer, or the reservation a call is about. A list of orders is one
    attempt that has the ids of all its orders in `shown`, and one attempt for each order.
    `owner` is the buyer the answer names, `shown` are other reservations in the answer. `state`,
    `units` and `expires_at` are those of the reservation in the answer, `sku` is the item that a
    refusal names. `admission` is the Admission-Token that was sent. `started_at` is Unix time, as
    is `scheduled_at`: when a timetable wanted the request sent (0: no timetable), so that waiting
    for a slow server counts.
    """

    call: str
    caller: str
    buyer_id: str
    status: int
    started_at: float
    seconds: float
    key: str = ""
    code: str = ""
    reservation_id: str = ""
    owner: str = ""
    replayed: bool = False
    retry_after: bool = False
    shown: tuple[str, ...] = ()
    state: str = ""
    units: int = 0
    expires_at: str = ""
    admission: str = ""
    scheduled_at: float = 0.0
    wanted: tuple[tuple[str, int], ...] = ()
    sku: str = ""

    @property
    def ended_at(self) -> float:
        """When the answer was there, or the connection had ended (Unix time)."""
        return self.started_at + self.seconds

    @property
    def accepted(self) -> bool:
        """The answer was a 2xx."""
        return 200 <= self.status < 300

    @property
    def refused_for_certain(self) -> bool:
        """The answer promised that nothing was changed."""
        return self.code in CERTAIN_REFUSALS


class _Header(msgspec.Struct, frozen=True):
    complete: bool
    unmet_buyers: int | None


class History:
    """The attempts of a run, in the order in which they ended."""

    def __init__(self, *, complete: bool, unmet_buyers: int | None = None) -> None:
        """Start empty; `unmet_buyers` had no unit at the end but wanted one (None: not known)."""
        self.attempts: list[Attempt] = []
        self.complete = complete
        self.unmet_buyers = unmet_buyers
        self._epoch = time.time() - time.perf_counter()

    def now(self) -> float:
        """The Unix time for the attempts of this history, from a clock that is never set.

        Answers are judged by the order of requests and answers, so both are read from one clock.
        """
        return self._epoch + time.perf_counter()

    def add(self, attempt: Attempt) -> None:
        """Remember one request."""
        self.attempts.append(attempt)

    def of(self, call: str) -> Iterator[Attempt]:
        """The attempts of one call."""
        return (attempt for attempt in self.attempts if attempt.call == call)

    def reservations(self) -> dict[str, Attempt]:
        """Reservation id → a reserve that was answered with it."""
        return {a.reservation_id: a for a in self.of("reserve") if a.accepted}

    def refusals(self) -> Counter[str]:
        """How many reserves were refused or had no answer, by code."""
        return Counter(
            a.code or ("no answer" if a.status == NO_ANSWER else str(a.status))
            for a in self.of("reserve")
            if not a.accepted
        )

    def write(self, path: Path) -> None:
        """Store as JSON lines: a header, then the attempts."""
        encoder = msgspec.json.Encoder()
        header = _Header(self.complete, self.unmet_buyers)
        with path.open("wb") as file:
            file.writelines(encoder.encode(line) + b"\n" for line in (header, *self.attempts))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Load what `write` stored; raises msgspec.DecodeError for anything else."""
        with path.open("rb") as file:
            header = msgspec.json.decode(file.readline(), type=_Header)
            history = cls(complete=header.complete, unmet_buyers=header.unmet_buyers)
            decoder = msgspec.json.Decoder(Attempt)
            history.attempts.extend(decoder.decode(line) for line in file)
        return history
