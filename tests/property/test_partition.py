"""Thousands of steps of all scripts against the model; DROPGATE_TEST_SEED repeats a run."""

import os
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.errors import Flaky
from hypothesis.stateful import run_state_machine_as_test

from lua.loader import Script
from tests.property.machine import PartitionMachine
from tests.property.mutants import MUTANTS, Mutant
from tests.support.scripts.harness import SCRIPTS, Rig
from tests.support.scripts.server import RedisServer, redis_binaries, running_server

EXAMPLES = 70
# Many short runs waste steps: the first tenth of each hypothesis run is small and shows nothing.
MUTANT_EXAMPLES = 14
MUTANT_RUNS = 30
STEPS_EACH = 60
MOST_RUNS = 16  # hypothesis varies what it had, so a single run may miss a corner altogether

PROFILE = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS_EACH,
    deadline=None,  # a step is as slow as the machine; nothing here is about speed
    print_blob=True,
    database=None,  # a run begins from its printed seed alone
    suppress_health_check=[
        HealthCheck.too_slow,  # each step is a dozen round trips to a real server
        HealthCheck.data_too_large,  # long runs are the point
    ],
)
# Outcomes that a run must have met for the agreement to mean anything; most occur often.
MET = {
    ("adjust", "adjusted"),
    ("adjust", "floor_violation"),
    ("adjust", "key_reused"),
    ("adjust", "replayed"),
    ("cancel", "cancelled"),
    ("cancel", "hold_expired"),
    ("confirm", "already_resolved"),
    ("confirm", "confirmed"),
    ("confirm", "hold_expired"),
    ("confirm", "not_reserved"),
    ("extend", "at_cap"),
    ("extend", "extended"),
    ("extend", "replayed"),
    ("reserve", "accepted"),
    ("reserve", "cooling_down"),
    ("reserve", "ledger_behind"),
    ("reserve", "limit_exceeded"),
    ("reserve", "not_admitted"),
    ("reserve", "not_open"),
    ("reserve", "overloaded"),
    ("reserve", "rate_limited"),
    ("reserve", "replayed"),
    ("reserve", "sold_out"),
    ("return_units", "not_sold"),
    ("return_units", "returned"),
}


@pytest.fixture(scope="module")
def one_server() -> Iterator[RedisServer]:
    """One server, for tests of the rig itself."""
    with running_server(redis_binaries()[0]) as running:
        yield running


def _run(
    server: RedisServer, seed: int, profile: settings, scripts: Mapping[str, Script] = SCRIPTS
) -> Counter[tuple[str, str]]:
    """Counts of (script, outcome) met; raises where scripts and model differ."""
    seen = Counter[tuple[str, str]]()
    with server.connect() as client:

        @hypothesis.seed(seed)
        def machine() -> PartitionMachine:
            return PartitionMachine(lambda: Rig(client, scripts), seen)

        run_state_machine_as_test(machine, settings=profile)  # type: ignore[arg-type]
    return seen


def test_scripts_and_model_agree_step_by_step(server: RedisServer) -> None:
    seed = int(os.environ.get("DROPGATE_TEST_SEED") or secrets.randbits(32))
    print(f"repeat with DROPGATE_TEST_SEED={seed}")
    seen = Counter[tuple[str, str]]()
    for run in range(MOST_RUNS):
        seen += _run(server, seed + run, PROFILE)
        if set(seen) >= MET:
            break
    assert not MET - set(seen)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_mistake_in_the_scripts_is_told(one_server: RedisServer, mutant: Mutant) -> None:
    """Seeds are fixed, so that the mistake is found every time; it need not be shrunk."""
    mutated = mutant.scripts(SCRIPTS)
    with one_server.connect() as client:
        Rig(client, mutated)  # they are still Lua
    seeds = range(mutant.seed, mutant.seed + MUTANT_RUNS)
    assert any(_is_told(one_server, seed, mutated) for seed in seeds)


def _is_told(server: RedisServer, seed: int, scripts: Mapping[str, Script]) -> bool:
    profile = settings(
        PROFILE, max_examples=MUTANT_EXAMPLES, phases=[Phase.generate], print_blob=False
    )
    try:
        _run(server, seed, profile, scripts)
    except (AssertionError, Flaky):
        return True
    return False
