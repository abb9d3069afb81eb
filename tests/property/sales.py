"""What hypothesis chooses from: small sales, where every bound is near, and few buyers."""

from dataclasses import replace

from hypothesis import strategies as st

from tests.support.scripts.sale import FAR_MS, Ask, Item, Lines, Sale

BUYERS = ("ann", "bob", "cid", "dan")

NAMES = st.integers(0, 29).map(lambda number: f"r{number}")
_units = st.sampled_from((3, 5, 8, 2, 1, 0))
_few = st.sampled_from((2, 3, 1, 0))
_quantity = st.sampled_from((1, 1, 2, 2, 3))


def _item(sku: str) -> st.SearchStrategy[Item]:
    stock = st.one_of(
        st.tuples(_units).map(lambda units: (("default", units[0]),)),
        st.tuples(_few, _few).map(lambda u: (("paris", u[0]), ("lyons", u[1]))),
    )
    return st.builds(
        Item,
        sku=st.just(sku),
        stock=stock,
        unit_price=st.integers(0, 5000),
        limit=st.sampled_from((8, 4, 2, 1)),
        floor=st.sampled_from((0, 0, 0, 1, 2, -1, -2)),
        paused=st.sampled_from((False,) * 11 + (True,)),
    )


# A sale of few unpaid reservations forgets them with time, any other never does. Windows pass on
# the server's own clock: a run of some hundred milliseconds sees several. Chosen by the number: one
# more drawn value would change every seeded run.
WINDOWS_MS = {3: 100}


sales = st.builds(
    Sale,
    items=st.one_of(st.tuples(_item("tee")), st.tuples(_item("tee"), _item("caps"))),
    sale_id=st.just("drop"),
    number=st.sampled_from((0, 7)),
    hold_ms=st.sampled_from((5000, 600_000, 500, 50, 1)),
    extension_ms=st.sampled_from((300, 1000, 0)),
    opens_at=st.sampled_from((0,) * 19 + (FAR_MS,)),
    closes_at=st.sampled_from((0,) * 18 + (FAR_MS, 1)),
    outbox_bound=st.sampled_from((1000, 30, 12)),
    sweep_bound=st.sampled_from((100, 1, 2)),
    split=st.booleans(),
    fingerprint=st.just("config-1"),
    waiting_room=st.sampled_from((False, False, True)),
    unpaid_per_buyer=st.sampled_from((100, 100, 9, 3)),
    cooldown=st.sampled_from(((0, 0, 0),) * 3 + ((1, 50, 400), (2, 1000, 600_000))),
    rate=st.sampled_from((None,) * 4 + ((3, 1000), (40, 60_000), (7, 600_000))),
).map(lambda sale: replace(sale, unpaid_window_ms=WINDOWS_MS.get(sale.unpaid_per_buyer, 0)))

# Items and places are taken by the length of their names, so that any line suits any sale.
_line: st.SearchStrategy[tuple[str, int] | tuple[str, int, str]] = st.one_of(
    st.tuples(st.sampled_from(("tee", "caps")), _quantity),
    st.tuples(st.sampled_from(("tee", "caps")), _quantity, st.sampled_from(("paris", "lyon"))),
)
one_line: st.SearchStrategy[Lines] = st.tuples(_line)
lines: st.SearchStrategy[Lines] = st.lists(_line, min_size=1, max_size=3).map(tuple)


def own_buyer(name: str) -> str:
    """A name stands for (buyer, key), so it comes with its own buyer."""
    return BUYERS[int(name[1:]) % len(BUYERS)]


def _ask(name: str, stranger: str | None, wanted: Lines, fingerprint: str) -> Ask:
    return Ask(name, stranger or own_buyer(name), wanted, fingerprint)


asks = st.builds(
    _ask,
    name=NAMES,
    stranger=st.sampled_from((None,) * 11 + ("bob",)),
    wanted=lines,
    fingerprint=st.sampled_from(("f1",) * 7 + ("f2",)),
)
