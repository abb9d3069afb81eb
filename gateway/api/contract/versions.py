"""Versions of a sale as entity tags: `"3"`, or `"3-..."` for a view that changes within a version.

If-Match compares the version alone, so a tag from any call of the sale can be sent.
"""

import re
from collections.abc import Mapping

from gateway.api.contract.problems import Header, Problem

_TAG = re.compile(r'"(\d{1,9})(?:-[A-Za-z0-9_-]*)?"')


def version_tag(version: int, digest: str = "") -> Header:
    """The ETag header of a version; `digest` distinguishes views within the version."""
    return ("ETag", f'"{version}-{digest}"' if digest else f'"{version}"')


def wanted_version(headers: Mapping[str, str]) -> int | None:
    """The version in If-Match; None for any version. Raises Problem when the header has no tag."""
    given = headers.get("If-Match")
    if given is None or given.strip() == "*":
        return None
    match = _TAG.fullmatch(given.strip())
    if match is None:
        raise Problem("version_mismatch", "If-Match: send one ETag of this sale.")
    return int(match.group(1))


def is_known(headers: Mapping[str, str], tag: Header) -> bool:
    """Whether If-None-Match names the tag, so that the caller already has this view."""
    given = headers.get("If-None-Match", "")
    return given == "*" or tag[1] in (part.strip().removeprefix("W/") for part in given.split(","))


def check_version(wanted: int | None, version: int) -> None:
    """Raise Problem version_mismatch when the caller named another version."""
    if wanted is not None and wanted != version:
        raise Problem("version_mismatch", f"The sale has version {version}.", version=version)
