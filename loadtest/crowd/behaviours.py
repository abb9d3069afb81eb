"""What visitors do: each is one visit from start to end. A scenario mixes them by weight."""

import hmac
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from functools import partial
from hashlib import sha256

import gevent
import msgspec

from loadtest.client.history import Attempt
from loadtest.crowd.visitor import Visitor
from loadtest.crowd.waiting_room import enter

Behaviour = Callable[[Visitor], None]
CONCURRENT_REPEATS = 3
LOOKS = 5


def _together(calls: list[Callable[[], Attempt]]) -> list[Attempt]:
    """Make all calls at once, each on a connection of its own."""
    greenlets = gevent.joinall([gevent.spawn(call) for call in calls], raise_error=True)
    return [greenlet.value for greenlet in greenlets]


def _live_out(visitor: Visitor, reservation_id: str) -> None:
    """Pay for a hold, give it back, or forget it until it lapses."""
    plan = visitor.plan
    if visitor.happens(plan.looks):
        visitor.read(reservation_id)
    fate = visitor.dice.random()
    if fate < plan.lapses:
        return
    visitor.think()
    if fate < plan.lapses + plan.cancels:
        visitor.cancel(reservation_id)
    else:
        visitor.pay(reservation_id)


def _pry(visitor: Visitor) -> None:
    """Try to see and to cancel the last hold that another buyer got; both must fail."""
    others = (
        attempt.reservation_id
        for attempt in reversed(visitor.run.history.attempts[-200:])
        if attempt.call == "reserve" and attempt.accepted and attempt.buyer_id != visitor.buyer_id
    )
    reservation_id = next(others, None)
    if reservation_id:
        visitor.read(reservation_id)
        visitor.cancel(reservation_id)


def buy(visitor: Visitor) -> None:
    """Reserve, sometimes again with the same key, then pay, give back or forget."""
    if not enter(visitor):
        return
    plan, key = visitor.plan, visitor.new_key()
    attempt = visitor.insist(key)
    if not attempt.accepted and visitor.happens(plan.comes_back):
        visitor.think()
        key = visitor.new_key()
        attempt = visitor.insist(key)
    if visitor.happens(plan.repeats):
        visitor.insist(key)
    if visitor.happens(plan.pries):
        _pry(visitor)
    if attempt.accepted:
        _live_out(visitor, attempt.reservation_id)


def hoard(visitor: Visitor) -> None:
    """Take as much as one account may, abandon it, and take it again: nothing is ever paid."""
    for _ in range(visitor.plan.holds):
        if not enter(visitor):
            return
        visitor.insist(visitor.new_key(), visitor.run.plan.sale.per_buyer_limit)
        visitor.think()


def one_account(visitor: Visitor) -> None:
    """A bot: many reserves of one account at once, each with a key of its own."""
    if not enter(visitor):
        return
    keys = [visitor.new_key() for _ in range(visitor.plan.tries)]
    attempts = _together([partial(visitor.reserve, key) for key in keys])
    for attempt in attempts:
        if attempt.accepted:
            visitor.pay(attempt.reservation_id)


def _signed(secret: str, header: object, claims: object) -> str:
    def encoded(part: bytes) -> bytes:
        return urlsafe_b64encode(part).rstrip(b"=")

    body = encoded(msgspec.json.encode(header)) + b"." + encoded(msgspec.json.encode(claims))
    return (body + b"." + encoded(hmac.digest(secret.encode(), body, sha256))).decode()


def _bad_tokens(visitor: Visitor) -> list[str]:
    """Wrong secret, no algorithm, expired, wrong audience, cut signature, and no token at all."""
    secret = visitor.run.target.auth_secret
    head = {"alg": "HS256", "typ": "JWT"}
    claims = {
        "aud": "dropgate",
        "sub": visitor.buyer_id,
        "scope": "buyer",
        "exp": int(time.time()) + 600,
    }
    good = visitor.token()
    return [
        _signed("a secret that was guessed, and wrongly so", head, claims),
        _signed("", {"alg": "none"}, claims).rpartition(".")[0] + ".",
        _signed(secret, head, {**claims, "exp": 1}),
        _signed(secret, head, {**claims, "aud": "another"}),
        good[:-3],
        "not-a-token",
    ]


def forge(visitor: Visitor) -> None:
    """Reserve with forged tokens; the verdict is broken where one was accepted."""
    for token in _bad_tokens(visitor):
        visitor.reserve(visitor.new_key(), token=token)


def replay(visitor: Visitor) -> None:
    """One account's token and key in several places at once: shared, or stolen."""
    if not enter(visitor):
        return
    key = visitor.new_key()
    attempts = _together([partial(visitor.reserve, key) for _ in range(visitor.plan.tries)])
    accepted = next((attempt for attempt in attempts if attempt.accepted), None)
    if accepted:
        _live_out(visitor, accepted.reservation_id)


def barge(visitor: Visitor) -> None:
    """Reserve past the queue: without an admission, an invented one, another buyer's admission."""
    for admission in ("", "bm90LWFuLWFkbWlzc2lvbg", visitor.run.last_admission):
        visitor.admission = admission
        visitor.reserve(visitor.new_key())


def storm(visitor: Visitor) -> None:
    """Lose connections before the answer, then send the key many times."""
    if not enter(visitor):
        return
    key = visitor.new_key()
    for _ in range(visitor.plan.cuts):
        visitor.lose(key)
    attempts = _together([partial(visitor.insist, key) for _ in range(CONCURRENT_REPEATS)])
    accepted = next((attempt for attempt in attempts if attempt.accepted), None)
    if accepted:
        visitor.insist(key)
        _live_out(visitor, accepted.reservation_id)


def look(visitor: Visitor) -> None:
    """Look at the sale again and again, and buy nothing."""
    for _ in range(LOOKS):
        visitor.browse()
        visitor.think()


BEHAVIOURS: dict[str, Behaviour] = {
    behaviour.__name__: behaviour
    for behaviour in (buy, hoard, one_account, forge, replay, barge, storm, look)
}
