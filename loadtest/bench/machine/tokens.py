"""Buyers' tokens, made in advance: signing a token costs more than sending it."""

from pathlib import Path

from loadtest.client.target import mint_token

# More buyers than any contestant serves in the time, so that no buyer comes twice.
BUYERS_PER_SECOND_MAX = 60_000


def write_tokens(path: Path, secret: str, count: int) -> None:
    """Write one buyer's token a line, into a file that only its owner can read."""
    path.touch(mode=0o600)
    with path.open("w", encoding="ascii") as file:
        file.writelines(
            mint_token(secret, "buyer", f"buyer-{number:07d}") + "\n" for number in range(count)
        )
