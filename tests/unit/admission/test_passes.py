"""Tickets and admissions: changed by a bit, or used for another buyer or sale, they are void."""

import pytest

from gateway.admission.passes import NUMBER_MAX, Admission, InvalidPass, Passes, passes_of

KEY = b"k" * 32
NOW_MS = 1_800_000_000_000
LATER_MS = NOW_MS + 60_000
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.fixture
def passes() -> Passes:
    return Passes(KEY, "drop")


@pytest.mark.parametrize("number", [1, 255, 1_000_000, NUMBER_MAX])
def test_a_ticket_gives_its_number_back(passes: Passes, number: int) -> None:
    assert passes.number_of(passes.ticket("ann", number), "ann") == number


def test_an_admission_gives_its_number_and_end_back(passes: Passes) -> None:
    token = passes.admission("ann", 17, LATER_MS)
    assert passes.admitted(token, "ann", NOW_MS) == Admission(17, LATER_MS)


def test_passes_are_short_and_fit_a_header(passes: Passes) -> None:
    assert len(passes.ticket("b" * 128, NUMBER_MAX)) == 28
    assert len(passes.admission("b" * 128, NUMBER_MAX, LATER_MS)) == 36
    assert set(passes.ticket("ann", 1) + passes.admission("ann", 1, LATER_MS)) <= set(ALPHABET)


def test_a_pass_expires_at_its_instant(passes: Passes) -> None:
    token = passes.admission("ann", 17, LATER_MS)
    assert passes.admitted(token, "ann", LATER_MS - 1).number == 17
    with pytest.raises(InvalidPass, match="expired"):
        passes.admitted(token, "ann", LATER_MS)


@pytest.mark.parametrize(
    ("key", "sale", "buyer"),
    [
        (KEY, "drop", "bob"),
        (KEY, "drop", "ann "),
        (KEY, "other", "ann"),
        (KEY, "dropann", ""),
        (b"l" * 32, "drop", "ann"),
    ],
)
def test_a_pass_is_for_one_buyer_of_one_sale(
    passes: Passes, key: bytes, sale: str, buyer: str
) -> None:
    other = Passes(key, sale)
    with pytest.raises(InvalidPass):
        other.number_of(passes.ticket("ann", 17), buyer)
    with pytest.raises(InvalidPass):
        other.admitted(passes.admission("ann", 17, LATER_MS), buyer, NOW_MS)


def test_every_altered_character_is_noticed(passes: Passes) -> None:
    ticket, token = passes.ticket("ann", 17), passes.admission("ann", 17, LATER_MS)
    for index in range(len(ticket)):
        for character in set(ALPHABET) - {ticket[index]}:
            with pytest.raises(InvalidPass):
                passes.number_of(ticket[:index] + character + ticket[index + 1 :], "ann")
    for index in range(len(token)):
        for character in set(ALPHABET) - {token[index]}:
            with pytest.raises(InvalidPass):
                passes.admitted(token[:index] + character + token[index + 1 :], "ann", NOW_MS)


def test_one_kind_is_not_taken_for_the_other(passes: Passes) -> None:
    with pytest.raises(InvalidPass):
        passes.admitted(passes.ticket("ann", 17), "ann", NOW_MS)
    with pytest.raises(InvalidPass):
        passes.number_of(passes.admission("ann", 17, LATER_MS), "ann")


@pytest.mark.parametrize(
    "text", ["", "A", "A" * 27, "A" * 29, "A" * 36, "A" * 10_000, "ü" * 28, "+" * 28, "=" * 28]
)
def test_what_is_no_pass_is_refused(passes: Passes, text: str) -> None:
    with pytest.raises(InvalidPass):
        passes.number_of(text, "ann")
    with pytest.raises(InvalidPass):
        passes.admitted(text, "ann", NOW_MS)


def test_the_passes_of_a_sale_are_made_once() -> None:
    assert passes_of(KEY, "drop") is passes_of(KEY, "drop")
    assert passes_of(KEY, "drop") is not passes_of(KEY, "other")
