"""Every rule over answers, for a run on one machine."""

from collections.abc import Callable

from loadtest.client.history import History
from loadtest.verdict.answers.clocks import late_payments, outlived_holds, over_limit, oversold
from loadtest.verdict.answers.promises import (
    forgotten_keys,
    lost_accepts,
    shared_ids,
    vanished_orders,
)
from loadtest.verdict.answers.states import changed_answers, moved_deadlines, resolved_otherwise

RULES: tuple[Callable[[History], list[str]], ...] = (
    shared_ids,
    forgotten_keys,
    changed_answers,
    resolved_otherwise,
    moved_deadlines,
    lost_accepts,
    vanished_orders,
    outlived_holds,
    late_payments,
)


def history_violations(history: History, units: int, limit: int) -> list[str]:
    """Everything wrong with the answers of a sale of `units`, of which each buyer may have `limit`,
    by all rules over answers alone.
    """
    found = [text for rule in RULES for text in rule(history)]
    return found + oversold(history, units) + over_limit(history, limit)
