"""Where a page of a list ended, as a text that callers give back to get the next one."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime

import msgspec

from gateway.api.contract.problems import Problem


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """The last thing of a page: when it was made, and its id where several were at once."""

    created_at: datetime
    identifier: str


def encode_cursor(cursor: Cursor) -> str:
    """As callers see it."""
    return urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")


def decode_cursor(text: str) -> Cursor:
    """What `encode_cursor` made. Raises Problem invalid for anything else."""
    try:
        raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        cursor = msgspec.json.decode(raw, type=Cursor)
    except (ValueError, msgspec.DecodeError) as error:
        raise Problem("invalid", "cursor: not one this call gave out.") from error
    known = cursor.created_at.tzinfo is not None and 1970 <= cursor.created_at.year < 5000
    if not known or not cursor.identifier.isprintable():
        raise Problem("invalid", "cursor: not one this call gave out.")
    return cursor
