"""The draw: every buyer gets a place of their own, and all places are equally likely."""

import struct
from collections import Counter
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.admission.waiting_room.draw import Draw, commitment_of
from gateway.admission.waiting_room.drawing import gone_by_place

SEED = bytes(range(32))
# Chi-square with 99 degrees of freedom stays below this but once in ten thousand.
CHI_SQUARE_99 = 161.3

PLACES_OF_TEN = [1, 3, 5, 10, 8, 2, 6, 9, 4, 7]

seeds = st.binary(min_size=32, max_size=32)


@settings(deadline=None)
@given(seeds, st.integers(0, 600))
def test_it_is_a_permutation_of_exactly_those_who_joined(seed: bytes, count: int) -> None:
    draw = Draw(seed, count)
    places = [draw.place_of(number) for number in range(1, count + 1)]
    assert sorted(places) == list(range(1, count + 1))
    assert [draw.number_of(place) for place in places] == list(range(1, count + 1))


@settings(deadline=None)
@given(seeds, st.integers(1, 2**40), st.data())
def test_large_draws_come_back_too(seed: bytes, count: int, data: st.DataObject) -> None:
    number = data.draw(st.integers(1, count))
    place = Draw(seed, count).place_of(number)
    assert 1 <= place <= count
    assert Draw(seed, count).number_of(place) == number


@pytest.mark.parametrize("count", [100, 997, 10_000])
def test_a_number_gets_every_place_equally_often(count: int) -> None:
    """One number over many seeds, and one seed over all numbers, in a hundred bins each."""
    trials = 20_000
    bins: Counter[int] = Counter()
    for trial in range(trials):
        seed = sha256(struct.pack(">Q", trial)).digest()
        bins[(Draw(seed, count).place_of(1) - 1) * 100 // count] += 1
    sizes = Counter(place * 100 // count for place in range(count))
    chi_square = sum(
        (bins[b] - trials * sizes[b] / count) ** 2 / (trials * sizes[b] / count) for b in sizes
    )
    assert chi_square < CHI_SQUARE_99


def test_the_first_to_join_are_spread_over_the_whole_line() -> None:
    draw = Draw(SEED, 10_000)
    bins = Counter((draw.place_of(number) - 1) // 100 for number in range(1, 2_001))
    assert sum((bins[b] - 20) ** 2 / 20 for b in range(100)) < CHI_SQUARE_99


def test_the_negative_control_no_shuffle_is_found_out() -> None:
    bins = Counter((number - 1) // 100 for number in range(1, 2_001))
    assert sum((bins[b] - 20) ** 2 / 20 for b in range(100)) > CHI_SQUARE_99


def test_places_are_what_they_were_when_this_was_written() -> None:
    """Places that were written down, or that another program computes, must agree for ever."""
    assert [Draw(SEED, 10).place_of(number) for number in range(1, 11)] == PLACES_OF_TEN
    assert commitment_of(SEED).hex() == (
        "630dcd2966c4336691125448bbb25b4ff412a49c732db2c8abc1b8581bd710dd"
    )


@pytest.mark.parametrize("number", [0, -1, 11])
def test_who_is_not_in_it_has_no_place(number: int) -> None:
    with pytest.raises(ValueError, match="not in a draw of 10"):
        Draw(SEED, 10).place_of(number)


@pytest.mark.parametrize(("seed", "count"), [(b"short", 1), (SEED, -1)])
def test_a_draw_needs_a_seed_and_a_count(seed: bytes, count: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Draw(seed, count)


@settings(deadline=None)
@given(st.sets(st.integers(1, 300)))
def test_who_has_left_by_number_is_gone_by_place(numbers: set[int]) -> None:
    draw = Draw(SEED, 300)
    bits = bytearray(300 // 8 + 1)
    for number in numbers:
        bits[number // 8] |= 0x80 >> number % 8
    gone = gone_by_place(draw, bytes(bits))
    found = {p for p in range(1, 301) if gone[p // 8] & (0x80 >> p % 8)}
    assert found == {draw.place_of(number) for number in numbers}
