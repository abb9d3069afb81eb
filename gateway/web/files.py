"""The pages and the client module as files: read once at start, served as they are.

Everything below this folder that is not Python is public. `storefront/` and `ops/` are the two
pages, `client/` is what a shop may load on a page of its own, `shared/` serves both pages,
`vendor/` is not ours and keeps its licences. No build step: what is here is what a browser gets.
"""

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

_FOLDER = Path(__file__).parent
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}
# Where a file is not found under its own name.
_PAGES = {"storefront/index.html": "/", "ops/index.html": "/ops"}
CLIENT_PREFIX = "/client/"


@dataclass(frozen=True, slots=True)
class WebFile:
    """One file by its path in the gateway; `digest` names its bytes."""

    path: str
    content_type: str
    body: bytes
    digest: str


def web_files() -> tuple[WebFile, ...]:
    """Every file there is to serve. KeyError for one whose type is not known here."""
    return tuple(
        _read(file)
        for file in sorted(_FOLDER.rglob("*"))
        if file.is_file() and file.suffix not in {".py", ".pyc"}
    )


def _read(file: Path) -> WebFile:
    body = file.read_bytes()
    name = file.relative_to(_FOLDER).as_posix()
    path = _PAGES.get(name, f"/{name}" if f"/{name}".startswith(CLIENT_PREFIX) else f"/web/{name}")
    return WebFile(path, _TYPES[file.suffix], body, blake2b(body, digest_size=6).hexdigest())
