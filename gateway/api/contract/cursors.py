"""Cursors: the end of a list's page as a text, with which a caller asks for the next page."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime

import msgspec

from gateway.api.contract.problems import Problem


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """The last entry of a page: the instant of its creation, and its id, which breaks ties."""

    created_at: datetime
    identifier: str


def encode_cursor(cursor: Cursor) -> str:
    """The cursor as callers see it: base64 without padding."""
    return urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")


def decode_cursor(text: str) -> Cursor:
    """The cursor that `encode_cursor` made. Raises Problem invalid for any other text."""
    try:
        raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        cursor = msgspec.json.decode(raw, type=Cursor)
    except (ValueError, msgspec.DecodeError) as error:
        raise Problem("invalid", "cursor: not a cursor that this call gave out.") from error
    known = cursor.created_at.tzinfo is not None and 1970 <= cursor.created_at.year < 5000
    if not known or not cursor.identifier.isprintable():
        raise Problem("invalid", "cursor: not a cursor that this call gave out.")
    return cursor
