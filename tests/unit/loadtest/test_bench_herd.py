"""The crowds of the benchmarks: who is asked again, who pays, who is done."""

import json
from pathlib import Path

import pytest

from loadtest.bench.herd.drop import RETRY_SECONDS, TRIES_MOST, Call, DropCrowd, DropHerd
from loadtest.bench.herd.queue import QueueCrowd, QueueHerd
from loadtest.bench.machine.memory import parse_peak_kib
from loadtest.bench.parts.headline import HEADLINE
from loadtest.bench.parts.waiting import WAITING
from loadtest.bench.results.measurements import Results
from loadtest.client.history import NO_ANSWER


def http(status: int, body: object, headers: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\n{headers}\r\n{json.dumps(body, separators=(',', ':'))}".encode()


def drop_crowd(buyers: int) -> DropCrowd:
    herd = DropHerd("http://127.0.0.1:1", "secret", "s", "", buyers, 4, "")
    return DropCrowd(herd, [b"token-%d" % number for number in range(buyers)])


def answer(crowd: DropCrowd, call: Call | None, status: int, raw: bytes = b"") -> None:
    assert call is not None
    crowd.answered(call, status, 0.0, 1.0, raw)


async def test_every_buyer_has_a_token_and_a_key_of_their_own() -> None:
    crowd = drop_crowd(2)
    requests = [crowd.request(Call(number)) for number in range(2)]
    assert b"Bearer token-0\r\nIdempotency-Key: herd-0\r\n" in requests[0]
    assert b"Bearer token-1\r\nIdempotency-Key: herd-1\r\n" in requests[1]


async def test_a_holder_pays_and_one_without_an_answer_asks_again_with_the_same_key() -> None:
    crowd = drop_crowd(3)
    first, second, third = (crowd.next_job(0.0) for _ in range(3))
    answer(crowd, first, 201, http(201, {"reservation_id": "s.0.r", "buyer_id": "buyer-0000000"}))
    answer(crowd, second, NO_ANSWER)
    answer(crowd, third, 409, http(409, {"code": "sold_out"}))
    paying = crowd.next_job(0.5)
    assert paying == Call(0, "s.0.r")
    assert b"POST /v1/reservations/s.0.r/confirm" in crowd.request(paying)
    assert crowd.next_job(0.5) is None, "a retry waits"
    again = crowd.next_job(1.0 + RETRY_SECONDS)
    assert again == Call(1, tries=1)
    assert crowd.request(again) == crowd.request(Call(1))
    answer(crowd, paying, 200, http(200, {"reservation_id": "s.0.r"}))
    shed = http(503, {"code": "overloaded"}, "Retry-After: 1\r\n")
    answer(crowd, again, 503, shed)
    history = crowd.history()
    assert history.complete
    assert history.unmet_buyers == 1
    assert [(a.call, a.status, a.retry_after) for a in history.attempts] == [
        ("reserve", 201, False),
        ("reserve", NO_ANSWER, False),
        ("reserve", 409, False),
        ("confirm", 200, False),
        ("reserve", 503, True),
    ]


async def test_a_buyer_who_never_has_an_answer_is_told() -> None:
    crowd = drop_crowd(1)
    for number in range(TRIES_MOST + 1):
        assert crowd.given_up == 0
        answer(crowd, crowd.next_job(1e9 * number), NO_ANSWER)
    assert crowd.given_up == 1
    assert crowd.next_job(1e12) is None


async def test_tickets_of_joins_are_polled_with() -> None:
    tokens = [b"t0", b"t1"]
    joining = QueueHerd("http://127.0.0.1:1", "s", "", "", 2, 4, 0.0, "")
    crowd = QueueCrowd(joining, tokens, [b"", b""])
    assert [crowd.next_job(0.0) for _ in range(3)] == [0, 1, None]
    crowd.answered(1, 200, 0.0, 1.0, http(200, {"ticket": "AAB", "state": "waiting"}))
    assert crowd.tickets == [b"", b"AAB"]
    polling = QueueHerd("http://127.0.0.1:1", "s", "", "", 2, 4, 1.0, "")
    crowd = QueueCrowd(polling, tokens, crowd.tickets)
    request = crowd.request(1)
    assert request.startswith(b"GET /v1/sales/s/queue HTTP/1.1\r\n")
    assert b"Bearer t1\r\nQueue-Ticket: AAB\r\n\r\n" in request


@pytest.mark.parametrize(("holds", "reached"), [(1.0, 10.0), (0.0, 0.0)])
def test_a_headline_that_does_not_hold_has_reached_nothing(holds: float, reached: float) -> None:
    results = Results()
    run = {"units": 10.0, "buyers": 500.0, "sold": 10.0, "holds": holds, "seconds": 2.0}
    results.add("headline", "dropgate", "undisturbed", 1, **run)
    first, second = HEADLINE.rows(results)
    assert (first.reached, first.met) == (reached, bool(holds))
    assert second.met is None


def test_what_a_waiting_buyer_takes_is_at_most_the_target() -> None:
    results = Results()
    run = {"waiting": 1000.0, "redis_bytes_each": 33.0, "redis_calls_per_poll": 0.0}
    results.add("waiting", "dropgate", "over HTTP", 1, **run)
    assert [row.met for row in WAITING.rows(results)] == [False, True]


def test_the_peak_of_a_process_is_read_as_the_kernel_writes_it() -> None:
    assert parse_peak_kib("VmPeak:\t  9 kB\nVmHWM:\t    1234 kB\n") == 1234
    assert parse_peak_kib(Path("/proc/self/status").read_text()) > 1000
