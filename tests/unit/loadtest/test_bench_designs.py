import re
import time
from pathlib import Path

import pytest

from loadtest.bench.contestants import CONTESTANTS
from loadtest.bench.designs.catalogue import DESIGNS, ECHOES
from loadtest.bench.designs.design import TokenCheck, keyed_id
from loadtest.bench.designs.front import STATUS
from loadtest.bench.designs.postgres import queries
from loadtest.bench.engine.partition import batches, load_argument
from loadtest.client.target import mint_token

SECRET = "a secret of at least thirty-two bytes"


def test_every_contestant_has_a_design_and_every_design_takes_part() -> None:
    others = {c.name for c in CONTESTANTS if c.kind != "dropgate"}
    assert others == {*DESIGNS, *ECHOES}


def test_a_good_token_names_its_buyer() -> None:
    token = mint_token(SECRET, "buyer", "buyer-1")
    assert TokenCheck(SECRET).buyer(f"Bearer {token}", time.time()) == "buyer-1"


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer ",
        "Bearer a.b.c",
        f"Basic {mint_token(SECRET, 'buyer', 'b')}",
        f"Bearer {mint_token('another secret, also long enough ...', 'buyer', 'b')}",
        f"Bearer {mint_token(SECRET, 'ops', 'b')}",
        f"Bearer {mint_token(SECRET, 'buyer', 'b')}x",
    ],
)
def test_reference_designs_check_tokens_too(authorization: str) -> None:
    assert TokenCheck(SECRET).buyer(authorization, time.time()) is None


def test_an_old_token_is_refused() -> None:
    token = mint_token(SECRET, "buyer", "b")
    assert TokenCheck(SECRET).buyer(f"Bearer {token}", time.time() + 7200) is None


def test_one_key_of_one_buyer_is_one_reservation() -> None:
    assert keyed_id("b", "k") == keyed_id("b", "k")
    assert (
        len({keyed_id("b", "k"), keyed_id("b", "l"), keyed_id("c", "k"), keyed_id("bk", "")}) == 4
    )


def test_every_outcome_has_a_status() -> None:
    assert set(STATUS) == {"accepted", "replayed", "sold_out", "limit_exceeded", "busy"}


def test_statements_are_named() -> None:
    path = Path(queries.__file__).with_name("queries.sql")
    names = re.findall(r"^-- name: (\w+)$", path.read_text(), re.MULTILINE)
    assert {"take_conditionally", "take_units", "take_at_version", "lock_stock"} <= set(names)
    assert all(queries.QUERIES[name].endswith(";") for name in names)


def test_batches_hold_every_buyer_once() -> None:
    assert len(batches(0, 96, 16)) == 6
    assert len(set(batches(0, 96, 1))) == 96


def test_a_load_argument_tells_sales_apart() -> None:
    assert load_argument("a", 1, 1000) != load_argument("b", 1, 1000)
