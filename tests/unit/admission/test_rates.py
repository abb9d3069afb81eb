"""Rate limits: nobody gets more than the limit, whatever others do to the table."""

import random

import pytest

from config.settings import RateLimitSettings
from gateway.admission import rates
from gateway.admission.rate_limits import RateLimits
from gateway.admission.rates import Rate, Refusal, Shares
from gateway.admission.tokens import Principal, Scope
from gateway.api.door.edge import too_often

BUYER = Principal(subject="b", scope=Scope.BUYER)
SHOP = Principal(subject="shop", scope=Scope.STOREFRONT)
OPERATOR = Principal(subject="o", scope=Scope.OPS)


class Exact:
    """GCRA with a number for each caller, and a memory without end."""

    def __init__(self, rate: Rate) -> None:
        self._interval = 1 / rate.per_second
        self._window = rate.burst * self._interval + 1e-9
        self._paid: dict[str, float] = {}

    def take(self, caller: str, now: float) -> bool:
        """Whether the call is allowed; only an allowed call is counted."""
        paid = max(self._paid.get(caller, 0.0), now) + self._interval
        if paid - now > self._window:
            return False
        self._paid[caller] = paid
        return True


def take(shares: Shares, caller: str, now: float) -> bool:
    if shares.wait(caller, now):
        return False
    shares.take(caller, now)
    return True


def test_a_burst_then_the_rate() -> None:
    shares = Shares(Rate("network", 10, 5))
    assert [take(shares, "a", 100.0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert shares.wait("a", 100.0) == pytest.approx(0.1)
    assert [take(shares, "a", 100.1) for _ in range(2)] == [True, False]
    assert [take(shares, "a", 200.0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert take(shares, "b", 200.0)


@pytest.mark.parametrize("slots", [4, 64, 65_536])
def test_never_more_than_each_caller_alone_would_get(slots: int) -> None:
    """However small the table, what it allows an endless table with that past allows, too."""
    seed = random.randrange(2**32)
    chooser = random.Random(seed)
    rate = Rate("network", 5, 3)
    shares, exact = Shares(rate, slots), Exact(rate)
    now, let_in = 1000.0, 0
    for _ in range(20_000):
        now += chooser.expovariate(200)
        caller = f"c-{chooser.randrange(300)}"
        if not shares.wait(caller, now):
            assert exact.take(caller, now), f"seed {seed}"
            shares.take(caller, now)
            let_in += 1
    assert let_in > 100, f"seed {seed}"


def test_a_flood_of_callers_resets_nobody() -> None:
    shares = Shares(Rate("network", 1, 3), slots=1024)
    assert [take(shares, "a", 50.0) for _ in range(4)] == [True, True, True, False]
    for number in range(50_000):
        take(shares, f"flood-{number}", 50.0)
    assert not take(shares, "a", 50.0)


def test_a_slot_shared_with_a_busy_caller_is_not_felt(monkeypatch: pytest.MonkeyPatch) -> None:
    places = {"busy": 1 | 1 << 32, "one row": 1 | 2 << 32, "both rows": 1 | 1 << 32}
    monkeypatch.setattr(rates, "hash", places.__getitem__, raising=False)
    shares = Shares(Rate("network", 1, 1), slots=8)
    assert take(shares, "busy", 10.0)
    assert take(shares, "one row", 10.0)
    assert not take(shares, "both rows", 10.0)  # the price of a fixed size: never too much


def test_a_share_is_the_limit_divided_by_the_workers() -> None:
    assert Rate("sale", 100, 50).share(4) == Rate("sale", 25, 13)
    assert Rate("sale", 1, 1).share(4) == Rate("sale", 0.25, 1)


def settings(**values: float) -> RateLimitSettings:
    return RateLimitSettings.model_validate(values)


def test_off_by_default() -> None:
    assert not RateLimits(settings(), 1).enabled
    assert RateLimits(settings(ops_per_second=1), 1).enabled


def test_each_limit_has_its_callers() -> None:
    of = settings(
        network_per_second=1, network_burst=2, sale_per_second=1, sale_burst=3,
        gateway_per_second=1, gateway_burst=4, storefront_per_second=1, storefront_burst=1,
        ops_per_second=1, ops_burst=1,
    )  # fmt: skip
    limits = RateLimits(of, 1)

    def asks(who: Principal | None, network: str, sale: str | None) -> str:
        refusal = limits.refusal(who, network, sale, 10.0)
        return "" if refusal is None else refusal.rate.name

    assert [asks(BUYER, "n1", "s") for _ in range(3)] == ["", "", "network"]
    assert asks(None, "n1", None) == "network"  # the network counts calls without a token, too
    assert asks(BUYER, "n2", "s") == ""
    assert asks(BUYER, "n2", "s") == "sale"
    assert asks(None, "n2", None) == ""  # a refused call is counted against no limit
    assert asks(None, "n3", None) == "gateway"
    assert [asks(SHOP, "n1", "s") for _ in range(2)] == ["", "storefront"]
    assert [asks(OPERATOR, "n1", "s") for _ in range(2)] == ["", "ops"]


def test_the_answer_says_by_which_limit_and_when_again() -> None:
    problem = too_often(Refusal(Rate("network", 4.0, 10), 0.2))
    answer = problem.answer("id")
    headers = dict(answer.headers)
    assert answer.status == 429
    assert headers["RateLimit-Policy"] == '"network";q=10;w=3'
    assert headers["RateLimit"] == '"network";r=0;t=1'
    assert 1 <= int(headers["Retry-After"]) <= 3
    assert [name for name, _ in answer.headers].count("Retry-After") == 1
    assert b'"limit":"network"' in answer.body
