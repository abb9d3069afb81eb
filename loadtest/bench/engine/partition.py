"""One stock partition driven by the scripts themselves, as a gateway drives it.

The bench sees the scripts as a black box: their assembled text, and the arguments that their
headers describe.
"""

import subprocess
import sys
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from loadtest.bench.engine.client import Client, RefusedError, pack
from loadtest.bench.sale import SKU

EPOCH = 1
OUTBOX_BOUND, SWEEP_BOUND = 1_000_000_000, 64
KEY_NAMES = ("meta", "stock", "reservations", "buyers", "deadlines", "outbox")
# The keys that store an active hold; its event is in the outbox.
HOLD_KEYS = ("reservations", "buyers", "deadlines")

ONE_UNIT = (1, 0, 1)  # a line: one unit of the first item, wherever it is
Request = tuple[int, str, str, str, tuple[int, ...], int, int, bool]


def assembled_scripts() -> dict[str, bytes]:
    """Every script with its includes, by name."""
    with TemporaryDirectory(prefix="dropgate-bench-lua-") as folder:
        subprocess.run([sys.executable, "-m", "lua.assemble", folder], check=True, timeout=60)
        return {path.stem: path.read_bytes() for path in Path(folder).glob("*.lua")}


def requests(first: int, count: int) -> list[Request]:
    """The requests of `count` buyers, each for one unit."""
    return [_request(number) for number in range(first, first + count)]


def buyer_of(number: int) -> str:
    """The id of the buyer with this number."""
    return f"buyer-{number:08d}"


def token_of(number: int) -> str:
    """The last part of this buyer's reservation id."""
    digest = blake2b(buyer_of(number).encode(), digest_size=16).digest()
    return urlsafe_b64encode(digest)[:22].decode()


def _request(number: int, lines: tuple[int, ...] = ONE_UNIT) -> Request:
    return (number % 2**20, token_of(number), buyer_of(number), "AAAAAAAAAAA", lines, 0, 0, False)


def single(number: int, lines: tuple[int, ...]) -> bytes:
    """The packed requests of a script call that reserves these lines for one buyer."""
    return msgspec.msgpack.encode([_request(number, lines)])


def batches(first: int, count: int, size: int) -> list[bytes]:
    """The packed requests of script calls that reserve for `count` buyers, `size` in each."""
    encode = msgspec.msgpack.encode
    return [encode(requests(start, size)) for start in range(first, first + count, size)]


def load_argument(
    sale_id: str, stock: int, hold_milliseconds: int, skus: int = 1, locations: int = 1
) -> bytes:
    """The configuration that `load` takes (lua/include/catalog.lua).

    Every SKU is at every location, with `stock` units at each of them.
    """
    names = [SKU, *(f"{SKU}-{number}" for number in range(2, skus + 1))]
    places = ["default", *(f"place-{number}" for number in range(2, locations + 1))]
    items = [
        [name, 4900, 1, 0, False, [at * locations + place for place in range(1, locations + 1)]]
        for at, name in enumerate(names)
    ]
    accounts = [
        [name, place, at, stock] for at, name in enumerate(names, start=1) for place in places
    ]
    bounds = [OUTBOX_BOUND, SWEEP_BOUND]
    head = [sale_id, 0, hold_milliseconds, hold_milliseconds, 0, 0]
    rules = [False, 100, 0, 0, 0, 3_600_000]  # no waiting room, no cool-down
    told_apart = [*head, False, items, accounts, rules]
    fingerprint = blake2b(msgspec.msgpack.encode(told_apart), digest_size=8).hexdigest()
    config = [*head, *bounds, False, items, accounts, fingerprint, rules]
    return msgspec.msgpack.encode(config)


class Engine:
    """The scripts loaded into one server."""

    def __init__(self, client: Client, scripts: dict[str, bytes]) -> None:
        """Load them, and learn the server's run id."""
        self.client = client
        self.shas = {
            name: client.command("SCRIPT", "LOAD", source) for name, source in scripts.items()
        }
        info: bytes = client.command("INFO", "server")
        lines = [line for line in info.splitlines() if line.startswith(b"run_id:")]
        self.run_id = lines[0].partition(b":")[2]

    def open_partition(
        self, sale_id: str, stock: int, hold_milliseconds: int, skus: int = 1, locations: int = 1
    ) -> "Partition":
        """Load and open a new partition with as many SKUs, each at as many locations."""
        partition = Partition(self, sale_id)
        argument = load_argument(sale_id, stock, hold_milliseconds, skus, locations)
        partition.call("load", argument)
        partition.call("set_state", msgspec.msgpack.encode(("open", 0, "bench")))
        return partition


class Partition:
    """Commands for one partition."""

    def __init__(self, engine: Engine, sale_id: str) -> None:
        """Name the partition's keys."""
        self._engine = engine
        self.keys = {name: f"{{{sale_id}:0}}:{name}".encode() for name in KEY_NAMES}

    def packed(self, script: str, argument: bytes | str) -> bytes:
        """A script call ready to be sent."""
        sha, run_id = self._engine.shas[script], self._engine.run_id
        keys = self.keys.values()
        return pack("EVALSHA", sha, len(KEY_NAMES), *keys, run_id, str(EPOCH), argument)

    def call(
        self, script: str, argument: bytes | str, client: Client | None = None
    ) -> list[object]:
        """One script call. Raises RefusedError unless it answers `ok`."""
        sha, run_id = self._engine.shas[script], self._engine.run_id
        raw = (client or self._engine.client).command(
            *("EVALSHA", sha, len(KEY_NAMES), *self.keys.values(), run_id, str(EPOCH), argument)
        )
        reply: list[object] = msgspec.msgpack.decode(raw)
        if reply[0] != "ok":
            raise RefusedError(f"{script}: {reply}")
        return reply

    def reserve_all(self, arguments: Iterable[bytes], depth: int) -> None:
        """Reserve batch after batch, `depth` calls under way."""
        self._engine.client.pipeline([self.packed("reserve", one) for one in arguments], depth)

    def held(self) -> int:
        """Holds now, by the deadlines (one entry is the sentinel's)."""
        return int(self._engine.client.command("ZCARD", self.keys["deadlines"])) - 1

    def bytes_of(self, *names: str) -> int:
        """Memory of these keys, every element counted."""
        usage = [
            self._engine.client.command("MEMORY", "USAGE", self.keys[name], "SAMPLES", 0)
            for name in names
        ]
        return sum(map(int, usage))

    def drop(self) -> None:
        """Free the partition's memory."""
        self._engine.client.command("UNLINK", *self.keys.values())
