"""The draw: a keyed permutation of the buyers who joined before the opening.

A Feistel network over pairs (left, right) with left below `a` and right below `b`, where a * b is
at least the number of buyers; a result beyond the number is fed in again until it falls inside
(cycle walking), so the result is a permutation of exactly these buyers. The round function is the
first 8 bytes of SHA-256(seed, count, round, half), all numbers as 8 bytes: anybody can compute it,
also a browser.

Ideas: J. Black, P. Rogaway, Ciphers with Arbitrary Finite Domains (2002).
"""

from hashlib import sha256
from math import isqrt

SEED_BYTES = 32
ROUNDS = 8


def commitment_of(seed: bytes) -> bytes:
    """The commitment published before the draw, so that nobody can change the seed afterwards."""
    return sha256(seed).digest()


class Draw:
    """Maps the numbers 1 to `count` to places, and places to numbers."""

    def __init__(self, seed: bytes, count: int) -> None:
        """Raises ValueError for a seed of another length or a negative count."""
        if len(seed) != SEED_BYTES or count < 0:
            raise ValueError(f"a draw needs {SEED_BYTES} bytes of seed and a count from 0")
        self.count = count
        self._prefix = seed + count.to_bytes(8, "big")
        self._left = isqrt(max(count - 1, 0)) + 1  # a * a >= count
        self._right = -(-count // self._left)

    def place_of(self, number: int) -> int:
        """The place, from 1, of a number from 1 to `count`. Raises ValueError for other numbers."""
        self._check(number)
        value = number - 1
        while True:
            value = self._forward(value)
            if value < self.count:
                return value + 1

    def number_of(self, place: int) -> int:
        """The number that has this place. Raises ValueError for a place outside of the draw."""
        self._check(place)
        value = place - 1
        while True:
            value = self._backward(value)
            if value < self.count:
                return value + 1

    def _check(self, value: int) -> None:
        if not 1 <= value <= self.count:
            raise ValueError(f"{value} is not in a draw of {self.count}")

    def _forward(self, value: int) -> int:
        left, right = divmod(value, self._right)
        for step in range(0, ROUNDS, 2):
            left = (left + self._round(step, right)) % self._left
            right = (right + self._round(step + 1, left)) % self._right
        return left * self._right + right

    def _backward(self, value: int) -> int:
        left, right = divmod(value, self._right)
        for step in range(ROUNDS - 2, -1, -2):
            right = (right - self._round(step + 1, left)) % self._right
            left = (left - self._round(step, right)) % self._left
        return left * self._right + right

    def _round(self, step: int, half: int) -> int:
        message = self._prefix + step.to_bytes(8, "big") + half.to_bytes(8, "big")
        return int.from_bytes(sha256(message).digest()[:8], "big")
