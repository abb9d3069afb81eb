"""The page at /docs: every call in one table."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.api.problems import CATALOGUE
from gateway.api.routes import Endpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.api.routes import OpenEndpoint

_PAGE = Path(__file__).with_name("docs.html")


def docs_page(endpoints: Sequence[Endpoint | OpenEndpoint]) -> bytes:
    """The page as HTML."""
    rows = "".join(_row(endpoint) for endpoint in endpoints)
    return _PAGE.read_text(encoding="utf-8").replace("{rows}", rows).encode()


def _row(endpoint: Endpoint | OpenEndpoint) -> str:
    status, scope = 200, "no token"
    if isinstance(endpoint, Endpoint):
        status, scope = endpoint.status, ", ".join(endpoint.scopes)
    codes = " · ".join(f"{CATALOGUE[code].status} {code}" for code in endpoint.codes)
    call = f"<code>{escape(endpoint.method)} {escape(endpoint.path)}</code>"
    cells = (call, escape(endpoint.summary), scope, f"{status} · {codes}")
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>\n"
