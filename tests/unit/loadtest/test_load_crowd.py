"""What the load scenarios do without a server or Locust: plans, timetables, reports."""

import random
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from config.commands.loadtest import SCENARIOS
from loadtest.client.history import NO_ANSWER, Attempt, History
from loadtest.crowd.arrivals import Visitors, timetable
from loadtest.crowd.curves import CURVES
from loadtest.crowd.plan import Plan, PlanError
from loadtest.report.page import page
from loadtest.report.record import Record, RunFacts, Sample
from loadtest.report.series import calls_of, series_of, slice_seconds
from loadtest.verdict.finding import Finding, Outcome
from loadtest.verdict.run import Verdict

FOLDER = Path(__file__).parents[3] / "loadtest" / "scenarios"


def reserve(at: float, seconds: float, **changes: object) -> Attempt:
    one = Attempt("reserve", "buyer", f"b{at}", 201, at, seconds, f"k{at}")
    return msgspec.structs.replace(one, **changes)


def record(*attempts: Attempt) -> Record:
    history = History(complete=True)
    history.attempts.extend(attempts)
    samples = tuple(Sample(1000.0 + at, 10 - at, at, 0) for at in range(3))
    return Record(
        RunFacts("drop", "<about>", "s", 1000.0, 1004.0, {"a": {"b": 1}}), samples, history
    )


def verdict(outcome: Outcome) -> Verdict:
    return Verdict("s", (Finding(7, "agree", outcome, "detail", ("<example>",)),))


def test_every_scenario_has_a_plan_and_a_locustfile() -> None:
    assert len(SCENARIOS) == 8
    for name in SCENARIOS:
        plan = Plan.beside(str(FOLDER / f"{name}.py"))
        assert plan.name == name
        assert "scenario(__file__" in (FOLDER / f"{name}.py").read_text()
        spec = msgspec.json.decode(plan.spec(0.0))
        assert all(item["stock"] >= 1 for item in spec["items"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[arrivals]\nshape = "cliff"', "cliff"),
        ("[buyer]\nthinks = 1", "thinks"),
        ("[sale]\nstock = 'many'", "stock"),
        ("[sale", "plan.toml"),
    ],
)
def test_a_plan_with_a_mistake_names_it(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "plan.toml").write_text(text)
    with pytest.raises(PlanError, match=says):
        Plan.beside(str(tmp_path / "plan.py"))


@pytest.mark.parametrize("name", CURVES)
def test_a_curve_stays_between_nobody_and_the_peak_and_reaches_it(name: str) -> None:
    values = [CURVES[name](step / 1000) for step in range(1001)]
    assert all(0 < value <= 1 for value in values)
    assert max(values) > 0.99


def test_a_timetable_follows_its_curve() -> None:
    due = list(timetable(CURVES["ramp"], 1000.0, 10.0, random.Random(3)))
    assert all(earlier <= later for earlier, later in pairwise(due))
    expected = 1000 * sum(CURVES["ramp"](step / 1000) / 100 for step in range(1000))
    assert len(due) == pytest.approx(expected, rel=0.05)
    assert sum(at < 2 for at in due) < sum(at > 8 for at in due) / 4


def test_visitors_end_with_the_last_who_leaves() -> None:
    visitors = Visitors(None, most=2)
    assert [visitors.take() is not None for _ in range(3)] == [True, True, False]
    visitors.leave()
    assert not visitors.is_over
    visitors.leave()
    assert visitors.is_over


def test_a_stalled_server_does_not_hide_behind_requests_never_sent() -> None:
    """One answer takes two seconds; requests due meanwhile are sent late and count as waiting."""
    stalled = reserve(1000.0, 2.0, scheduled_at=1000.0)
    late = [reserve(1002.0 + n / 100, 0.001, scheduled_at=1000.0 + n / 10) for n in range(1, 20)]
    as_sent, from_due = calls_of(record(stalled, *late))
    assert from_due.name == "reserve, from its due time"
    assert as_sent.percentiles_ms[0] == pytest.approx(1.0)
    assert from_due.percentiles_ms[0] > 1000


def test_series_count_each_answer_once() -> None:
    series = series_of(
        record(
            reserve(1000.1, 0.1),
            reserve(1000.2, 0.1, replayed=True),
            reserve(1001.1, 0.1, status=409, code="sold_out"),
            reserve(1002.1, 0.0, status=NO_ANSWER),
        )
    )
    counts = {name: sum(rates) * series.step_seconds for name, rates in series.answers.items()}
    assert counts == {"accepted": 1, "replayed": 1, "sold_out": 1, "no answer": 1}
    assert sum(series.arrivals) * series.step_seconds == 4


def test_the_queue_is_what_its_buyers_were_told() -> None:
    def told(call: str, buyer: str, at: float, state: str = "") -> Attempt:
        return Attempt(call, "buyer", buyer, 200, at, 0.0, state=state)

    series = series_of(
        record(
            told("join", "a", 1000.1, "waiting"),
            told("join", "b", 1000.2, "waiting"),
            told("poll", "a", 1001.1, "admitted"),
            told("reserve", "a", 1002.1),
            told("leave", "b", 1003.1),
        )
    )
    steps = round(1 / series.step_seconds)
    assert series.waiting[steps - 1 :: steps] == (2, 1, 1, 0)
    assert series.inside[steps - 1 :: steps] == (0, 1, 0, 0)


def test_a_sale_with_a_pre_queue_opens_by_itself() -> None:
    spec = msgspec.json.decode(Plan.beside(str(FOLDER / "drop.py")).spec(1_800_000_000.0))
    assert spec["waiting_room"]["prequeue_at"] == "2027-01-15T08:00:00.000+00:00"
    assert spec["opens_at"] == "2027-01-15T08:00:04.000+00:00"


@pytest.mark.parametrize("whole", [0.1, 3.0, 59.0, 3600.0, 1e6])
def test_slices_are_few_enough_to_look_at(whole: float) -> None:
    assert whole / slice_seconds(whole) <= 120


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.figures = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.figures += tag == "figure"
        self.outside += [
            value
            for name, value in attrs
            if name in {"src", "href", "xlink:href"} and value and not value.startswith("#")
        ]


@pytest.mark.parametrize("outcome", [Outcome.HELD, Outcome.BROKEN])
def test_a_report_is_one_file_that_says_how_it_ended(outcome: Outcome) -> None:
    text = page(record(reserve(1000.1, 0.1), reserve(1001.0, 0.2)), verdict(outcome))
    links = _Links()
    links.feed(text)
    assert links.outside == []
    assert links.figures == 5
    assert ("Every promise was kept." in text) is (outcome is Outcome.HELD)
    assert ("Broken: agree." in text) is (outcome is Outcome.BROKEN)
    assert "&lt;about&gt;" in text
    assert "&lt;example&gt;" in text


def test_a_report_has_no_colour_of_its_own() -> None:
    """Charts take the page's colours, light or dark."""
    text = page(record(reserve(1000.1, 0.1), reserve(1001.0, 0.2)), verdict(Outcome.HELD))
    drawn = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    assert "var(--good)" in drawn
    assert set(re.findall(r"#[0-9a-f]{6}\b", drawn)) == set()


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = record(reserve(1000.1, 0.1))
    written.write(tmp_path)
    read = Record.read(tmp_path)
    assert (read.facts, read.samples) == (written.facts, written.samples)
    assert read.history.attempts == written.history.attempts
