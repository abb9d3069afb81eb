"""Keeps buyers' ids out of logs (`log.buyer_ids = hashed`).

A keyed hash replaces an id: an id has one hash in all processes and logs, and nobody can try ids
out without the key. A text that may contain an id is removed: messages of exceptions in tracebacks
(types and frames stay), and texts that errors quote.
"""

import re
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

from structlog.typing import EventDict, WrappedLogger

# Names of fields that hold one id.
ID_FIELDS = frozenset({"buyer_id", "buyer", "sub"})
HASH_BYTES = 8
# The lines that PostgreSQL adds to an error: they hold rows and their values.
_ROWS = re.compile(r"\n\s*(DETAIL|HINT|CONTEXT|QUERY|STATEMENT|WHERE):.*", re.DOTALL)
_QUOTED = re.compile(r"""'[^'\n]*'|"[^"\n]*"|=\([^)\n]*\)|<[^<>\n]*>""")


class HideBuyers:
    """A structlog processor: after the renderer of tracebacks, before the last processor."""

    def __init__(self, key: str) -> None:
        """`key`: the value of `log.hash_key`."""
        self._key = key.encode()[: blake2b.MAX_KEY_SIZE]

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """The event without any id."""
        return {name: self._without(name, value) for name, value in event.items()}

    def hash_of(self, text: str) -> str:
        """The hash that replaces an id."""
        digest = blake2b(text.encode(errors="replace"), key=self._key, digest_size=HASH_BYTES)
        return f"#{digest.hexdigest()}"

    def _without(self, name: str, value: object) -> object:
        if name in ID_FIELDS or name == "exc_value":
            return self.hash_of(str(value))
        if name in {"exc_notes", "locals"}:
            return []
        if isinstance(value, str):
            return self._without_quoted(value)
        if isinstance(value, dict):
            return {key: self._without(str(key), inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self._without("", inner) for inner in value]
        return value

    def _without_quoted(self, text: str) -> str:
        shorter = _ROWS.sub("", text)
        return _QUOTED.sub(lambda found: self.hash_of(found[0].strip("'\"=()<>")), shorter)


def in_lines(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The event with its tracebacks, reduced to types and places, as text for a terminal."""
    chain = event.get("exception")
    if isinstance(chain, list):
        event["exception"] = "\n".join(line for each in chain for line in _lines_of(each))
    return event


def _lines_of(error: dict[str, Any]) -> Iterator[str]:
    yield f"{error['exc_type']} {error['exc_value']}"
    for frame in error["frames"]:
        yield f"  {frame['filename']}:{frame['lineno']} in {frame['name']}"
