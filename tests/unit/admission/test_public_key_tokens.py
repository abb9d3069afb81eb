"""EdDSA and RS256 tokens: the key decides, junk in a set does no harm, nothing is checked twice."""

import asyncio
import base64
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from gateway.admission import tokens
from gateway.admission.key_set import KEYS_MAX, SET_BYTES_MAX, UnusableSet, parse_key_set
from gateway.admission.keyring import Keyring, KeysUnavailable
from gateway.admission.tokens import InvalidToken, Principal, Scope, Secret, TokenVerifier
from tests.support.waiting import wait_until

SECRET = "a-secret-of-at-least-32-bytes-for-tests"
LEEWAY = 30
ED = ed25519.Ed25519PrivateKey.generate()
OTHER_ED = ed25519.Ed25519PrivateKey.generate()
RSA = rsa.generate_private_key(65537, 2048)
WEAK_RSA = rsa.generate_private_key(65537, 1024)  # noqa: S505 - to be refused
EC = ec.generate_private_key(ec.SECP256R1())
BUYER = Principal("buyer-1", Scope.BUYER)


def jwk_of(key: Any, **members: object) -> dict[str, object]:
    """The public JWK of a private key."""
    kinds: dict[type, Any] = {
        ed25519.Ed25519PrivateKey: jwt.algorithms.OKPAlgorithm,
        rsa.RSAPrivateKey: jwt.algorithms.RSAAlgorithm,
        ec.EllipticCurvePrivateKey: jwt.algorithms.ECAlgorithm,
    }
    (algorithm,) = (found for kind, found in kinds.items() if isinstance(key, kind))
    jwk: dict[str, object] = json.loads(algorithm.to_jwk(key.public_key()))
    return jwk | members


def jwks(*keys: dict[str, object] | object) -> bytes:
    return json.dumps({"keys": keys}).encode()


def claims(**changes: object) -> dict[str, object]:
    good: dict[str, object] = {
        "sub": "buyer-1", "aud": "dropgate", "exp": int(time.time()) + 600, "scope": "buyer",
    }  # fmt: skip
    return {name: value for name, value in (good | changes).items() if value is not None}


def made(key: Any = ED, algorithm: str = "EdDSA", kid: str | None = "ed", **changes: object) -> str:
    headers = {} if kid is None else {"kid": kid}
    return jwt.encode(claims(**changes), key, algorithm=algorithm, headers=headers)


class Source:
    """Where the set is read; counts, and fails while it has nothing."""

    def __init__(self, content: bytes | None) -> None:
        self.content = content
        self.reads = 0

    async def __call__(self) -> bytes:
        self.reads += 1
        if self.content is None:
            raise OSError("the key server is away")
        return self.content


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


SET = jwks(jwk_of(ED, kid="ed", alg="EdDSA", use="sig"), jwk_of(RSA, kid="rsa", alg="RS256"))


def keyring_of(source: Source, clock: Callable[[], float]) -> Keyring:
    return Keyring(
        source, refresh_seconds=300, least_pause_seconds=10, stale_seconds=3600, clock=clock
    )


def state_of(keyring: Keyring) -> str:
    return keyring.state


async def verifier_with(
    content: bytes = SET, secrets: tuple[Secret, ...] = (Secret(SECRET.encode()),)
) -> TokenVerifier:
    keyring = keyring_of(Source(content), Clock())
    await keyring.refresh()
    return TokenVerifier(secrets, "dropgate", LEEWAY, keyring)


def accepts(verifier: TokenVerifier, token: str) -> bool:
    try:
        verifier.verify(token)
    except (InvalidToken, KeysUnavailable):
        return False
    return True


def part(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


async def test_both_algorithms_and_the_shared_secret_side_by_side() -> None:
    verifier = await verifier_with()
    for token in (
        made(),
        made(RSA, "RS256", "rsa"),
        made(kid=None),
        made(RSA, "RS256", None),
        made(SECRET, "HS256", None),
        made(SECRET, "HS256", "ed"),
    ):
        assert verifier.verify(token) == BUYER
        assert verifier.verify(token) == BUYER, "and again, from memory"


async def test_the_key_decides_the_algorithm() -> None:
    verifier = await verifier_with()
    public_pem = RSA.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    public_raw = ED.public_key().public_bytes_raw()
    confused = [
        f"{part({'alg': 'HS256', 'kid': kid})}.{part(claims())}" for kid in ("rsa", "ed", None)
    ]
    signed = [
        f"{text}.{part(hmac.digest(key, text.encode(), 'sha256'))}"
        for text in confused
        for key in (public_pem, public_pem.strip(), public_raw, jwks(jwk_of(RSA)))
    ]
    good_header, good_payload, good_signature = made().split(".")
    for token in (
        *signed,
        f"{part({'alg': 'none', 'kid': 'ed'})}.{good_payload}.",
        f"{part({'alg': 'none', 'kid': 'ed'})}.{good_payload}.{good_signature}",
        f"{good_header}.{good_payload}.",
        f"{part({'alg': 'RS256', 'kid': 'ed'})}.{good_payload}.{good_signature}",
        f"{part({'alg': 'HS256', 'kid': 'ed'})}.{good_payload}.{good_signature}",
        made(RSA, "RS512", "rsa"),
        made(RSA, "PS256", "rsa"),
        made(RSA, "RS256", "ed"),
        made(ED, "EdDSA", "rsa"),
        made(EC, "ES256", "ed"),
        made(OTHER_ED),
        made(OTHER_ED, kid=None),
        made(kid="unknown"),
    ):
        assert not accepts(verifier, token), token


async def test_a_key_that_a_token_brings_along_is_not_looked_at() -> None:
    verifier = await verifier_with()
    for headers in (
        {"jwk": jwk_of(OTHER_ED), "kid": "ed"},
        {"jwk": jwk_of(OTHER_ED)},
        {"jku": "http://127.0.0.1:9/keys", "kid": "ed"},
        {"x5c": ["AAAA"], "kid": "ed"},
        {"crit": ["exp"], "kid": "ed"},
    ):
        token = jwt.encode(claims(), OTHER_ED, algorithm="EdDSA", headers=headers)
        assert not accepts(verifier, token), headers
    own = jwt.encode(claims(), ED, algorithm="EdDSA", headers={"crit": ["b64"], "kid": "ed"})
    assert not accepts(verifier, own)


async def test_claims_are_judged_as_those_of_a_shared_secret() -> None:
    verifier, now = await verifier_with(), time.time()
    for changes in (
        {"exp": now - LEEWAY - 5}, {"nbf": now + LEEWAY + 60}, {"aud": "elsewhere"}, {"aud": None},
        {"exp": None}, {"sub": ""}, {"sub": "x" * 129}, {"scope": "admin"}, {"scope": None},
    ):  # fmt: skip
        assert not accepts(verifier, made(**changes)), changes
        assert not accepts(verifier, made(RSA, "RS256", "rsa", **changes)), changes
    assert accepts(verifier, made(exp=now - LEEWAY + 20))


def test_junk_keys_are_left_out() -> None:
    good = jwk_of(ED, kid="ed")
    private = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(OTHER_ED))
    junk: list[object] = [
        7,
        "key",
        [],
        {},
        {"kty": "OKP"},
        {"kty": "oct", "k": part(SECRET.encode()), "alg": "HS256", "kid": "ed"},
        private | {"kid": "private"},
        jwk_of(OTHER_ED, use="enc"),
        jwk_of(OTHER_ED, key_ops=["sign"]),
        jwk_of(OTHER_ED, key_ops="verify"),
        jwk_of(OTHER_ED, kid=7),
        jwk_of(OTHER_ED, alg="HS256"),
        jwk_of(RSA, alg="RS512"),
        jwk_of(RSA, alg="EdDSA"),
        jwk_of(RSA, alg=None),
        jwk_of(WEAK_RSA),
        jwk_of(EC),
        jwk_of(ED) | {"x": "AAAA"},
        jwk_of(ED) | {"crv": "X25519"},
        jwk_of(RSA) | {"n": "!!"},
        jwk_of(RSA) | {"e": None},
    ]
    found = parse_key_set(jwks(*junk, good))
    assert [(key.kid, key.algorithm) for key in found.keys] == [("ed", "EdDSA")]
    assert found.left_out == len(junk)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"nonsense",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": []}',
        b'{"keys": [{"kty": "oct", "k": "AAAA"}]}',
        b" " * (SET_BYTES_MAX + 1),
        jwks(*[jwk_of(ED)] * (KEYS_MAX + 1)),
    ],
    ids=range(9),
)
def test_what_is_no_set_is_refused_whole(raw: bytes) -> None:
    with pytest.raises(UnusableSet):
        parse_key_set(raw)


async def test_a_rotated_key_is_read_when_a_token_names_it() -> None:
    source, clock = Source(SET), Clock()
    keyring = keyring_of(source, clock)
    await keyring.refresh()
    verifier = TokenVerifier((), "dropgate", LEEWAY, keyring)
    reading = asyncio.create_task(keyring.run())
    source.content = jwks(jwk_of(OTHER_ED, kid="new"), jwk_of(ED, kid="ed"))
    token = made(OTHER_ED, kid="new")
    assert not accepts(verifier, token), "it was read a moment ago"
    assert source.reads == 1
    clock.now += 11
    with pytest.raises(KeysUnavailable):  # asked for; to be repeated
        verifier.verify(token)
    await wait_until(lambda: source.reads == 2, "the set is read again")
    assert verifier.verify(token) == BUYER
    assert verifier.verify(made()) == BUYER
    reading.cancel()


async def test_unknown_ids_ask_for_a_bounded_number_of_reads() -> None:
    source, clock = Source(SET), Clock()
    keyring = keyring_of(source, clock)
    await keyring.refresh()
    verifier = TokenVerifier((), "dropgate", LEEWAY, keyring)
    reading = asyncio.create_task(keyring.run())
    for second in range(40):
        for number in range(5):
            assert not accepts(verifier, made(kid=f"made-up-{second}-{number}"))
        for _ in range(5):
            await asyncio.sleep(0)
        clock.now += 1
    assert 3 <= source.reads <= 5, "one in ten seconds, beside the first"
    reading.cancel()


async def test_a_removed_key_verifies_nothing_any_more_remembered_or_not() -> None:
    source, clock = Source(SET), Clock()
    keyring = keyring_of(source, clock)
    await keyring.refresh()
    verifier = TokenVerifier((), "dropgate", LEEWAY, keyring)
    assert accepts(verifier, made())
    assert accepts(verifier, made(RSA, "RS256", "rsa"))
    token = made()
    assert accepts(verifier, token)
    source.content = jwks(jwk_of(RSA, kid="rsa"))
    await keyring.refresh()
    assert not accepts(verifier, token)
    assert accepts(verifier, made(RSA, "RS256", "rsa"))


async def test_the_last_good_set_goes_on_for_a_while() -> None:
    source, clock = Source(SET), Clock()
    keyring = keyring_of(source, clock)
    assert state_of(keyring) == "none"
    verifier = TokenVerifier((Secret(SECRET.encode()),), "dropgate", LEEWAY, keyring)
    with pytest.raises(KeysUnavailable):
        verifier.verify(made())
    await keyring.refresh()
    assert state_of(keyring) == "fresh"
    source.content = None
    clock.now += 3500
    await keyring.refresh()
    assert state_of(keyring) == "stale"
    token = made()
    assert accepts(verifier, token)
    clock.now += 200
    assert state_of(keyring) == "none"
    with pytest.raises(KeysUnavailable):
        verifier.verify(token)
    assert accepts(verifier, made(SECRET, "HS256", None)), "shared secrets need no set"
    source.content = SET
    await keyring.refresh()
    assert accepts(verifier, token)


async def test_a_signature_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    verifier, checked = await verifier_with(), []
    real = tokens._signed_by

    def counting(*arguments: Any) -> bool:
        checked.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(tokens, "_signed_by", counting)
    token = made()
    for _ in range(100):
        verifier.verify(token)
    assert len(checked) == 1


async def test_what_is_remembered_is_bounded_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "REMEMBERED_MAX", 10)
    verifier = await verifier_with()
    for number in range(30):
        assert accepts(verifier, made(sub=f"buyer-{number}"))
    assert len(verifier._remembered) == 10
    token = made(exp=time.time() + 5)
    assert accepts(verifier, token)
    later = time.time() + 5 + LEEWAY
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(InvalidToken, match="expired"):
        verifier.verify(token)


def test_several_secrets_verify_while_one_takes_over() -> None:
    new, old, named = (f"{name}-secret-of-at-least-32-bytes-0123" for name in ("new", "old", "n"))
    secrets = (Secret(new.encode()), Secret(old.encode()), Secret(named.encode(), "shop"))
    verifier = TokenVerifier(secrets, "dropgate", LEEWAY)
    for key, kid in ((new, None), (old, None), (old, "1"), (named, "shop"), (named, None)):
        assert accepts(verifier, made(key, "HS256", kid)), (key, kid)
    for key, kid in ((new, "shop"), ("third" * 10, None), ("third" * 10, "shop")):
        assert not accepts(verifier, made(key, "HS256", kid)), (key, kid)
    assert not accepts(verifier, made()), "no keyring, no public keys"
