"""The pauses of the load tools, and their looks until something is there."""

import asyncio

import pytest

from loadtest.waiting import Backoff, poll_until


def test_pauses_double_up_to_the_longest() -> None:
    backoff = Backoff(0.1, longest_seconds=0.5)
    assert [backoff.next_seconds() for _ in range(5)] == [0.1, 0.2, 0.4, 0.5, 0.5]


def test_a_jittered_pause_is_at_most_the_length_that_is_due() -> None:
    backoff = Backoff(1.0, longest_seconds=4.0, jitter=True)
    pauses = [backoff.next_seconds() for _ in range(200)]
    assert all(0 <= pause <= 4.0 for pause in pauses)
    assert pauses[0] <= 1.0
    assert pauses[1] <= 2.0
    assert max(pauses) > 2.0


async def test_the_first_true_answer_is_returned_and_nothing_is_asked_after_it() -> None:
    answers = iter([None, "", "found", "not asked for"])

    async def look() -> str | None:
        return next(answers)

    assert await poll_until(look, pause_seconds=0.0, timeout_seconds=None) == "found"
    assert next(answers) == "not asked for"


async def test_a_look_that_never_succeeds_is_ended_at_its_bound() -> None:
    async def look() -> bool:
        return False

    with pytest.raises(TimeoutError):
        await poll_until(look, pause_seconds=0.0, timeout_seconds=0.0)


async def test_a_look_that_hangs_is_ended_at_its_bound() -> None:
    async def look() -> bool:
        await asyncio.Event().wait()
        return True

    with pytest.raises(TimeoutError):
        await poll_until(look, pause_seconds=0.0, timeout_seconds=0.0)


async def test_what_a_look_raises_is_raised() -> None:
    async def look() -> bool:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        await poll_until(look, pause_seconds=0.0, timeout_seconds=None)
