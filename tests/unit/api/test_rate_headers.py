"""The RateLimit fields, and the problem past a limit."""

import msgspec
import pytest

from gateway.api.contract.rate_headers import Quota, rate_headers, rate_limited

BUYER = Quota("buyer", 10, 2.0)


@pytest.mark.parametrize(("remaining", "told"), [(9, "r=9;t=1"), (3, "r=3;t=2"), (0, "r=0;t=2")])
def test_what_remains_and_when_the_rest_is_back(remaining: int, told: str) -> None:
    assert rate_headers(BUYER, remaining) == (
        ("RateLimit-Policy", '"buyer";q=10;w=2'),
        ("RateLimit", f'"buyer";{told}'),
    )


def test_a_window_is_told_in_whole_seconds_and_is_never_none() -> None:
    assert rate_headers(Quota("network", 5, 0.4), 4)[0] == ("RateLimit-Policy", '"network";q=5;w=1')


@pytest.mark.parametrize(("wait", "told"), [(0.01, "1"), (1.0, "1"), (1.2, "2")])
def test_past_the_limit_the_wait_is_told_and_not_drawn(wait: float, told: str) -> None:
    answer = rate_limited(BUYER, wait, "Too often.").answer("id")
    assert answer.status == 429
    assert dict(answer.headers) == {
        "RateLimit-Policy": '"buyer";q=10;w=2',
        "RateLimit": f'"buyer";r=0;t={told}',
        "Retry-After": told,
    }
    assert [name for name, _ in answer.headers].count("Retry-After") == 1
    assert msgspec.json.decode(answer.body)["limit"] == "buyer"
