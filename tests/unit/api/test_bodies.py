import pytest

from gateway.api.contract.bodies import Decoder, check_json, check_text, idempotency_key
from gateway.api.contract.problems import CATALOGUE, Problem
from gateway.api.contract.requests import LineBody, ReserveBody
from gateway.api.contract.versions import is_known, version_tag, wanted_version
from gateway.api.reservations.lines import fingerprint_of


def key_of(given: str) -> str:
    return idempotency_key({"Idempotency-Key": given})


def test_quoted_and_bare_keys_are_the_same() -> None:
    assert key_of("abc") == key_of('"abc"') == key_of('  "abc" ') == "abc"
    assert key_of(r'"a\"b\\c"') == 'a"b\\c'
    assert key_of("a\\b") == "a\\b"
    assert key_of("8e03978e-40d5-43e8-bc93-6894a57f9324")


@pytest.mark.parametrize("given", ['"', '""', '"a', '"a"b"', '"a"b', r'"a\b"', "a b", "\x7f", "é"])
def test_what_is_no_key(given: str) -> None:
    with pytest.raises(Problem) as caught:
        key_of(given)
    assert caught.value.kind.code == "malformed"


def test_the_media_type_is_json_however_it_is_spelled() -> None:
    for good in (
        "application/json",
        "Application/JSON",
        "application/json;charset=utf-8",
        'application/json; charset="UTF-8"',
        "application/json ; charset=utf-8",
    ):
        check_json({"Content-Type": good})
    for bad in ("", "text/json", "application/json; charset=latin-1", "application/json, x"):
        with pytest.raises(Problem):
            check_json({"Content-Type": bad})


def test_a_decoder_says_what_is_wrong_and_where() -> None:
    decoder, headers = Decoder(ReserveBody), {"Content-Type": "application/json"}
    with pytest.raises(Problem, match=r"\$\.lines\[0\]\.quantity") as caught:
        decoder.decode(headers, b'{"lines":[{"sku":"a","quantity":0}]}')
    assert caught.value.kind.code == "invalid"
    with pytest.raises(Problem) as caught:
        decoder.decode(headers, b"{")
    assert caught.value.kind.code == "malformed"


def test_texts_are_bounded_in_bytes() -> None:
    assert check_text("t", "é" * 4, 8) == "é" * 4
    for bad in ("é" * 5, "a\nb", "\u2028", "\x00"):
        with pytest.raises(Problem):
            check_text("t", bad, 8)


def line(sku: str, quantity: int, location: str | None = None) -> LineBody:
    return LineBody(sku, quantity, location)


def test_a_fingerprint_is_of_the_summed_lines() -> None:
    one = fingerprint_of([line("a", 3), line("b", 1)])
    assert len(one) == 11
    assert one == fingerprint_of([line("b", 1), line("a", 1), line("a", 2)])
    others = [
        fingerprint_of(lines)
        for lines in (
            [line("a", 3)],
            [line("a", 1), line("b", 3)],
            [line("a", 3, "north"), line("b", 1)],
            [line("a", 3, "south"), line("b", 1)],
        )
    ]
    assert len({one, *others}) == 5


def test_any_tag_of_a_sale_names_its_version() -> None:
    assert wanted_version({}) is None
    assert wanted_version({"If-Match": "*"}) is None
    for tag in (version_tag(7), version_tag(7, "abc-_9")):
        assert wanted_version({"If-Match": tag[1]}) == 7
        assert is_known({"If-None-Match": f'"x", W/{tag[1]}'}, tag)
    assert not is_known({}, version_tag(7))
    for bad in ('W/"7"', "7", '"7", "8"', '"x"'):
        with pytest.raises(Problem) as caught:
            wanted_version({"If-Match": bad})
        assert caught.value.kind.code == "version_mismatch"


@pytest.mark.parametrize("code", sorted(CATALOGUE))
def test_every_problem_is_one_of_the_rfc(code: str) -> None:
    answer = Problem(code, "What happened.", sku="a").answer("request-1")
    assert answer.content_type == "application/problem+json"
    assert answer.status == CATALOGUE[code].status
    headers = dict(answer.headers)
    assert ("Retry-After" in headers) == (answer.status in {429, 503})
    assert ("WWW-Authenticate" in headers) == (answer.status == 401)
    for part in (f'"code":"{code}"', '"sku":"a"', '"request_id":"request-1"', '"title":"'):
        assert part.encode() in answer.body
