"""`Prefer: wait=…` bounds a wait; whatever else stands there is ignored."""

import pytest

from gateway.api.calls.operations import preferred_wait


@pytest.mark.parametrize(
    ("preference", "seconds"),
    [
        ("wait=0", 0),
        ("WAIT = 10", 10),
        ("respond-async, wait=3", 3),
        ("respond-async; wait=3; foo", 3),
        ("respond-async", None),
        ("wait=soon", None),
        ("wait=-1", None),
        ("wait=1.5", None),
        ("await=1", None),
        ("wait=" + "9" * 40, None),
        ("", None),
    ],
)
def test_the_wait_that_a_caller_prefers(preference: str, seconds: float | None) -> None:
    assert preferred_wait({"Prefer": preference}) == seconds


def test_without_a_preference_the_call_waits_as_long_as_it_does() -> None:
    assert preferred_wait({}) is None
