"""The files of gateway/web over HTTP: from memory, with ETags, under one strict policy."""

from aiohttp import web

from gateway.api.contract.endpoints import OpenCall
from gateway.api.contract.problems import Answer, Header
from gateway.api.contract.versions import is_known
from gateway.web.files import CLIENT_PREFIX, WebFile, web_files

# Nothing from another origin, nothing inline, no framing, no form that sends elsewhere.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS: tuple[Header, ...] = (
    ("Cache-Control", "no-cache"),
    ("Content-Security-Policy", POLICY),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
)
# A shop may load the client module from a page of another origin.
_SHARED: tuple[Header, ...] = (("Access-Control-Allow-Origin", "*"),)


def page_calls() -> tuple[tuple[str, OpenCall], ...]:
    """The path and the call of every file."""
    return tuple((file.path, _serving(file)) for file in web_files())


def _serving(file: WebFile) -> OpenCall:
    tag: Header = ("ETag", f'"{file.digest}"')
    shared = _SHARED if file.path.startswith(CLIENT_PREFIX) else ()
    headers = (tag, *_HEADERS, *shared)
    whole = Answer(200, file.body, headers, file.content_type)
    unchanged = Answer(304, b"", headers, file.content_type)

    async def serve(request: web.Request) -> Answer:
        return unchanged if is_known(request.headers, tag) else whole

    return serve
