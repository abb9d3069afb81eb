"""What the commands say of an answer that is no success."""

from config.client import NEXT_STEPS
from gateway.api.contract.problems import CATALOGUE


def test_every_problem_names_the_next_step() -> None:
    assert NEXT_STEPS.keys() == CATALOGUE.keys()
