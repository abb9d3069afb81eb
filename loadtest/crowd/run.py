"""One run from a new sale to the verdict: what all users of it share, and Locust's hooks."""

import random
import subprocess
import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import gevent
import msgspec
from locust import events
from locust.env import Environment
from locust.runners import LocalRunner

from loadtest.client.calls import RefusedError, SnapshotAnswer
from loadtest.client.history import History
from loadtest.client.target import Target, mint_token
from loadtest.crowd.arrivals import Visitors, timetable
from loadtest.crowd.curves import CURVES
from loadtest.crowd.operations import Operations
from loadtest.crowd.options import RunOptions, add_options, options_of
from loadtest.crowd.plan import Plan
from loadtest.report.record import REPORT, Record, RunFacts, Sample

VERDICT_TIMEOUT_SECONDS = 300.0
SAMPLE_PAUSE_SECONDS = 0.25
HOLD_WAITED_FOR_SECONDS = 10  # the longest hold whose lapse a run waits for
VISIT_MOST_SECONDS = 20  # how long a visit may go on after the end of the run
EXIT_COULD_NOT_RUN = 2

_runs: dict[Environment, "Run"] = {}


class Run:
    """A sale, its visitors and what they saw."""

    def __init__(self, options: RunOptions, about: str) -> None:
        """Make and open the sale, unless a sale is named; raises RefusedError, OSError."""
        self.options, self.plan, self._about = options, options.plan, about
        self.target = Target.from_ready_file(options.ready_file)
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        self.sale_id = options.sale or f"{self.plan.name.replace('_', '-')}-{stamp}"
        self.dice = random.Random(options.seed)
        # Other clients may use a sale that was named; a new sale belongs to this run alone.
        self.history = History(complete=not options.sale)
        self.storefront = mint_token(self.target.auth_secret, "storefront", "loadtest-shop")
        self._operations = Operations(self.target, self.sale_id)
        if not options.sale:
            self._operations.create(self.plan.spec(time.time()))
            if not self.plan.opens_by_itself:
                self._operations.open()
        skus = self._operations.skus()
        demand = {item.sku: item.demand for item in self.plan.sale.items}
        self.demand = {sku: demand.get(sku, 1.0) for sku in skus}
        self.samples: list[Sample] = []
        self.began_at = time.time()
        arrivals = self.plan.arrivals
        due = None
        if arrivals.rate > 0:
            curve = CURVES[arrivals.shape]
            due = timetable(curve, arrivals.rate, arrivals.seconds, random.Random(options.seed))
        self.visitors = Visitors(due, arrivals.buyers)
        self.folder = options.output / f"{self.plan.name}-{stamp}"
        self._sampling = gevent.spawn(self._sample)
        self.judging: gevent.Greenlet | None = None
        self.is_ending = False  # from then on nobody waits in line
        self.last_admission = ""  # the newest token given to a visitor, for others to try

    def _sample(self) -> None:
        while True:
            answer = self._operations.snapshot()
            if answer is not None:
                now = msgspec.json.decode(answer, type=SnapshotAnswer)
                self.samples.append(Sample(time.time(), now.available, now.held, now.sold))
            gevent.sleep(SAMPLE_PAUSE_SECONDS)

    def _let_holds_lapse(self) -> None:
        """Wait until forgotten holds have lapsed, unless holds are long: the record shows it."""
        hold_seconds = self.plan.sale.hold_seconds
        deadline = time.time() + hold_seconds + SAMPLE_PAUSE_SECONDS
        while self.samples and self.samples[-1].held and time.time() < deadline:
            if hold_seconds > HOLD_WAITED_FOR_SECONDS:
                return
            gevent.sleep(SAMPLE_PAUSE_SECONDS)

    def judge(self) -> int:
        """Write the record; let another process, whose sockets are not gevent's, judge it.

        Returns its exit status: 1 where an invariant does not hold.
        """
        self._let_holds_lapse()
        self._sampling.kill()
        settings: dict[str, Any] = msgspec.to_builtins(self.plan)
        settings["seed"] = self.options.seed
        facts = RunFacts(
            self.plan.name, self._about, self.sale_id, self.began_at, time.time(), settings
        )
        Record(facts, tuple(self.samples), self.history).write(self.folder)
        command = [
            *(sys.executable, "-m", "loadtest", "judge", str(self.folder)),
            *("--ready-file", str(self.options.ready_file)),
        ]
        done = subprocess.run(command, check=False, timeout=VERDICT_TIMEOUT_SECONDS)
        return done.returncode


def find_run(environment: Environment) -> Run | None:
    """The run that is under way, or else the last run; None where it could not start."""
    return _runs.get(environment)


class Hooks:
    """What one scenario does at Locust's events."""

    def __init__(self, plan: Plan, about: str) -> None:
        """Listen to Locust's events; a process runs one scenario."""
        self._plan, self._about = plan, about
        # Locust publishes no types for its hooks.
        events.init_command_line_parser.add_listener(self._add_options)  # type: ignore[no-untyped-call]
        events.init.add_listener(self._initialize)  # type: ignore[no-untyped-call]
        events.test_start.add_listener(self._start)  # type: ignore[no-untyped-call]
        events.test_stopping.add_listener(self._end)  # type: ignore[no-untyped-call]
        events.test_stop.add_listener(self._stop)  # type: ignore[no-untyped-call]
        events.quitting.add_listener(self._quit)  # type: ignore[no-untyped-call]

    def _add_options(self, parser: ArgumentParser) -> None:
        add_options(parser, self._plan)

    def _initialize(self, environment: Environment, web_ui: Any = None, **_: object) -> None:
        """The plan's numbers are the defaults of Locust's own options, and of its web form."""
        if not isinstance(environment.runner, LocalRunner):
            print("one process has the whole history: run without --master and --processes")
            sys.exit(EXIT_COULD_NOT_RUN)
        parsed = environment.parsed_options
        if parsed is None:
            return
        parsed.num_users = parsed.num_users or self._plan.arrivals.users
        parsed.run_time = parsed.run_time or self._plan.arrivals.seconds
        environment.stop_timeout = VISIT_MOST_SECONDS
        try:
            environment.host = Target.from_ready_file(Path(parsed.ready_file)).gateway
        except (OSError, msgspec.DecodeError) as error:
            print(f"{error}: start dropgate up, or name its --ready-file", file=sys.stderr)
            sys.exit(EXIT_COULD_NOT_RUN)
        if web_ui is not None:
            web_ui.app.add_url_rule("/report", view_func=lambda: _latest_report(environment))

    def _start(self, environment: Environment, **_: object) -> None:
        _runs.pop(environment, None)
        if environment.parsed_options is None:
            return
        try:
            _runs[environment] = Run(
                options_of(environment.parsed_options, self._plan), self._about
            )
        except (OSError, RefusedError, msgspec.DecodeError) as error:
            print(f"the run could not start: {error}", file=sys.stderr)

    def _end(self, environment: Environment, **_: object) -> None:
        run = find_run(environment)
        if run is not None:
            run.is_ending = True

    def _stop(self, environment: Environment, **_: object) -> None:
        """Judge beside Locust, whose web UI goes on."""
        run = find_run(environment)
        if run is not None:
            run.judging = gevent.spawn(_judge, environment, run)

    def _quit(self, environment: Environment, **_: object) -> None:
        """A broken invariant makes Locust end with status 1, whatever was slow or refused."""
        if environment.runner is not None:
            environment.runner.stop()  # where a signal ended the run
        run = find_run(environment)
        if run is None or run.judging is None:
            environment.process_exit_code = EXIT_COULD_NOT_RUN
            return
        run.judging.join()


def _judge(environment: Environment, run: Run) -> None:
    status = run.judge()
    if status == 0 and environment.runner is not None and environment.runner.exceptions:
        status = EXIT_COULD_NOT_RUN  # a scenario that fails by itself has shown nothing
    environment.process_exit_code = status


def _latest_report(environment: Environment) -> str:
    run = find_run(environment)
    report = run.folder / REPORT if run else None
    if report is None or not report.exists():
        return "No report yet: it is written when a run has ended and was judged. Reload then."
    return report.read_text(encoding="utf-8")
