"""The pages and the client module as files: read once at start, served unchanged.

Every file below this folder is public, except Python. `storefront/` and `ops/` are the two pages,
`client/` is for shops' own pages, `shared/` serves both pages, `vendor/` has third-party files with
their licences. There is no build step: browsers get these files.
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
# Paths of files that are not served under their own name.
_PAGES = {"storefront/index.html": "/", "ops/index.html": "/ops"}
CLIENT_PREFIX = "/client/"


@dataclass(frozen=True, slots=True)
class WebFile:
    """One file; `path`: where the gateway serves it; `digest`: a hash of its bytes."""

    path: str
    content_type: str
    body: bytes
    digest: str


def web_files() -> tuple[WebFile, ...]:
    """Every file to serve. Raises KeyError for a file of an unknown type."""
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
