"""restore: a lost partition, rebuilt in stages that answer nobody until it is whole."""

import msgspec
import pytest

from gateway.inventory.events import Position, Recover, Reserve
from gateway.inventory.types import ClosedEpoch, RestoreEntry, nested
from tests.support.scripts.answers import Answer
from tests.support.scripts.calls import EVERY, arguments, prepare
from tests.support.scripts.harness import Rig
from tests.support.scripts.sale import Ask, Item, Sale, token
from tests.support.scripts.state import COUNTERS, Buyer, PartitionState, run

NEXT_RUN = "b" * 40
CLOSED = Position(1, 9)


def _stage(rig: Rig, *request: object, epoch: int = 2, run_id: str = NEXT_RUN) -> Answer:
    return rig.raw("restore", run_id.encode(), b"%d" % epoch, rig.pack(request))


def _word(rig: Rig, *request: object, epoch: int = 2, run_id: str = NEXT_RUN) -> str:
    return _stage(rig, *request, epoch=epoch, run_id=run_id).read(tuple[str])[0]


def _begin(rig: Rig, state: PartitionState) -> tuple[object, ...]:
    """Begin a restore: the config packed by `load`, and each account's counters."""
    counters = [[getattr(account, name) for name in COUNTERS] for account in state.stock.values()]
    return ("begin", rig.sale.fields(), counters, state.meta.adjustments)


def _records(state: PartitionState) -> list[RestoreEntry]:
    """In the order of acceptance, each as it is stored: the last three fields once they exist, and
    behind it the instant of its last event and the admission its event says it spent.
    """
    instants = {(event.epoch, event.sequence): event.occurred_at for event in state.events}
    reserves = [event for event in state.events if isinstance(event, Reserve)]
    spent = {event.reservation_id.rpartition(".")[2]: event.admission for event in reserves}
    found = sorted(state.records.items(), key=lambda known: known[1].accepted_sequence)
    packed: list[RestoreEntry] = []
    for name, record in found:
        fields = list(msgspec.structs.astuple(record))
        while not fields[-1]:
            fields.pop()
        at = instants[record.epoch, record.sequence]
        packed.append((name, nested(fields), at, spent[name] or 0))
    return packed


def _chunk(entries: list[RestoreEntry]) -> tuple[object, ...]:
    return ("chunk", [value for entry in entries for value in entry])


def _commit(state: PartitionState, sale_state: str = "open") -> tuple[object, ...]:
    held = len(state.deadlines)
    closed = (CLOSED.epoch, CLOSED.sequence)
    return ("commit", len(state.records), held, *closed, sale_state, 1234)


def _rich(rig: Rig) -> PartitionState:
    """Every state of a reservation, several of one buyer, adjusted stock."""
    prepare(rig)
    rig.cancel("alone", "bob")
    rig.expire()
    rig.return_units("sold", lines=(("cap", 1),))
    rig.hold("held-2", (("cap", 1),))
    rig.extend("held", 5000)
    rig.adjust("cap", -2)
    rig.adjust("cap", 2, once=("delivery", "f1"))
    return rig.state()


def _restored(rig: Rig, before: PartitionState) -> PartitionState:
    assert _word(rig, *_begin(rig, before)) == "begun"
    assert _word(rig, *_chunk(_records(before))) == "stored"
    assert _word(rig, *_commit(before)) == "restored"
    rig.run_id, rig.epoch = NEXT_RUN, 2
    return rig.state()


def test_remembers_the_epochs_that_the_ledger_has_closed(rig: Rig) -> None:
    before = _rich(rig)
    assert _word(rig, *_begin(rig, before)) == "begun"
    assert _word(rig, *_chunk(_records(before))) == "stored"
    closed = (ClosedEpoch(1, 9, "00ff", 2),)
    assert _word(rig, *_commit(before), closed) == "restored"
    assert rig.state().meta.closed_epochs == closed


@pytest.mark.parametrize("lost", [True, False], ids=["lost", "outdated"])
def test_makes_the_partition_the_ledger_knows(rig: Rig, *, lost: bool) -> None:
    before = _rich(rig)
    if lost:
        run(rig.client, "FLUSHDB")
    at = rig.time_ms()
    after = _restored(rig, before)
    assert after.stock == before.stock
    assert after.records == before.records
    assert after.buyers == before.buyers
    assert after.deadlines == before.deadlines
    assert after.meta.catalog == before.meta.catalog
    assert len(after.meta.adjustments) == 3
    assert after.meta.adjustments == before.meta.adjustments
    assert (after.meta.run_id, after.meta.epoch, after.meta.sequence) == (NEXT_RUN, 2, 1)
    assert (after.meta.state, after.meta.shift, after.meta.ledger_sequence) == ("open", 0, 0)
    assert at <= after.meta.last_time <= rig.time_ms()
    assert after.events == (
        Recover(
            **(rig.numbered(1, epoch=2) | {"occurred_at": after.meta.last_time}),  # type: ignore[arg-type]
            previous=CLOSED,
            shift_ms=1234,
            restored=True,
        ),
    )


def test_brings_back_every_counter_that_the_scripts_can_reach(rig: Rig) -> None:
    """A return is never refused, so it takes an account beyond what `adjust` may fill it to."""
    most = 10**9
    rig.open(Sale(items=(Item("tee", stock=(("default", most),), limit=most),)))
    rig.hold("a", (("tee", most),))
    rig.confirm("a")
    assert rig.adjust("tee", most).outcome == "adjusted"
    rig.return_units("a")
    before = rig.state()
    assert before.stock["tee", "default"].available == 2 * most
    assert _restored(rig, before).stock == before.stock


def test_brings_back_the_highest_admission_each_buyer_has_spent(rig: Rig) -> None:
    rig.open(Sale(waiting_room=True, items=(Item("tee"),)))
    for number, name in enumerate(("a", "b", "c"), start=1):
        rig.reserve(Ask(name, admission=number))
    rig.cancel("c")
    rig.reserve(Ask("d", "bob", admission=9))
    rig.cancel("d", "bob")
    before = rig.state()
    after = _restored(rig, before)
    assert after.buyers == before.buyers
    assert {name: buyer.admission for name, buyer in after.buyers.items()} == {"ann": 3, "bob": 9}
    for buyer, number in (("ann", 3), ("bob", 9)):
        (reply,) = rig.reserve(Ask("again", buyer, admission=number))
        assert (reply.outcome, reply.detail) == ("not_admitted", "spent")


def test_brings_back_what_was_given_back_but_no_running_wait(rig: Rig) -> None:
    rig.open(Sale(cooldown=(2, 60_000, 600_000)))
    for name in ("a", "b"):
        rig.hold(name)
        rig.cancel(name)
    before = rig.state()
    assert before.buyers["ann"].cools_until > 0
    after = _restored(rig, before)
    assert after.buyers == {"ann": Buyer({}, given_back=2)}
    rig.hold("c")
    rig.cancel("c")
    assert rig.reserve(Ask("d"))[0].outcome == "cooling_down"


@pytest.mark.parametrize("backwards", [False, True])
def test_brings_back_what_still_counts_as_unpaid(rig: Rig, *, backwards: bool) -> None:
    """Chunks come in any order, and so do the reservations that were given back."""
    rig.open(Sale(unpaid_per_buyer=4, unpaid_window_ms=1000))
    rig.set_clock(rig.clock // 1000 * 1000)
    for name, wait_ms in (("a", 600), ("b", 600), ("c", 10), ("d", 10), ("e", 0)):
        rig.hold(name)
        rig.cancel(name)
        rig.advance(wait_ms)
    before = rig.state()
    assert before.buyers == {
        "ann": Buyer({}, given_back=5, unpaid=3, unpaid_window=rig.clock // 1000)
    }
    entries = _records(before)
    assert _word(rig, *_begin(rig, before)) == "begun"
    for entry in reversed(entries) if backwards else entries:
        assert _word(rig, *_chunk([entry])) == "stored"
    assert _word(rig, *_commit(before)) == "restored"
    assert rig.state().buyers == before.buyers


def test_goes_on_selling(rig: Rig) -> None:
    before = _rich(rig)
    _restored(rig, before)
    with rig.step() as step:
        rig.hold("new", (("cap", 1),), buyer="eve")
        rig.confirm("held")
        rig.return_units("sold", "key-2")
        assert rig.return_units("sold").outcome == "replayed"
    assert [event.sequence for event in step.events] == [2, 3, 4]


def test_answers_nobody_before_it_is_whole(rig: Rig) -> None:
    before = _rich(rig)
    given = {name: arguments(rig, name) for name in EVERY}
    stages = (_begin(rig, before), _chunk(_records(before)))
    for stage in stages:
        _stage(rig, *stage)
        for name, valid in given.items():
            with rig.unchanged():
                assert rig.raw(name, *valid).status == "recovering", name


def test_every_stage_may_be_repeated(rig: Rig) -> None:
    before = _rich(rig)
    records = _records(before)
    _stage(rig, *_begin(rig, before))
    _stage(rig, *_chunk(records[:3]))
    assert _word(rig, *_begin(rig, before)) == "begun"
    assert _word(rig, *_chunk([*records[:3], records[0]])) == "stored"
    assert _word(rig, *_chunk(records)) == "stored"
    with rig.unchanged():
        assert _word(rig, *_chunk(records)) == "stored"
    assert _word(rig, *_commit(before)) == "restored"
    with rig.unchanged():
        for stage in (_begin(rig, before), _chunk(records), _commit(before)):
            assert _word(rig, *stage) == "already"
            assert _word(rig, *stage, run_id="c" * 40) == "differs"
    rig.run_id, rig.epoch = NEXT_RUN, 2
    assert rig.state().records == before.records


def test_an_older_rebuild_comes_too_late(rig: Rig) -> None:
    before = _rich(rig)
    stages = (_begin(rig, before), _chunk(_records(before)), _commit(before))
    assert _word(rig, *stages[0], epoch=5) == "begun"
    with rig.unchanged():
        for stage in stages:
            assert _word(rig, *stage, epoch=4) == "newer"
    assert _word(rig, *stages[0], epoch=6) == "begun"
    with rig.unchanged():
        for stage in stages:
            assert _word(rig, *stage, epoch=5) == "newer"


@pytest.mark.parametrize("loaded", [True, False])
def test_nothing_goes_before_begin(rig: Rig, *, loaded: bool) -> None:
    before = _rich(rig)
    if not loaded:
        run(rig.client, "FLUSHDB")
    with rig.unchanged():
        assert _word(rig, *_chunk(_records(before))) == "not_begun"
        assert _word(rig, *_commit(before)) == "not_begun"


def test_a_chunk_that_never_came_differs(rig: Rig) -> None:
    before = _rich(rig)
    _stage(rig, *_begin(rig, before))
    for part in ([], _records(before)[:-1]):
        if part:
            _stage(rig, *_chunk(part))
        with rig.unchanged():
            assert _word(rig, *_commit(before)) == "differs"


RECORD: list[object] = [1, 1, 3, 1, 3, 99, 0, "ann", "order-1", [1, 1]]
PAID: list[object] = [*RECORD, "pay-1", [1, 1], ["key:return"]]
NO_CHUNKS: tuple[object, ...] = (
    *(None, [], 7, [7], [[]], [[token("a"), nested(RECORD), 0, 0]], [token("a")]),
    *([token("a"), nested(RECORD)], [token("a"), nested(RECORD), 0]),
    *([token("a"), RECORD, 0, 0], ["a", nested(RECORD), 0, 0]),
    *([token("a"), "", 0, 0], [token("a"), "\x93\x01", 0, 0], [token("a"), "text", 0, 0]),
)
COMMIT: tuple[object, ...] = ("commit", 1, 1, 1, 9, "open", 0)
COUNTS = [10, 0, 0, 0, 9, 1, 0]
BROKEN: tuple[tuple[object, ...], ...] = (
    *((), ("finish",), (7,), ("begin",), ("begin", None, None), ("chunk",), ("commit",)),
    *(("begin", Sale().fields(), counts) for counts in (None, [], [COUNTS, COUNTS], [COUNTS[:-1]])),
    *(("begin", Sale().fields(), [[*COUNTS[:-1], n]]) for n in (1, -1, 0.5, "0", None)),
    ("begin", Sale().fields()[:-1], [COUNTS]),
    *(("chunk", chunk) for chunk in NO_CHUNKS),
    *(
        ("chunk", [token("a"), nested([*PAID[:place], value, *PAID[place + 1 :]]), 0, 0])
        for place, values in (
            *((0, (0, 5, 1.5, "1", None)), (5, (-1, 0.5, "x", None)), (6, (-1, None))),
            *((7, ("", 7, None, "x" * 129)), (8, ("", 7, 'a"b'))),
            (9, (None, 7, [1], [2, 1], [0, 1], [1, 0], [1, 1.5], [1, "1"])),
            *((10, ("", 7, "x" * 256)), (11, (7, [1], [2, 1], [1, 0], [1, "1"])), (12, (7, None))),
        )
        for value in values
    ),
    ("chunk", [value for n in range(2001) for value in (token(str(n)), nested(RECORD), 0, 0)]),
    *(("chunk", [token("a"), nested(RECORD), 0, spent]) for spent in (-1, 0.5, "1", None, 10**14)),
    *(("chunk", [token("a"), nested(RECORD), at, 0]) for at in (-1, 0.5, "1", None, 10**14)),
    *(
        (*COMMIT[:place], value, *COMMIT[place + 1 :])
        for place, values in (
            *((1, (-1, 0.5, "1", None)), (2, (-1, "1", None)), (3, (2, -1, 0.5, None))),
            *((4, (-1, 0.5, None)), (5, ("draft", "", 7, None)), (6, (-1, 0.5, None))),
        )
        for value in values
    ),
)


@pytest.mark.parametrize("request_", BROKEN, ids=range(len(BROKEN)))
def test_malformed(rig: Rig, request_: tuple[object, ...]) -> None:
    rig.load(Sale())
    _stage(rig, "begin", Sale().fields(), [COUNTS])
    with rig.unchanged():
        assert _stage(rig, *request_).status == "malformed"


@pytest.mark.parametrize("epoch", [b"", b"0", b"1", b"-2", b"2.5", b"nan", b"1e10"])
def test_into_no_epoch(rig: Rig, epoch: bytes) -> None:
    prepare(rig)
    request = rig.pack(_begin(rig, rig.state()))
    with rig.unchanged():
        assert rig.raw("restore", NEXT_RUN.encode(), epoch, request).status == "malformed"
        assert rig.raw("restore", b"", b"2", request).status == "malformed"
        keys = rig.keys[:5]
        assert rig.raw("restore", b"b", b"2", request, keys=keys).status == "malformed"
