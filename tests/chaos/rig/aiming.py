"""Faults at the moment after an answer: in the turn in which the client gets it, before any other
call is made and before the servers have done anything else.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from loadtest.client.history import Attempt, History


@dataclass
class Shot:
    """A fault that waits for an answer; `answer` is the answer that set it off."""

    matches: Callable[[Attempt], bool]
    fire: Callable[[], object]
    answer: Attempt | None = None


class AimedHistory(History):
    """A history that sets off the faults that wait for an answer as it remembers the answer."""

    def __init__(self) -> None:
        """Start empty, with no fault waiting; no other client takes part."""
        super().__init__(complete=True)
        self._shots: list[Shot] = []

    def add(self, attempt: Attempt) -> None:
        """Remember one request, and let happen what waited for its answer."""
        super().add(attempt)
        for shot in [shot for shot in self._shots if shot.matches(attempt)]:
            self._shots.remove(shot)
            shot.answer = attempt
            shot.fire()

    @contextmanager
    def aimed(
        self, matches: Callable[[Attempt], bool], fire: Callable[[], object]
    ) -> Iterator[Shot]:
        """`fire` is called once, at the first answer that matches during the block."""
        shot = Shot(matches, fire)
        self._shots.append(shot)
        try:
            yield shot
        finally:
            if shot in self._shots:
                self._shots.remove(shot)
