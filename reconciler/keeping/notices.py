"""Warnings that a loop would repeat, logged once in a while."""

import time

import structlog

REPEAT_AFTER_SECONDS = 10.0
SUBJECTS_MAX = 10_000

_log = structlog.get_logger()


class Notices:
    """Logs an event about a subject at most once in REPEAT_AFTER_SECONDS."""

    def __init__(self) -> None:
        self._said: dict[tuple[str, str], float] = {}

    def warn(self, event: str, subject: str, **facts: object) -> None:
        """Something waits for a server, or for a person."""
        if self._is_due(event, subject):
            _log.warning(event, subject=subject, **facts)

    def alarm(self, event: str, subject: str, **facts: object) -> None:
        """Something does not heal by itself."""
        if self._is_due(event, subject):
            _log.error(event, subject=subject, **facts)

    def _is_due(self, event: str, subject: str) -> bool:
        now, key = time.monotonic(), (event, subject)
        if now - self._said.get(key, -REPEAT_AFTER_SECONDS) < REPEAT_AFTER_SECONDS:
            return False
        if len(self._said) >= SUBJECTS_MAX:
            self._said.clear()
        self._said[key] = now
        return True
