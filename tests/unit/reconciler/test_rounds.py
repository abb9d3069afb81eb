"""Which partitions recovery looks at closely: all in turns, and at once what is not as it was."""

from dataclasses import replace

import pytest

from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId
from gateway.inventory.redis.looks import Sight
from gateway.inventory.types import SaleState
from reconciler.duties import rounds
from reconciler.duties.directory import LivePartition
from reconciler.duties.rounds import CLOSELY_LEAST, ROUND_TURNS, Rounds, Turn
from reconciler.duties.sights import Seen

RUN = "run"
MANY = 40 * CLOSELY_LEAST
SIGHT = Sight(Position(1, 7), "open", RUN, RUN, 1000, (20, 8), holds=False)


def seen(number: int, sight: Sight | None = SIGHT) -> Seen:
    partition = PartitionId(f"sale-{number}", 0)
    live = LivePartition(partition, SaleState.OPEN, Position(1, 7), was_loaded=True, ledger=None)
    return Seen(live, sight)


def known(count: int, sight: Sight = SIGHT) -> tuple[Rounds, list[Seen]]:
    """Rounds that have found each of these partitions whole."""
    each_of, partitions = Rounds(), [seen(number, sight) for number in range(count)]
    for each in partitions:
        each_of.found_whole(each)
    return each_of, partitions


def closely(turn: Turn) -> set[PartitionId]:
    return {each.live.partition for each in turn.closely}


def test_all_partitions_have_their_turn_within_a_round() -> None:
    each_of, partitions = known(MANY)
    looked = set[PartitionId]()
    for _ in range(ROUND_TURNS):
        turn = each_of.begin(partitions, RUN)
        assert len(turn.closely) <= MANY / ROUND_TURNS + 1
        for each in turn.closely:
            each_of.found_whole(each)
        looked |= closely(turn)
    assert len(looked) == MANY


def test_a_few_partitions_are_looked_at_closely_in_every_turn() -> None:
    each_of, partitions = known(CLOSELY_LEAST)
    for _ in range(3):
        assert len(each_of.begin(partitions, RUN).closely) == CLOSELY_LEAST


@pytest.mark.parametrize(
    "found",
    [
        None,
        replace(SIGHT, run_id="another"),
        replace(SIGHT, server_run_id="another"),
        replace(SIGHT, shape=(19, 8)),
        replace(SIGHT, shape=(20, 7)),
    ],
)
def test_what_is_not_as_it_was_is_looked_at_at_once_until_it_is_whole(found: Sight | None) -> None:
    each_of, partitions = known(MANY)
    changed = MANY - 1
    partitions[changed] = seen(changed, found)
    for _ in range(3):
        turn = each_of.begin(partitions, RUN)
        assert partitions[changed].live.partition in closely(turn)
        assert partitions[changed].live.partition not in {key for key, _ in turn.alive}
    # It looks whole again; only a snapshot shows that it is.
    partitions[changed] = seen(changed)
    assert partitions[changed].live.partition in closely(each_of.begin(partitions, RUN))


def test_after_a_restart_of_redis_all_are_looked_at_closely() -> None:
    each_of, partitions = known(MANY)
    turn = each_of.begin(partitions, "another run")
    assert len(turn.closely) == MANY
    assert turn.alive == []


def test_a_new_partition_is_looked_at_closely() -> None:
    each_of, partitions = known(MANY)
    partitions.append(seen(MANY))
    assert partitions[MANY].live.partition in closely(each_of.begin(partitions, RUN))


def test_what_moves_is_as_whole_as_what_stands_still() -> None:
    each_of, partitions = known(MANY)
    moved = seen(MANY - 1, replace(SIGHT, position=Position(1, 8), state="paused", read_at=2000))
    partitions[MANY - 1] = moved
    assert moved.live.partition not in closely(each_of.begin(partitions, RUN))


def test_holds_are_noted_alive_in_every_turn_and_others_once_in_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    each_of, partitions = known(MANY)
    holder = seen(MANY - 1, replace(SIGHT, holds=True))
    partitions[MANY - 1] = holder
    for _ in range(3):
        turn = each_of.begin(partitions, RUN)
        assert turn.alive == [(holder.live.partition, SIGHT.read_at)]
    monkeypatch.setattr(rounds, "ALIVE_SECONDS", -1.0)
    turn = each_of.begin(partitions, RUN)
    assert len(turn.alive) + len(turn.closely) == MANY
