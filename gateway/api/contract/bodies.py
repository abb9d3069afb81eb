"""Reads request bodies: bounded in bytes and time, checked for their type, decoded strictly."""

import asyncio
import re
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Final, Generic, TypeVar

import msgspec
from aiohttp import web
from multidict import MultiMapping

from gateway.admission.shedding import Load
from gateway.api.contract.problems import Problem

LOAD: Final = web.RequestKey("load", Load)
BODY_TIMEOUT_SECONDS = 2.0
DRAIN_MAX_BYTES = 1024 * 1024
SPEC_MAX_BYTES = 256 * 1024
_JSON = re.compile(r'application/json\s*(;\s*charset\s*=\s*"?utf-8"?\s*)?', re.IGNORECASE)
# The characters of an Idempotency-Key, and the escapes of a quoted key (an RFC 8941 string).
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_QUOTED = re.compile(r'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_ESCAPE = re.compile(r'\\(["\\])')

Body = TypeVar("Body")


async def read_body(request: web.Request, limit_bytes: int) -> bytes:
    """The whole body.

    Raises Problem too_large after reading, up to a bound, what the caller still sends, so that the
    caller can read the answer; request_timeout when the body does not arrive within two seconds.
    """
    if not request.can_read_body:
        return b""
    content = request.content
    if content.is_eof() and content.total_bytes <= limit_bytes:
        return content.read_nowait()  # the whole body came with the headers
    parts: list[bytes] = []
    size = 0
    load = request.get(LOAD)
    try:
        with load.waiting() if load else nullcontext():
            async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
                while not content.at_eof():
                    part = await content.readany()
                    size += len(part)
                    if size <= limit_bytes:
                        parts.append(part)
                    elif size > limit_bytes + DRAIN_MAX_BYTES:
                        break
    except TimeoutError as error:
        raise Problem(
            "request_timeout" if size <= limit_bytes else "too_large",
            f"The body did not arrive within {BODY_TIMEOUT_SECONDS:g} s.",
            headers=(("Connection", "close"),),
        ) from error
    if size > limit_bytes:
        closing = () if content.at_eof() else (("Connection", "close"),)
        raise Problem("too_large", f"The body has more than {limit_bytes} bytes.", headers=closing)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def check_json(headers: Mapping[str, str]) -> None:
    """Raise Problem unless the headers announce plain JSON."""
    content_type = headers.get("Content-Type", "")
    if content_type != "application/json" and not _JSON.fullmatch(content_type):
        raise Problem("unsupported_media_type", "Send Content-Type: application/json.")
    if headers.get("Content-Encoding", "identity") != "identity":
        raise Problem("unsupported_media_type", "Send the body without Content-Encoding.")


class Decoder(Generic[Body]):
    """Decodes one type of body; made once, used for every request of the call."""

    def __init__(self, body_type: type[Body]) -> None:
        """`body_type`: a msgspec Struct."""
        self._decoder = msgspec.json.Decoder(body_type)

    def decode(self, headers: Mapping[str, str], raw: bytes) -> Body:
        """The body. Raises Problem: malformed, invalid, unsupported_media_type."""
        check_json(headers)
        return self.decode_json(raw)

    def decode_json(self, raw: bytes) -> Body:
        """The body of bytes whose Content-Type was checked. Raises Problem: malformed, invalid."""
        try:
            return self._decoder.decode(raw)
        except msgspec.ValidationError as error:
            raise Problem("invalid", f"{error}.") from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Problem("malformed", "The body is not JSON.") from error

    def decode_optional(self, headers: Mapping[str, str], raw: bytes) -> Body:
        """The body as `decode` returns it; a missing body counts as an empty object."""
        return self.decode(headers, raw) if raw else self._decoder.decode(b"{}")


def idempotency_key(headers: Mapping[str, str]) -> str:
    """The Idempotency-Key; a quoted (RFC 8941) key equals the bare key. Raises Problem."""
    key = optional_idempotency_key(headers)
    if key is None:
        raise Problem(
            "idempotency_key_required", "Send an Idempotency-Key; repeat it to repeat the request."
        )
    return key


def optional_idempotency_key(headers: Mapping[str, str]) -> str | None:
    """The Idempotency-Key, None without one. Raises Problem malformed."""
    given = headers.get("Idempotency-Key", "").strip()
    if not given:
        return None
    quoted = _QUOTED.fullmatch(given)
    key = _ESCAPE.sub(r"\1", quoted.group(1)) if quoted else given
    if not _KEY.fullmatch(key) or (given[0] == '"' and not quoted):
        raise Problem("malformed", "Idempotency-Key: 1 to 255 visible ASCII characters.")
    return key


def query_of(given: MultiMapping[str], *names: str) -> dict[str, str | None]:
    """The query's parameters by name, None for a missing parameter.

    Raises Problem invalid for an unknown parameter, and for a parameter given twice.
    """
    unknown = set(given) - set(names)
    if unknown:
        raise Problem("invalid", f"There is no parameter {min(unknown)}.")
    if len(given) > len(set(given)):
        raise Problem("invalid", "A parameter may be given once.")
    return {name: given.get(name) for name in names}


def check_text(name: str, text: str, most_bytes: int) -> str:
    """The text, when it fits into `most_bytes` and is printable. Raises Problem invalid."""
    if len(text.encode()) > most_bytes or not text.isprintable():
        raise Problem("invalid", f"{name}: at most {most_bytes} bytes of printable text.")
    return text
