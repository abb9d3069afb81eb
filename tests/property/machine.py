"""The scripts in a real Redis against the model, step by step, and against their own events.

TIME cannot be set, but the partition's clock is `max(TIME, last_time) - shift`, so lowering `shift`
lets time pass, and raising `last_time` as well puts the clock on a deadline to the millisecond.
The model takes the wall time out of each reply, so nothing here depends on how fast a step is.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.inventory.events import Event, Position, Reserve
from gateway.inventory.outcomes import AdjustReply, EdgeReply, ReserveReply
from gateway.inventory.store import ExpireReply
from gateway.inventory.types import Reservation, ReservationState
from tests.property.actions import Action, actions
from tests.property.edges import Model
from tests.property.fold import fold
from tests.property.model import CONFIRMED, HELD
from tests.property.sales import BUYERS, own_buyer, sales
from tests.support.scripts.answers import Answer, SnapshotAnswer
from tests.support.scripts.harness import RUN_ID, Rig
from tests.support.scripts.sale import FAR_MS, Ask, Lines, Sale, token
from tests.support.scripts.state import check_state, read_state, run

Reply = ReserveReply | EdgeReply | AdjustReply

# How far ahead of TIME the clock stops: longer than the next call takes to come.
LAND_AHEAD_MS = 250


class PartitionMachine(RuleBasedStateMachine):
    """One partition; `make_rig` gives an empty server, `seen` counts (script, outcome)."""

    def __init__(self, make_rig: Callable[[], Rig], seen: Counter[tuple[str, str]]) -> None:
        super().__init__()
        self.rig = make_rig()
        self.seen = seen
        self.fresh = 100
        self.admissions = 0
        self.model: Model
        self.history: list[Event] = []
        self.moves: list[tuple[int, int]] = []
        self.clock_set_at = 0
        self.agreed = False

    @initialize(sale=sales, opened=st.sampled_from((True,) * 9 + (False,)))
    def load(self, sale: Sale, *, opened: bool) -> None:
        self.rig.sale = sale
        answer = self.rig.call("load", sale.config())
        assert answer.read(tuple[str]) == ("loaded",)
        self.model = Model(sale, RUN_ID, int(answer.wall_ms))
        if opened:
            self._set_state("open", 0)
            self.reserve_anew([(("tee", 1),)] * 3, ("new",) * 3)

    @rule(action=actions)
    def step(self, action: Action) -> None:
        """One rule that chooses by weight; of many rules, a run would leave out half."""
        self.agreed = False
        name, arguments = action
        getattr(self, name)(**arguments)

    # -- calls ------------------------------------------------------------------------------------

    def reserve(self, batch: tuple[Ask, ...], passes: tuple[str, ...]) -> None:
        pairs = zip(batch, passes, strict=False)
        self._reserve(tuple(self._admitted(self._known(ask), shown) for ask, shown in pairs))

    def reserve_anew(self, wanted: list[Lines], passes: tuple[str, ...]) -> None:
        batch = []
        for part, shown in zip(wanted, passes, strict=False):
            self.fresh += 1
            name = f"n{self.fresh}"
            ask = self._known(Ask(name, own_buyer(name), part, "f1"))
            batch.append(self._admitted(ask, shown))
        self._reserve(tuple(batch))

    def retry(self, which: int, wanted: Lines) -> None:
        """Retry beside a new request, so that a batch is always mixed."""
        claim = self.model.claims.get(self._name(which))
        if claim is None:
            return
        self.fresh += 1
        name = f"n{self.fresh}"
        again = Ask(claim.name, claim.buyer, self._existing(wanted), claim.fingerprint)
        new = self._admitted(self._known(Ask(name, own_buyer(name), wanted, "f1")), "new")
        self._reserve((again, new))

    def confirm(self, which: int, payment: str, part: Lines | int) -> None:
        name = self._name(which)
        part = self._part(name, part)
        answer = self._call("confirm", token(name), payment, self._triples(part))
        expected = self.model.confirm(int(answer.wall_ms), name, payment, part)
        self._agree("confirm", answer.read(EdgeReply), expected)

    def cancel(self, which: int) -> None:
        name = self._name(which)
        answer = self._call("cancel", token(name), "ann")
        expected = self.model.cancel(int(answer.wall_ms), name, "ann")
        self._agree("cancel", answer.read(EdgeReply), expected)

    def extend(self, which: int, milliseconds: int) -> None:
        name = self._name(which)
        # Chosen by the other arguments: one more drawn value would change every seeded run.
        key = "" if milliseconds == 1 or (milliseconds == 250 and which % 2) else "k"
        claim = self.model.claims.get(name)
        if claim is not None and key in claim.extend_keys and which % 2 == 0:
            milliseconds = claim.extend_keys[key]  # few calls would be the same by chance
        answer = self._call("extend", token(name), milliseconds, token(key) if key else "")
        expected = self.model.extend(int(answer.wall_ms), name, milliseconds, key)
        self._agree("extend", answer.read(EdgeReply), expected)

    def return_units(
        self, which: int, key: str, part: Lines | int, *, restock: bool, fingerprint: str
    ) -> None:
        name = self._name(which, CONFIRMED)
        part = self._part(name, part)
        request = (token(name), token(key), self._triples(part), restock, "refund", fingerprint)
        answer = self._call("return_units", *request)
        expected = self.model.return_units(
            int(answer.wall_ms), name, key, part, restock=restock, fingerprint=fingerprint
        )
        self._agree("return_units", answer.read(EdgeReply), expected)

    def adjust(self, number: int, delta: int) -> None:
        account = number % len(self.model.accounts) + 1
        # Chosen by the other arguments: one more drawn value would change every seeded run.
        key, fingerprint = "" if delta in {3, -4} else f"k{account % 2}", f"f{abs(delta)}"
        named, preview = token(key) if key else "", False
        request = (account, delta, "recount", "ops", preview, named, fingerprint)
        answer = self._call("adjust", *request)
        expected = self.model.adjust(int(answer.wall_ms), account, delta, (key, fingerprint))
        self._agree("adjust", answer.read(AdjustReply), expected)

    def set_state(self, to: str, item: int) -> None:
        self._set_state(to, item % (len(self.model.sale.items) + 1))

    def expire(self, most: int) -> None:
        answer = self.rig.call("expire", b"%d" % most)
        expected = self.model.expire(int(answer.wall_ms), most)
        reply = answer.read(ExpireReply)
        said = (reply.expired, reply.still_due, reply.next_deadline, reply.without_record)
        assert said == (*expected, 0)
        assert reply.hold_ms == self.model.sale.hold_ms

    def trim(self, behind: int) -> None:
        watermark = max(0, self.model.sequence - behind)
        answer = self.rig.call("trim", b"%d" % watermark)
        assert answer.read(tuple[int, int]) == self.model.trim(watermark)

    def recover(self, run_id: str, ahead: int, off: int, outage: int, alive: int) -> None:
        """The server was away for `outage` since its last write, and was seen alive after that."""
        model = self.model
        if model.epoch + ahead < 2 or model.sequence + off < 0:
            return
        if model.sale.rate is None:  # a bucket knows no time before its own
            self._set_clock(model.last_time - outage)
        closed = Position(model.epoch if ahead else model.epoch - 1, model.sequence + off)
        alive_at = model.last_time + alive - 100
        answer = self.rig.recover(run_id, model.epoch + ahead, closed, alive_at)
        expected = model.recover(int(answer.wall_ms), run_id, model.epoch + ahead, closed, alive_at)
        assert answer.read(tuple[str]) == (expected,)
        self.rig.run_id, self.rig.epoch = model.run_id, model.epoch

    def rebase(self, most: int) -> None:
        """The partition's wall clock is ahead of the server's wherever a test has stopped it."""
        model = self.model
        if model.sale.rate is not None:
            return  # a bucket knows no time before its own
        answer = self.rig.call("rebase", b"%d" % most)
        outcome, ahead = answer.read(tuple[str, int])
        assert outcome == ("rebased" if ahead > most else "in_step")
        if outcome == "rebased":
            model.rebase(int(answer.wall_ms), ahead)
        assert answer.shift_ms == model.shift

    # -- looking ----------------------------------------------------------------------------------

    def look(self, run_id: str, ahead: int) -> None:
        """A caller of another run or epoch, a load and a snapshot change nothing; a read only
        expires due holds.
        """
        model = self.model
        if (run_id, ahead) != (model.run_id, 0):
            request = self.rig.pack_asks(self._known(Ask("eve", "eve", (("tee", 1),))))
            answer = self.rig.raw(
                "reserve", run_id.encode(), b"%d" % (model.epoch + ahead), request
            )
            assert answer == Answer("fenced", model.epoch, run_id == model.run_id)
        answer = self.rig.call("load", model.sale.config())
        assert answer.read(tuple[str]) == ("already",)
        names = [*model.claims, "nobody"]
        answer = self.rig.call("read", self.rig.pack([token(name) for name in names]))
        assert answer.read(list[Reservation | bool]) == model.read(int(answer.wall_ms), names)
        answer = self.rig.raw("snapshot")
        state = model.as_state()
        assert answer.read(SnapshotAnswer) == SnapshotAnswer(
            *(model.sequence, model.state, model.run_id, model.ledger_sequence),
            *(len(state.events), len(model.due(int(answer.wall_ms))), len(model.claims)),
            tuple(state.stock.values()),
            tuple(i.sku for n, i in enumerate(model.sale.items, start=1) if n in model.paused),
        )

    # -- time -------------------------------------------------------------------------------------

    def time_passes(self, milliseconds: int) -> None:
        self._shift_by(-milliseconds)

    def stop_at_a_deadline(self, which: int, before: int) -> None:
        """The next call comes at the very deadline of a hold, or a millisecond before it."""
        held = sorted(c.deadline for c in self.model.claims.values() if c.state == HELD)
        if not held:
            return
        wall = max(self.rig.time_ms(), self.model.last_time)
        stop = wall + LAND_AHEAD_MS
        shift = stop - (held[which % len(held)] - before)
        if shift > self.model.shift:
            return  # the clock never runs backwards
        self._set_clock(stop)
        self._shift_by(shift - self.model.shift)

    # -- what is compared -------------------------------------------------------------------------

    @invariant()
    def agrees_with_the_model(self) -> None:
        self.agreed = False
        state = read_state(self.rig.client, self.rig.keys)
        assert state == self.model.as_state()
        check_state(state)
        self.agreed = True
        last = self.history[-1].position if self.history else Position(0, 0)
        self.history += [event for event in state.events if event.position > last]

    @invariant()
    def keeps_floor_and_limit(self) -> None:
        model = self.model
        for number, item in enumerate(model.sale.items, start=1):
            loaded = sum(units for _, units in item.stock)
            assert model.available(number) >= min(item.floor, loaded)
            for buyer in BUYERS:
                assert model.count_of(buyer, number) <= item.limit

    @invariant()
    def lets_nobody_in_twice(self) -> None:
        """Invariant 9, from the events alone."""
        if not self.model.sale.waiting_room:
            return
        reserves = [event for event in self.history if isinstance(event, Reserve)]
        spent = [(event.buyer_id, event.admission) for event in reserves]
        assert all(admission for _, admission in spent)
        assert len(set(spent)) == len(spent)

    def teardown(self) -> None:
        """Folding the events alone gives the partition that is in Redis."""
        if not self.agreed:
            return  # the failed step has been reported
        model = self.model
        folded = fold(model.sale, model.run_id, self.history, self.moves)
        folded.ledger_sequence, folded.outbox = model.ledger_sequence, model.outbox
        if self.clock_set_at == len(self.history):
            folded.last_time = model.last_time
        assert folded.as_state() == read_state(self.rig.client, self.rig.keys)

    # -- plumbing ---------------------------------------------------------------------------------

    def _reserve(self, batch: tuple[Ask, ...]) -> None:
        answer = self._checked(self.rig.call_reserve(*batch))
        replies = self.rig.replies(answer)
        expected = self.model.reserve(int(answer.wall_ms), batch)
        assert len(replies) == len(expected)
        for reply, wanted in zip(replies, expected, strict=True):
            self._agree("reserve", reply, wanted)

    def _agree(self, name: str, reply: Reply, expected: Reply) -> None:
        assert reply == expected
        self.seen[name, reply.outcome] += 1

    def _name(self, which: int, state: ReservationState = HELD) -> str:
        """A reservation of this state most of the time, any other, or none."""
        claims = self.model.claims
        likely = [claim.name for claim in claims.values() if claim.state == state]
        names = likely if likely and which % 4 else [*claims, "nobody"]
        return names[which % len(names)]

    def _call(self, name: str, *request: object) -> Answer:
        packed = request[0] if isinstance(request[0], bytes) else self.rig.pack(request)
        return self._checked(self.rig.call(name, packed))

    def _checked(self, answer: Answer) -> Answer:
        assert (answer.status, answer.detail) == ("ok", self.model.epoch), answer
        assert answer.shift_ms == self.model.shift
        assert answer.wall_ms >= self.model.last_time
        return answer

    def _set_state(self, to: str, item: int) -> None:
        answer = self._call("set_state", to, item, "ops")
        assert answer.read(tuple[str, str]) == self.model.set_state(int(answer.wall_ms), to, item)

    def _set_clock(self, last_time: int) -> None:
        self.rig.set_clock(last_time)
        self.model.last_time = last_time
        self.clock_set_at = len(self.history)

    def _shift_by(self, milliseconds: int) -> None:
        run(self.rig.client, "HINCRBY", self.rig.keys[0], "shift", milliseconds)
        self.model.shift += milliseconds
        self.moves.append((len(self.history), milliseconds))

    def _existing(self, wanted: Lines) -> Lines:
        """These lines, mapped to items and places of this sale."""
        items = self.model.sale.items
        kept: list[tuple[str, int] | tuple[str, int, str]] = []
        for line in wanted:
            item = items[len(line[0]) % len(items)]
            if len(line) == 3:
                kept.append((item.sku, line[1], item.stock[len(line[2]) % len(item.stock)][0]))
            else:
                kept.append((item.sku, line[1]))
        return tuple(kept)

    def _part(self, name: str, part: Lines | int) -> Lines:
        if not isinstance(part, int):
            return self._existing(part)
        claim = self.model.claims.get(name)
        account = self.model.accounts[next(iter(claim.lines))] if claim else None
        return ((account.sku, part),) if account else ()

    def _known(self, ask: Ask) -> Ask:
        return dataclasses.replace(ask, lines=self._existing(ask.lines))

    def _admitted(self, ask: Ask, shown: str) -> Ask:
        """The ask with the admission it shows; numbers are given out in order, as by a room."""
        self.admissions += 1
        spent = self.model.spent_by(ask.buyer)
        numbers = {"none": 0, "spent": spent, "older": max(0, spent - 1)}
        ends_at = {"late": self.model.last_time, "last moment": self.model.last_time + 1}
        return dataclasses.replace(
            ask,
            metered=self.admissions % 5 > 0,
            admission=numbers.get(shown, self.admissions),
            admission_ends_at=ends_at.get(shown, FAR_MS),
        )

    def _triples(self, wanted: Lines) -> tuple[int, ...]:
        return self.model.sale.triples(wanted)
