"""The user class and the shape of a scenario: who is next, and how many at a time.

A scenario is a locustfile of two names and the TOML file beside it:

    Buyers, Shape = scenario(__file__, __doc__)
"""

import time

import gevent
from gevent.pool import Pool
from locust import FastHttpUser, LoadTestShape, task
from locust.exception import StopUser
from locust.user.task import LOCUST_STATE_STOPPING

from loadtest.crowd.arrivals import Arrival
from loadtest.crowd.behaviours import BEHAVIOURS
from loadtest.crowd.curves import CURVES
from loadtest.crowd.plan import Plan, PlanError
from loadtest.crowd.run import VISIT_MOST_SECONDS, Hooks, find_run
from loadtest.crowd.visitor import Visitor

WAIT_STEP_SECONDS = 0.5
VISITS_MOST = 256  # visits of one user at once: a timetable waits for no visit


class CrowdUser(FastHttpUser):
    """One visitor after another."""

    abstract = True
    concurrency = VISITS_MOST  # connections, made when needed
    network_timeout = 20.0
    connection_timeout = 5.0

    def on_start(self) -> None:
        """Join the run; a user without a run stops, since the failed start has printed why."""
        self._visits = Pool(VISITS_MOST)
        run = find_run(self.environment)
        if run is None:
            raise StopUser
        self._run = run
        self._names = list(self._run.plan.behaviours)
        self._weights = list(self._run.plan.behaviours.values())

    def _wait_until(self, due: float) -> None:
        """Wait until a visitor is due. Raises StopUser where the run ends before."""
        while (left := due - time.time()) > 0:
            if self._state == LOCUST_STATE_STOPPING:
                raise StopUser
            gevent.sleep(min(left, WAIT_STEP_SECONDS))

    def on_stop(self) -> None:
        """Let the visits under way finish."""
        self._visits.join(VISIT_MOST_SECONDS)

    @task
    def come(self) -> None:
        """Start the next visit; with a timetable at its due time, whoever is still there."""
        run = self._run
        arrival = run.visitors.take()
        if arrival is None:
            raise StopUser
        if not arrival.due:
            self._visit(arrival)
            gevent.sleep(run.dice.uniform(*run.plan.buyer.pause_seconds))
            return
        try:
            self._wait_until(arrival.due)
        except StopUser:
            run.visitors.leave()
            raise
        self._visits.spawn(self._visit, arrival).link_exception(self._tell)

    def _visit(self, arrival: Arrival) -> None:
        """From coming to leaving."""
        visitor = Visitor(self._run, self.client, arrival)
        (name,) = visitor.dice.choices(self._names, weights=self._weights)
        try:
            BEHAVIOURS[name](visitor)
        finally:
            self._run.visitors.leave()

    def _tell(self, failed: gevent.Greenlet) -> None:
        """Report a visit that failed by its own fault as an error of this user."""
        self.environment.events.user_error.fire(
            user_instance=self, exception=failed.exception, tb=failed.exc_info[2]
        )


class CrowdShape(LoadTestShape):
    """As many users as the curve says, until everybody has come and gone or the time is over."""

    abstract = True
    use_common_options = True
    _began = False

    def reset_time(self) -> None:
        """Begin a new run."""
        super().reset_time()  # type: ignore[no-untyped-call]
        self._began = False

    def tick(self) -> tuple[int, float] | None:
        """(users, users to start a second). With a timetable the curve is in the timetable, and all
        users stand by.
        """
        environment = self.runner.environment if self.runner else None
        if environment is None or environment.parsed_options is None:
            return None
        run = find_run(environment) if self._began else None
        if self._began and (run is None or run.visitors.is_over):
            return None
        self._began = True
        options = environment.parsed_options
        seconds = self.get_run_time()  # type: ignore[no-untyped-call]
        over = seconds / options.run_time
        if over >= 1:
            return None
        share = 1.0 if options.rate > 0 else CURVES[options.shape](over)
        return max(1, round(options.num_users * share)), float(options.num_users)


def scenario(file: str, about: str) -> tuple[type[CrowdUser], type[CrowdShape]]:
    """The user class and the shape of the scenario in `file`, whose plan is the TOML beside it.

    A locustfile names both, and is then complete.
    """
    plan = Plan.beside(file)
    if unknown := set(plan.behaviours) - set(BEHAVIOURS):
        raise PlanError(f"{plan.name}: no behaviours {unknown}; there are {list(BEHAVIOURS)}")
    Hooks(plan, about)
    user = type(plan.name.title().replace("_", ""), (CrowdUser,), {"abstract": False})
    shape = type("Shape", (CrowdShape,), {"abstract": False})
    return user, shape
