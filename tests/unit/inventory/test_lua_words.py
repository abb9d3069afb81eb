"""The same thing has one name in the scripts and in Python."""

import re
from typing import get_args

import msgspec
import pytest

from gateway.inventory.events import Event
from gateway.inventory.outcomes import Outcome
from gateway.inventory.types import ReservationState, SaleState
from lua.loader import HERE, ROOMS, load_scripts

SCRIPTS = load_scripts()
# These scripts change bookkeeping only, or nothing, so they write no event. A waiting room's
# scripts write none either: who waits is no part of a partition's history.
OF_ROOMS = {name for name in SCRIPTS if name.startswith("queue_")}
SILENT = {"snapshot", "trim"} | OF_ROOMS
# Two ways into the next epoch, one event: a server proven to be the same, or rebuilt. A read of a
# due hold takes the edge `expire`.
EVENT_OF = {"restore": "recover", "read": "expire"}
# Scripts that answer about a reservation; the others' words are about a partition or an item.
OF_RESERVATIONS = ("reserve", "confirm", "cancel", "extend", "return_units")


def _source(name: str) -> str:
    file = next(room / f"{name}.lua" for room in ROOMS if (room / f"{name}.lua").is_file())
    return file.read_text(encoding="utf-8")


def _event_types() -> set[str]:
    kinds = [msgspec.inspect.type_info(kind) for kind in get_args(Event)]
    return {str(kind.tag) for kind in kinds if isinstance(kind, msgspec.inspect.StructType)}


def _answered(name: str) -> set[str]:
    """The first words of the replies a script builds."""
    code = "\n".join(line.split("--")[0] for line in _source(name).splitlines())
    return set(re.findall(r"\{(?:number, )?'([a-z_]+)'", code))


def _documented(name: str) -> set[str]:
    """The words the header names as outcomes."""
    header = " ".join(
        line.removeprefix("--").strip()
        for line in _source(name).splitlines()
        if line.startswith("--")
    )
    listed = re.search(r"outcomes ((?:[a-z_]+, )*[a-z_]+)", header)
    return set(listed.group(1).split(", ")) if listed else set()


def test_states_of_a_reservation() -> None:
    text = (HERE / "include" / "status.lua").read_text(encoding="utf-8")
    table = re.search(r"^local ([A-Z, ]+) = ([0-9, ]+)$", text, re.MULTILINE)
    assert table is not None
    names, numbers = (group.split(", ") for group in table.groups())
    states = {state.name: state.value for state in ReservationState}
    assert dict(zip(names, map(int, numbers), strict=True)) == states


def test_states_of_a_sale() -> None:
    edges = re.search(r"local EDGES = \{\n(.*?)\n\}", _source("set_state"), re.DOTALL)
    assert edges is not None
    words = set(re.findall(r"[a-z]+(?= =)", edges.group(1)))
    # A draft has no partition yet, a settled sale none any more.
    assert words - {"true"} == set(SaleState) - {SaleState.DRAFT, SaleState.SETTLED}


def test_every_script_that_changes_something_has_its_event() -> None:
    assert {EVENT_OF.get(name, name) for name in set(SCRIPTS) - SILENT} == _event_types()


@pytest.mark.parametrize("name", sorted(set(SCRIPTS) - SILENT))
def test_a_script_writes_the_event_of_its_name(name: str) -> None:
    written = set(re.findall(r"append_event\(\w+, '(\w+)'", SCRIPTS[name].source.decode()))
    event = EVENT_OF.get(name, name)
    assert event in written
    # A script that meets a due hold expires it first.
    assert written <= {event, "expire"}


@pytest.mark.parametrize("name", sorted(SILENT))
def test_a_silent_script_writes_none(name: str) -> None:
    code = SCRIPTS[name].source.decode()
    assert "append_event(partition, '" not in code


@pytest.mark.parametrize("name", OF_RESERVATIONS)
def test_outcomes_are_known(name: str) -> None:
    answered = _answered(name)
    assert answered
    assert answered <= set(Outcome)


@pytest.mark.parametrize("name", OF_RESERVATIONS[1:])
def test_headers_name_every_outcome_and_no_other(name: str) -> None:
    assert _documented(name) == _answered(name)


def test_no_outcome_is_without_a_script() -> None:
    assert set().union(*map(_answered, OF_RESERVATIONS)) == set(Outcome)


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_headers_say_what_is_guaranteed_taken_and_returned(name: str) -> None:
    header = [line for line in _source(name).splitlines() if line.startswith("--")]
    assert header[0].startswith(f"-- {name}: ")
    starts = [line[3:].split(" ")[0] for line in header if line.startswith("-- ")]
    for word in ("Guarantees:", "KEYS", "RETURNS"):
        assert word in starts, word
