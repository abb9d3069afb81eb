"""JSON answers, and instants as callers read them."""

from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from gateway.api.contract.problems import Answer, Header

REPLAYED: Header = ("Idempotent-Replayed", "true")

_encode = msgspec.json.Encoder().encode


def json_answer(status: int, body: object, *headers: Header) -> Answer:
    """An answer with a JSON body and further headers."""
    return Answer(status, _encode(body), headers)


def instant(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def instant_ms(milliseconds: int) -> str:
    """An instant in milliseconds since 1970 as RFC 3339 in UTC with milliseconds."""
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
