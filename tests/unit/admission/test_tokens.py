import base64
import hmac
import json
import random
import time

import jwt
import pytest

from gateway.admission.tokens import InvalidToken, Principal, Scope, Secret, TokenVerifier

SECRET = "a-secret-of-at-least-32-bytes-für-tests"
LEEWAY = 30
verifier = TokenVerifier((Secret(SECRET.encode()),), "dropgate", LEEWAY)


def claims(**changes: object) -> dict[str, object]:
    good: dict[str, object] = {
        "sub": "buyer-1",
        "aud": "dropgate",
        "exp": int(time.time()) + 600,
        "scope": "buyer",
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def made(*, key: str = SECRET, algorithm: str = "HS256", **changes: object) -> str:
    return jwt.encode(claims(**changes), key, algorithm=algorithm)


def by_hand(header: object, payload: object, key: str = SECRET) -> str:
    """A correctly signed token with any header and payload."""

    def part(raw: bytes) -> str:
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    signed = f"{part(json.dumps(header).encode())}.{part(json.dumps(payload).encode())}"
    return f"{signed}.{part(hmac.digest(key.encode(), signed.encode(), 'sha256'))}"


def accepts(token: str) -> bool:
    try:
        verifier.verify(token)
    except InvalidToken:
        return False
    return True


def reference_accepts(token: str) -> bool:
    try:
        jwt.decode(
            token,
            SECRET,
            algorithms=["HS256"],
            audience="dropgate",
            leeway=LEEWAY,
            options={"require": ["exp", "aud", "sub", "scope"]},
        )
    except jwt.InvalidTokenError:
        return False
    return True


@pytest.mark.parametrize("scope", list(Scope))
def test_a_good_token_names_its_principal(scope: Scope) -> None:
    assert verifier.verify(made(scope=scope.value)) == Principal("buyer-1", scope)
    assert verifier.verify_header(f"Bearer {made()}") == Principal("buyer-1", Scope.BUYER)
    assert verifier.verify_header(f"bearer  {made()}") == Principal("buyer-1", Scope.BUYER)


def test_what_may_be_different_in_a_good_token() -> None:
    now = time.time()
    good: list[dict[str, object]] = [
        {"aud": ["other", "dropgate"]},
        {"exp": now + 0.5},
        {"exp": now - LEEWAY + 20},
        {"nbf": now + LEEWAY - 5},
        {"iat": now - 10},
        {"sub": "käufer"},
        {"sub": "x" * 128},
        {"extra": {"nested": [1, None]}},
    ]
    for changes in good:
        assert accepts(jwt.encode(claims(**changes), SECRET)), changes
    assert accepts(jwt.encode(claims(), SECRET, algorithm="HS256", headers={"kid": "1"}))


def test_what_makes_a_token_invalid() -> None:
    now = time.time()
    bad: list[dict[str, object]] = [
        {"exp": None},
        {"exp": now - LEEWAY - 5},
        {"nbf": now + LEEWAY + 60},
        {"aud": None},
        {"aud": "elsewhere"},
        {"aud": []},
        {"sub": None},
        {"sub": ""},
        {"sub": "x" * 129},
        {"sub": "ä" * 65},
        {"sub": "a\nb"},
        {"sub": "a\u0000"},
        {"scope": None},
        {"scope": "admin"},
        {"scope": "buyer ops"},
    ]
    for changes in bad:
        assert not accepts(jwt.encode(claims(**changes), SECRET)), changes
    typed: list[dict[str, object]] = [{"exp": "9999999999"}, {"sub": 7}, {"aud": 7}, {"exp": True}]
    for payload in typed:
        assert not accepts(by_hand({"alg": "HS256"}, claims() | payload)), payload
    assert not accepts(by_hand({"alg": "HS256"}, [1, 2]))


def test_the_algorithm_is_never_the_tokens_choice() -> None:
    assert accepts(by_hand({"alg": "HS256"}, claims()))
    for header in (
        {"alg": "none"},
        {"alg": "None"},
        {"alg": "hs256"},
        {"alg": "RS256"},
        {},
        {"alg": None},
        {"alg": ["HS256"]},
        {"alg": "HS256", "crit": ["exp"]},
        "HS256",
    ):
        assert not accepts(by_hand(header, claims())), header
    assert not accepts(jwt.encode(claims(), "", algorithm="none"))
    assert not accepts(made(key=SECRET * 2, algorithm="HS512"))
    assert not accepts(made(key="another-secret-of-at-least-32-bytes"))


def test_garbage_is_invalid_and_nothing_worse() -> None:
    good = made()
    header, payload, signature = good.split(".")
    for token in (
        *("", ".", "..", "...", "a.b.c", "a.b", good[:-1], good + "A", good + ".", "." + good),
        *(f"{header}.{payload}.", f"{header}..{signature}", f".{payload}.{signature}"),
        *(f"{header}.{payload}=.{signature}", f"{header}.{payload}.{signature}="),
        *("\udcff", "é" * 20, "A" * 5000, good.replace(".", "..")),
    ):
        assert not accepts(token), token
    for value in (None, "", "Bearer", "Bearer ", "Basic abc", good, "Bearer a b"):
        with pytest.raises(InvalidToken):
            verifier.verify_header(value)


def test_random_tokens_are_judged_as_the_reference_does() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    now = time.time()
    for _ in range(500):
        token = made(
            key=chance.choice([SECRET] * 4 + ["wrong-secret-of-at-least-32-bytes!"]),
            exp=now + chance.choice([-3600, -LEEWAY - 9, -LEEWAY + 9, 9, 3600]),
            nbf=chance.choice([None, now - 9, now + LEEWAY - 9, now + LEEWAY + 9]),
            iat=chance.choice([None, now, now - 3600, now + LEEWAY + 9]),
            aud=chance.choice(["dropgate", ["dropgate"], ["x", "dropgate"], "x", ["x"]]),
            sub=chance.choice(["a", "buyer-1", "x" * 128]),
        )
        if chance.random() < 0.3:
            place = chance.randrange(len(token))
            token = token[:place] + chance.choice("Aa0-_.") + token[place + 1 :]
        # The lenient decoder of the reference takes a signature whose unused last bits differ;
        # ours takes no second spelling of a token.
        if accepts(token):
            assert reference_accepts(token), token
        elif reference_accepts(token):
            spelled = token.rpartition(".")[2]
            decoded = base64.urlsafe_b64decode(spelled + "=" * (-len(spelled) % 4))
            canonical = base64.urlsafe_b64encode(decoded).rstrip(b"=").decode()
            assert spelled != canonical, token
