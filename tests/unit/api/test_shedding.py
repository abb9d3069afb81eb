"""The order in which a worker with too much to do refuses."""

from itertools import pairwise

import pytest

from gateway.admission.shedding import BUSY_IN_FLIGHT, SHED_FROM, Load, Work, work_of
from gateway.admission.tokens import Scope
from gateway.api.metrics.catalogue import ROUTES

NEVER = (
    ("confirm", Scope.STOREFRONT),
    ("cancel", Scope.BUYER),
    ("cancel", Scope.STOREFRONT),
    ("returns", Scope.STOREFRONT),
    ("extend", Scope.STOREFRONT),
    ("sale", None),
    ("system", None),
)


def shed_at(share: float) -> set[Work]:
    """What is refused at this share of the bound on waiting."""
    load = Load(10_000, 1.0, lambda: share)
    load.in_flight = BUSY_IN_FLIGHT
    load.note(0.0)
    return {work for work in Work if load.part_shed(work) > 0}


def test_browsing_goes_first_then_joining_then_reserving() -> None:
    order = [Work.BROWSING, Work.JOINING, Work.RESERVING]
    assert list(SHED_FROM) == order
    seen = [shed_at(share / 100) for share in range(0, 1001, 5)]
    for fewer, more in pairwise(seen):
        assert fewer <= more  # work that is refused at some load is refused at every higher load
    stages = [set(order[:number]) for number in range(4)]
    assert [stage for stage in stages if stage in seen] == stages
    assert all(stage in stages for stage in seen)


@pytest.mark.parametrize(("route", "scope"), NEVER)
def test_what_is_never_refused(route: str, scope: Scope | None) -> None:
    assert work_of(route, scope) is Work.KEPT
    assert work_of(route, scope) not in shed_at(1e9)


def test_every_route_is_of_one_kind() -> None:
    kinds = {route: work_of(route, Scope.BUYER) for route in ROUTES}
    assert kinds["reserve"] is kinds["extend"] is Work.RESERVING
    assert {route for route, work in kinds.items() if work is Work.BROWSING} == {
        "reservation",
        "order",
        "orders",
    }
    assert all(work_of(route, Scope.OPS) is Work.KEPT for route in ROUTES)


def test_requests_in_flight_are_a_bound_of_their_own() -> None:
    load = Load(100, 1.0, lambda: 0.0)
    load.in_flight = 101  # the call that asks, and a hundred other calls
    assert load.sheds(Work.RESERVING)
    with load.waiting():  # for its caller's body: no work
        assert not load.sheds(Work.RESERVING)
    assert load.sheds(Work.RESERVING)


def test_a_late_worker_with_little_to_do_refuses_nobody() -> None:
    """The worker's delay does not come from its callers."""
    load = Load(10_000, 1.0, lambda: 0.0)
    load.note(5.0)
    load.in_flight = BUSY_IN_FLIGHT - 1
    assert not any(load.sheds(work) for work in Work)
    load.in_flight += 1
    assert load.part_shed(Work.RESERVING) == pytest.approx(0.8)


@pytest.mark.parametrize(("share", "part"), [(0.99, 0), (1.0, 0), (2.0, 0.5), (10.0, 0.9)])
def test_as_many_reserves_are_refused_as_are_too_many(share: float, part: float) -> None:
    load = Load(10_000, 1.0, lambda: share)
    load.in_flight = BUSY_IN_FLIGHT
    load.note(0.0)
    assert load.part_shed(Work.RESERVING) == pytest.approx(part)
    # Buyers who join have been promised nothing yet, so every join is refused.
    assert load.part_shed(Work.JOINING) == 1.0
    refused = sum(load.sheds(Work.RESERVING) for _ in range(1000))
    assert 1000 * part - 150 <= refused <= 1000 * part + 150


def test_a_peak_is_forgotten() -> None:
    load = Load(10_000, 1.0, lambda: 0.0)
    load.in_flight = BUSY_IN_FLIGHT
    load.note(5.0)
    for _ in range(20):
        load.note(0.0)
    assert not load.sheds(Work.BROWSING)
