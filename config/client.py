"""The HTTP API as the commands use it: one call, its answer or an error with the next step."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import jwt
import msgspec

from config.ready import ReadyFile
from config.settings import Settings

CALL_TIMEOUT_SECONDS = 30.0
TOKEN_LIFE_SECONDS = 300
SUBJECT = "dropgate-cli"
JSON = "application/json"

# What to do about an answer, by its stable code.
NEXT_STEPS = {
    "malformed": "correct the request; the page /docs of the gateway describes each call",
    "idempotency_key_required": "send an Idempotency-Key; a repeat sends the key of the first try",
    "unauthenticated": "check --token, or name the ready file of dropgate up with --ready-file",
    "forbidden": "use a token of another scope; dropgate token makes tokens",
    "not_admitted": "join the sale's queue, and reserve with the admission that the queue gives",
    "not_found": "check the id; dropgate sale list shows the sales",
    "method_not_allowed": "check --url, and that gateway and command have one version",
    "request_timeout": "repeat; if it fails again, check the network between here and the gateway",
    "sold_out": "wait for holds to lapse, or add units with dropgate stock adjust",
    "limit_exceeded": "the buyer is at the limit; cancel a hold first",
    "sale_not_open": "dropgate sale show prints the state; dropgate sale open or resume changes it",
    "already_resolved": "nothing is left to do; read the reservation to see how it ended",
    "invalid_state": "dropgate sale show prints the state; change the state first, and repeat",
    "floor_violation": "the units are held or sold; wait for returns or adjust by less",
    "hold_expired": "reserve again while there is stock; refund a payment that came late",
    "version_mismatch": "somebody else changed the sale; read it again and repeat",
    "too_large": "send a smaller body; gateway.max_body_bytes is the bound",
    "unsupported_media_type": "send JSON, with Content-Type: application/json",
    "invalid": "correct what the message names; examples are in config/sales",
    "idempotency_key_reused": "use a new key for another request",
    "rate_limited": "repeat after the time in Retry-After",
    "internal": "search the gateway's log for the request id",
    "recovering": "the partition is being restored; repeat in a few seconds",
    "ledger_behind": "the ledger is catching up; repeat in a few seconds",
    "overloaded": "repeat after the time in Retry-After",
}


class ApiError(Exception):
    """A call failed; the message has the server's answer and the next step.

    `code` is the stable code of the problem; empty where the answer has no code.
    """

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


def make_token(secret: str, *, scope: str, subject: str, audience: str, life_seconds: int) -> str:
    """An HS256 token over the UTF-8 bytes of the secret, good for `life_seconds`."""
    now = int(time.time())
    claims = {
        "sub": subject,
        "scope": scope,
        "aud": audience,
        "iat": now,
        "exp": now + life_seconds,
    }
    return jwt.encode(claims, secret, algorithm="HS256")


@dataclass(frozen=True, slots=True)
class Api:
    """Where the API is and the token to call it with."""

    url: str
    token: str

    @classmethod
    def find(
        cls, settings: Settings, *, url: str | None, token: str | None, ready_file: Path
    ) -> "Api":
        """Address and token: as given, else of the ready file, else of the settings.

        Raises `ApiError` where no token can be made, and for a file that is no ready file.
        """
        ready = None
        if (url is None or token is None) and ready_file.exists():
            try:
                ready = ReadyFile.read(ready_file)
            except msgspec.DecodeError as error:
                raise ApiError(f"{ready_file} is no ready file of dropgate up: {error}") from error
        gateway = settings.gateway
        if url is None:
            host, port = gateway.host, gateway.port
            if ready is not None:
                parts = urlsplit(ready.gateway)
                host, port = parts.hostname or host, parts.port or port
            url = f"http://{host}:{gateway.ops_port or port}"
        if token is None:
            secret = ready.auth_secret if ready else None
            if secret is None and settings.auth.secret is not None:
                secret = settings.auth.secret.get_secret_value()
            if secret is None:
                raise ApiError(
                    f"no token: give --token or DROPGATE_TOKEN, or --ready-file (there is none at "
                    f"{ready_file}), or set DROPGATE_AUTH__SECRET"
                )
            token = make_token(
                secret,
                scope="ops",
                subject=SUBJECT,
                audience=settings.auth.audience,
                life_seconds=TOKEN_LIFE_SECONDS,
            )
        return cls(url.rstrip("/"), token)

    def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        accept: str = JSON,
        key: str | None = None,
        prefer: str | None = None,
    ) -> Any:
        """The decoded answer of one call; a string where the answer is not JSON. `key`: the call's
        Idempotency-Key; `prefer`: the call's Prefer header.

        Raises `ApiError` for anything but a 2xx.
        """
        headers = {"Authorization": f"Bearer {self.token}", "Accept": accept}
        if prefer is not None:
            headers["Prefer"] = prefer
        if key is not None:
            headers["Idempotency-Key"] = key
        if body is not None:
            headers["Content-Type"] = JSON
        return asyncio.run(self._call(method, path, body, headers))

    async def _call(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> Any:
        timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.request(method, self.url + path, data=body, headers=headers) as response,
            ):
                content = await response.read()
                status = response.status
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiError(
                f"{self.url} does not answer ({str(error) or 'time-out'}): start dropgate up, "
                "or name the address with --url or DROPGATE_URL"
            ) from error
        try:
            answer = msgspec.json.decode(content) if content else None
        except msgspec.DecodeError:
            answer = content.decode(errors="replace")
        if status >= 300:
            raise _failure(method, path, status, answer)
        return answer


def _failure(method: str, path: str, status: int, answer: object) -> ApiError:
    problem = answer if isinstance(answer, dict) else {}
    code = str(problem.get("code", ""))
    said = problem.get("detail") or problem.get("title") or answer or "nothing"
    known = {"type", "title", "status", "code", "detail", "instance"}
    facts = ", ".join(f"{name}={value}" for name, value in problem.items() if name not in known)
    lines = [f"{method} {path} → {status} {code}: {said}"]
    if facts:
        lines.append(facts)
    if code in NEXT_STEPS:
        lines.append(f"Next: {NEXT_STEPS[code]}.")
    return ApiError("\n".join(lines), code)
