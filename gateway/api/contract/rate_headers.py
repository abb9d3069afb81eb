"""The headers of a rate limit: the fields of the RateLimit draft, and 429 above the limit.

`RateLimit-Policy` and `RateLimit` are lists (draft-ietf-httpapi-ratelimit-headers): a quota's name,
its `q` requests in a window of `w` seconds, and the `r` requests that remain, with the `t` seconds
after which the number grows again.
"""

import random
from functools import lru_cache
from math import ceil

import msgspec

from gateway.api.contract.problems import Header, Problem


class Quota(msgspec.Struct, frozen=True):
    """A rate limit: `requests` at once, and as many again, evenly, over each window."""

    name: str
    requests: int
    window_seconds: float


@lru_cache(maxsize=1024)
def rate_headers(quota: Quota, remaining: int) -> tuple[Header, Header]:
    """Both fields of an answer within the limit; `t`: the seconds after which the quota is full."""
    used = quota.requests - remaining
    return _headers(quota, remaining, used * quota.window_seconds / quota.requests)


def rate_limited(
    quota: Quota, wait_seconds: float, detail: str, *, spread_seconds: int = 0
) -> Problem:
    """429: `wait_seconds` until the limit allows one more request. Retry-After adds a random delay
    of up to `spread_seconds`.
    """
    again = max(1, ceil(wait_seconds)) + random.randint(0, spread_seconds)  # noqa: S311 - no secret
    headers = (*_headers(quota, 0, wait_seconds), ("Retry-After", str(again)))
    return Problem("rate_limited", detail, headers=headers, limit=quota.name)


def _headers(quota: Quota, remaining: int, seconds: float) -> tuple[Header, Header]:
    name, window = quota.name, max(1, ceil(quota.window_seconds))
    return (
        ("RateLimit-Policy", f'"{name}";q={quota.requests};w={window}'),
        ("RateLimit", f'"{name}";r={remaining};t={max(1, ceil(seconds))}'),
    )
