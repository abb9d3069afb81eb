"""Keeps the public keys in memory: read in the background, from a URL or a file.

Verifying never waits for a read. A token with an unknown key id requests a read, at most every
`least_pause_seconds`, and its caller gets 503 while the read is under way. While the source cannot
be read the last good set stays in use, for `stale_seconds`; after that its tokens are refused.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal

import aiohttp
import structlog

from config.settings import AuthSettings
from config.waiting import happened_within
from gateway.admission.key_set import SET_BYTES_MAX, KeySet, PublicKey, UnusableSet, parse_key_set

FETCH_TIMEOUT_SECONDS = 5.0
RETRY_PAUSE_SECONDS = 5.0
JITTER_SHARE = 0.1

Read = Callable[[], Awaitable[bytes]]
_log = structlog.get_logger()


class KeysUnavailable(Exception):
    """The key of a token cannot be looked up now; another try may find it."""


class UnknownKey(Exception):
    """No key of the set can have signed the token."""


class Keyring:
    """The current key set; `run` reads it in the background."""

    def __init__(
        self,
        read: Read,
        *,
        refresh_seconds: float,
        least_pause_seconds: float,
        stale_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`read` returns the bytes of a JWK Set; it raises OSError or UnusableSet."""
        self._read = read
        self._refresh_seconds = refresh_seconds
        self._least_pause_seconds = least_pause_seconds
        self._stale_seconds = stale_seconds
        self._clock = clock
        self._set = KeySet(())
        self._good_at: float | None = None
        self._tried_at: float | None = None
        self._wanted = asyncio.Event()
        self.generation = 0

    @property
    def state(self) -> Literal["fresh", "stale", "none"]:
        """`stale`: the last read failed and the set before is in use; `none`: no set is usable."""
        if self._good_at is None or self._clock() - self._good_at > self._stale_seconds:
            return "none"
        return "fresh" if self._good_at == self._tried_at else "stale"

    def check_usable(self) -> None:
        """Raise KeysUnavailable when no set is usable."""
        if self._good_at is None or self._clock() - self._good_at > self._stale_seconds:
            raise KeysUnavailable

    def candidates(self, kid: str | None, algorithm: str) -> tuple[PublicKey, ...]:
        """The keys that may have signed a token. Raises UnknownKey, KeysUnavailable."""
        self.check_usable()
        if not self._set.knows(kid):
            if self._wanted.is_set():
                raise KeysUnavailable
            if self._tried_at is None or self._pause_left() <= 0:
                self._wanted.set()
                raise KeysUnavailable
        found = self._set.candidates(kid, algorithm)
        if not found:
            raise UnknownKey
        return found

    def _pause_left(self) -> float:
        assert self._tried_at is not None  # noqa: S101 - asked before
        return self._tried_at + self._least_pause_seconds - self._clock()

    async def refresh(self) -> None:
        """Read the set once; when that fails, log it and keep the current set."""
        moment = self._clock()
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_SECONDS):
                found = parse_key_set(await self._read())
        except (UnusableSet, OSError, TimeoutError) as error:
            _log.warning("token_keys_unread", error=str(error) or type(error).__name__)
        else:
            self._take(found)
            self._good_at = moment
        self._tried_at = moment
        self._wanted.clear()

    def _take(self, found: KeySet) -> None:
        gone = {key.jwk for key in self._set.keys} - {key.jwk for key in found.keys}
        if gone:
            self.generation += 1  # tokens verified by removed keys must not be remembered
        if found != self._set:
            kids = [key.kid for key in found.keys]
            _log.info("token_keys_read", kids=kids, gone=len(gone), left_out=found.left_out)
        self._set = found

    async def run(self) -> None:
        """Refresh the set until cancelled."""
        while True:
            pause = self._refresh_seconds if self.state == "fresh" else RETRY_PAUSE_SECONDS
            pause = min(pause, self._refresh_seconds)
            spread = pause * (1 + random.uniform(-JITTER_SHARE, JITTER_SHARE))  # noqa: S311
            await happened_within(self._wanted, spread)
            await self.refresh()


def keyring_of(settings: AuthSettings) -> Keyring | None:
    """The keyring of the settings; None without `auth.jwks`."""
    if settings.jwks is None:
        return None
    return Keyring(
        _reader(settings.jwks),
        refresh_seconds=settings.jwks_refresh_seconds,
        least_pause_seconds=settings.jwks_least_pause_seconds,
        stale_seconds=settings.jwks_stale_seconds,
    )


def _reader(source: str) -> Read:
    if not source.startswith(("http://", "https://")):
        path = Path(source)

        async def read_file() -> bytes:
            return await asyncio.to_thread(path.read_bytes)

        return read_file

    async def fetch() -> bytes:
        timeout = aiohttp.ClientTimeout(total=FETCH_TIMEOUT_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(source, allow_redirects=False) as response,
            ):
                if response.status != 200:
                    raise UnusableSet(f"its server answered {response.status}")
                # One byte above the bound is enough for parse_key_set to refuse the set.
                return await _at_most(response.content, SET_BYTES_MAX + 1)
        except aiohttp.ClientError as error:
            raise UnusableSet(str(error) or type(error).__name__) from error

    return fetch


async def _at_most(content: aiohttp.StreamReader, most_bytes: int) -> bytes:
    parts = bytearray()
    async for part in content.iter_any():
        parts += part
        if len(parts) >= most_bytes:
            break
    return bytes(parts[:most_bytes])
