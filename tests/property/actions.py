"""What a step can be: a method of the machine by name, with its arguments, by weight."""

from typing import Any

from hypothesis import strategies as st

from tests.property.sales import asks, lines, one_line
from tests.support.scripts.harness import RUN_ID

Action = tuple[str, dict[str, Any]]

_runs = st.sampled_from((RUN_ID, "b" * 40, "c" * 40))
_which = st.integers(0, 40)
_wanted = st.one_of(one_line, lines)
# Nothing named, so many units of what the reservation has first, or any lines.
_selection = st.one_of(st.just(()), st.integers(1, 2), st.integers(1, 2), lines)
_delta = st.sampled_from((1, 3, -1, -2, -4))
# What each request of a batch shows where the sale has a waiting room.
_passes = st.tuples(
    *(st.sampled_from(("new",) * 9 + ("none", "spent", "older", "late", "last moment")),) * 4
)
_state = st.sampled_from(("open",) * 14 + ("paused",) * 3 + ("scheduled", "closed"))


def _action(name: str, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Action]:
    return st.tuples(st.just(name), st.fixed_dictionaries(arguments))


_WEIGHTED = (
    (
        6,
        _action(
            "reserve_anew",
            wanted=st.lists(st.one_of(one_line, lines), min_size=1, max_size=3),
            passes=_passes,
        ),
    ),
    (
        2,
        _action(
            "reserve",
            batch=st.lists(asks, min_size=1, max_size=4).map(tuple),
            passes=_passes,
        ),
    ),
    (2, _action("retry", which=_which, wanted=one_line)),
    (
        5,
        _action(
            "confirm",
            which=_which,
            payment=st.sampled_from(("pay-1", "pay-1", "pay-2")),
            part=_selection,
        ),
    ),
    (2, _action("cancel", which=_which)),
    (3, _action("extend", which=_which, milliseconds=st.sampled_from((100, 300, 250, 1)))),
    (
        4,
        _action(
            "return_units",
            which=_which,
            key=st.sampled_from(("k1", "k2", "k3")),
            part=_selection,
            restock=st.booleans(),
            fingerprint=st.sampled_from(("f1", "f1", "f2")),
        ),
    ),
    (2, _action("adjust", number=st.integers(0, 3), delta=_delta)),
    (2, _action("set_state", to=_state, item=st.sampled_from((0, 0, 1, 2)))),
    (2, _action("expire", most=st.integers(1, 4))),
    (2, _action("trim", behind=st.integers(0, 8))),
    (
        1,
        _action(
            "recover",
            run_id=_runs,
            ahead=st.sampled_from((1, 1, 3, 0)),
            off=st.sampled_from((0, 0, 0, -1, 1)),
            outage=st.integers(0, 500),
            alive=st.integers(0, 600),
        ),
    ),
    (1, _action("rebase", most=st.sampled_from((0, 0, 100, 2000)))),
    (1, _action("look", run_id=_runs, ahead=st.integers(-1, 1))),
    (2, _action("time_passes", milliseconds=st.sampled_from((1, 40, 300, 5000, 600_000)))),
    (3, _action("stop_at_a_deadline", which=_which, before=st.sampled_from((0, 0, 1)))),
)
_by_weight = tuple(strategy for weight, strategy in _WEIGHTED for _ in range(weight))
actions: st.SearchStrategy[Action] = st.integers(0, len(_by_weight) - 1).flatmap(
    _by_weight.__getitem__
)
