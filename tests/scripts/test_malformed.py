"""Arguments no honest caller sends: each script says `malformed` and writes nothing."""

from collections.abc import Iterator

import msgspec
import pytest

from tests.support.scripts.calls import EVERY, arguments, prepare
from tests.support.scripts.harness import Rig
from tests.support.scripts.sale import token

PACKED = (
    *("adjust", "cancel", "confirm", "extend", "load", "read", "recover", "repair"),
    *("reserve", "return_units", "set_state"),
)
Wrong = tuple[object, ...]
NO_NUMBERS: Wrong = (
    *(None, True, "1", b"1", [], [1], {}, 1.5, 0.1, -1, 2**63),
    *(float("nan"), float("inf"), float("-inf")),
)
NO_UNITS: Wrong = (*NO_NUMBERS, 10**9 + 1, 1e10, 2**53)
NO_INSTANTS: Wrong = (*NO_NUMBERS, 10**14, 2**53)
NO_TEXTS: Wrong = (
    *(None, True, 1, [], {}, "", "x" * 256, "a\x00b", "a\nb", "\x7f"),
    # Invalid UTF-8: cut off, overlong, half a surrogate pair, beyond the last code point.
    *(msgspec.Raw(b"\xa2\xc3\x28"), msgspec.Raw(b"\xa1\xc3"), msgspec.Raw(b"\xa2\xff\xfe")),
    *(msgspec.Raw(b"\xa2\xc0\xaf"), msgspec.Raw(b"\xa3\xed\xa0\x80")),
    *(msgspec.Raw(b"\xa4\xf4\x90\x80\x80"), msgspec.Raw(b"\xa4\xe2\x82A\xac")),
)
NO_TOKENS: Wrong = (
    *(None, 7, [], "", "short", "x" * 21, "x" * 23, "x" * 21 + "\x00", "x" * 21 + "."),
    *("x" * 21 + '"', "ü" * 11),
)
NO_FINGERPRINTS: Wrong = (None, 1, "", "x" * 33, 'a"b', "a\x00", "a b", [])
NO_QUANTITIES: Wrong = (0, *NO_UNITS)
# Parts of a reservation are looked up, so an item that it lacks is `not_reserved`.
NO_SELECTION: Wrong = (
    *(None, "tee", 7, [1], [1, 0], [1, 0, 1, 1], [[1, 0, 1]], {"item": 1}, [1, 0, 1] * 65),
    *([wrong, 0, 1] for wrong in (0, *NO_UNITS)),
    *([1, wrong, 1] for wrong in NO_UNITS),
    *([1, 0, wrong] for wrong in NO_QUANTITIES),
)
NO_LINES: Wrong = ([], [3, 0, 1], [1, 4, 1], [1, 3, 1], *NO_SELECTION)
STATES: Wrong = ("draft", "settled", "OPEN", "", None, 1, ["open"], float("nan"))
# By script: invalid values for each place of its packed argument.
PLACES: dict[str, tuple[Wrong, ...]] = {
    "adjust": (
        (*NO_UNITS, 0, 4),
        tuple(wrong for wrong in NO_QUANTITIES if wrong != -1),
        *(NO_TEXTS, (*NO_TEXTS, "x" * 129)),
        (None, 0, 1, "true", []),
        *(tuple(wrong for wrong in NO_TOKENS if wrong != ""), NO_FINGERPRINTS),
    ),
    "cancel": (NO_TOKENS, (*NO_TEXTS, "x" * 129)),
    "confirm": (NO_TOKENS, NO_TEXTS, NO_SELECTION),
    "extend": (NO_TOKENS, NO_QUANTITIES),
    "recover": ((*NO_UNITS, 0, 2), NO_INSTANTS, NO_INSTANTS),
    "repair": (
        (None, 7, "", "record", [], "Account"),
        (*NO_TEXTS, "7", "7:", ":1", "a:1", "7:1:1", '7:1"', "1" * 40 + ":1"),
        *((*NO_TEXTS, "x" * 129), NO_TOKENS, (*NO_UNITS,), NO_INSTANTS),
        (None, True, 7, "tee", [], [7], {}),
    ),
    "return_units": (
        *(NO_TOKENS, NO_TOKENS, NO_SELECTION, (None, 1, "true", [])),
        *(NO_TEXTS, NO_FINGERPRINTS),
    ),
    "set_state": (STATES, (*NO_UNITS, 3), (*NO_TEXTS, "x" * 129)),
}
REQUEST: tuple[Wrong, ...] = (
    *((*NO_NUMBERS, 2**40), NO_TOKENS, (*NO_TEXTS, "x" * 129), NO_FINGERPRINTS, NO_LINES),
    *(NO_INSTANTS, NO_INSTANTS, (None, 0, 1, "true", [])),
)
LOAD: tuple[Wrong, ...] = (
    (None, 7, "", "-drop", "Drop", "a" * 65, "a.b", "a\x00", "a:b", 'a"'),
    *(NO_UNITS, NO_QUANTITIES, NO_UNITS, NO_INSTANTS, NO_INSTANTS),
    *(NO_QUANTITIES, (*NO_QUANTITIES, 10_001), (None, 1, "true")),
    *((None, 7, "tee", [], [7], [[]]), (None, 7, "tee", [], [7], [[]]), NO_FINGERPRINTS),
    (
        *(None, True, 7, [], [True], [1, 100, 0, 0, 0, 0], [True, 0, 0, 0, 0, 0]),
        *([True, 1.5, 0, 0, 0, 0], [True, 10_001, 0, 0, 0, 0], [True, 100, -1, 0, 0, 0]),
        *([True, 100, 1, None, 0, 0], [True, 100, 1, 0, -1, 0], [True, 100, 1, 0, 0]),
        *([True, 100, 1, 0, 0, wrong] for wrong in (-1, 0.5, "1", None, 10**9 + 1)),
        [True, 100, 1, 0, 0, 0, 0],
    ),
)


def _variants(valid: list[object], places: tuple[Wrong, ...]) -> Iterator[list[object]]:
    """`valid` with one place wrong, and cut off before each place."""
    for place, wrong in enumerate(places):
        for value in wrong:
            yield [*valid[:place], value, *valid[place + 1 :]]
    for length in range(len(places)):
        yield valid[:length]


def _expect_malformed(rig: Rig, name: str, head: tuple[bytes, ...], request: object) -> None:
    packed = request if isinstance(request, bytes) else msgspec.msgpack.encode(request)
    assert rig.raw(name, *head, packed).status == "malformed", request


@pytest.mark.parametrize("name", PLACES)
def test_one_place_of_the_argument_is_wrong(rig: Rig, name: str) -> None:
    prepare(rig)
    *head, packed = arguments(rig, name)
    with rig.unchanged():
        for request in _variants(msgspec.msgpack.decode(packed), PLACES[name]):
            _expect_malformed(rig, name, tuple(head), request)


def test_one_place_of_a_reserve_is_wrong(rig: Rig) -> None:
    """The whole batch is refused, wherever in it the bad request stands."""
    prepare(rig)
    *head, _ = arguments(rig, "reserve")
    good: list[object] = [0, token("new"), "cid", "order-1", [2, 0, 1], 0, 0, False]
    with rig.unchanged():
        for request in _variants(good, REQUEST):
            _expect_malformed(rig, "reserve", tuple(head), [request])
            _expect_malformed(rig, "reserve", tuple(head), [good, request])
        batches: Wrong = ([], None, 7, "x", {}, [7], ["x"], [[]], [good, 7], {"a": good})
        for batch in batches:
            _expect_malformed(rig, "reserve", tuple(head), batch)


def test_one_place_of_a_load_is_wrong(rig: Rig) -> None:
    *head, packed = arguments(rig, "load")
    with rig.unchanged():
        for request in _variants(msgspec.msgpack.decode(packed), LOAD):
            _expect_malformed(rig, "load", tuple(head), request)


@pytest.mark.parametrize("head", [(b"a" * 65, b"1"), (b"", b"1"), (b"a\x00", b"1"), (b"a", b"0")])
def test_a_load_by_nobody(rig: Rig, head: tuple[bytes, bytes]) -> None:
    with rig.unchanged():
        _expect_malformed(rig, "load", head, rig.sale.config())


@pytest.mark.parametrize("epoch", [b"", b"0", b"1", b"-2", b"2.5", b"nan", b"inf", b"1e10", b"x"])
def test_a_recovery_into_no_epoch(rig: Rig, epoch: bytes) -> None:
    prepare(rig)
    run_id, _, request = arguments(rig, "recover")
    with rig.unchanged():
        _expect_malformed(rig, "recover", (run_id, epoch), request)
        _expect_malformed(rig, "recover", (b"", b"2"), request)
        _expect_malformed(rig, "recover", (b"x" * 65, b"2"), request)


@pytest.mark.parametrize("wrong", [None, 7, "", "x" * 21, ["x" * 22], {}])
def test_a_read_of_no_token(rig: Rig, wrong: object) -> None:
    prepare(rig)
    *head, _ = arguments(rig, "read")
    with rig.unchanged():
        _expect_malformed(rig, "read", tuple(head), [wrong])
        _expect_malformed(rig, "read", tuple(head), [])
        if wrong is not None:
            _expect_malformed(rig, "read", tuple(head), [token("held"), wrong])


@pytest.mark.parametrize("name", ["expire", "trim"])
@pytest.mark.parametrize(
    "number",
    [
        *(b"", b"-1", b"1.5", b"nan", b"inf", b"-inf", b"1e10", b"x"),
        *(b"1\x00", b"\x93\x01", b"0x3", b" 3 ", b"99999999999999999999"),
    ],
)
def test_a_bare_number_is_none(rig: Rig, name: str, number: bytes) -> None:
    prepare(rig)
    *head, _ = arguments(rig, name)
    with rig.unchanged():
        _expect_malformed(rig, name, tuple(head), number)


@pytest.mark.parametrize("number", [b"0", b"1001"])
def test_an_expiry_of_none_or_too_many(rig: Rig, number: bytes) -> None:
    prepare(rig)
    *head, _ = arguments(rig, "expire")
    with rig.unchanged():
        _expect_malformed(rig, "expire", tuple(head), number)


@pytest.mark.parametrize("name", PACKED)
def test_the_argument_is_no_message(rig: Rig, name: str) -> None:
    prepare(rig)
    *head, packed = arguments(rig, name)
    deep = b"\x91" * 5000 + b"\x01"
    broken = [
        b"",
        b"\xc1",
        b"\xdd\xff\xff\xff\xff",
        b"\xc0",
        b"\x01",
        b"\xa1",
        deep,
        b"{}",
        b"\x80",
    ]
    broken += [packed[:cut] for cut in range(len(packed))]
    with rig.unchanged():
        for request in broken:
            _expect_malformed(rig, name, tuple(head), request)


@pytest.mark.parametrize("name", [name for name in EVERY if name != "snapshot"])
def test_the_argument_is_missing(rig: Rig, name: str) -> None:
    prepare(rig)
    *head, _ = arguments(rig, name)
    with rig.unchanged():
        assert rig.raw(name, *head).status == "malformed"
