"""A waiting room of a million buyers: memory of each buyer, joins per second, time of a look."""

import time
from hashlib import blake2b

import msgspec

from loadtest.bench.engine.client import Client, pack
from loadtest.bench.engine.partition import assembled_scripts
from loadtest.bench.engine.server import run_redis
from loadtest.bench.options import Options
from loadtest.bench.results.measurements import Results
from loadtest.bench.say import Say

PART = "waiting_room"
CONTESTANT = "queue_join, batch of 250"
BUYERS = 1_000_000
BATCH = 250
CALLS_UNDER_WAY = 10
LOOKS = 200
# As a gateway spreads buyers: 15 bits of a keyed hash choose the bucket, 8 bytes name the buyer.
BUCKETS = 32_768
DIGEST_BYTES = 8
TAG = b"{bench:q}:"
META, GONE, REVOKED = TAG + b"meta", TAG + b"gone", TAG + b"revoked"


async def run_rooms(options: Options, results: Results, say: Say) -> None:
    """Fill one room, then weigh every key of it."""
    buyers = max(10_000, int(BUYERS * options.scale)) // BATCH * BATCH
    scripts = assembled_scripts()
    async with run_redis() as server:
        client = server.connect()
        shas = {
            name: client.command("SCRIPT", "LOAD", source)
            for name, source in scripts.items()
            if name.startswith("queue_")
        }
        run_id = _run_id(client)
        _open(client, shas["queue_open"], run_id)
        joins = [_joins(shas["queue_join"], run_id, n) for n in range(0, buyers, BATCH)]
        client.command("HSET", META, "checkpointed", buyers)
        before, began = client.cpu_seconds(), time.perf_counter()
        client.pipeline(joins, CALLS_UNDER_WAY)
        seconds, cpu = time.perf_counter() - began, client.cpu_seconds() - before
        setting = f"{buyers:,} waiting buyers"
        size = sum(client.command("MEMORY", "USAGE", key, "SAMPLES", 0) for key in _keys(client))
        state = (shas["queue_state"], 3, META, GONE, REVOKED, run_id, -1)
        look = _look_seconds(client, pack("EVALSHA", *state))
        results.add(
            PART,
            CONTESTANT,
            setting,
            1,
            bytes=size / buyers,
            per_second=buyers / seconds,
            redis_cpu_us=cpu / buyers * 1e6,
            look_us=look * 1e6,
        )
        say(f"  {setting}: {size / buyers:.1f} bytes each, {buyers / seconds:,.0f} joins/s")


def _run_id(client: Client) -> bytes:
    info: bytes = client.command("INFO", "server")
    return next(line[7:] for line in info.splitlines() if line.startswith(b"run_id:"))


def _open(client: Client, sha: bytes, run_id: bytes) -> None:
    opening = [0, 0, 0, 20_000, 60_000, 1_000_000, 0, 0, "open", False, True]
    client.command("EVALSHA", sha, 2, META, GONE, run_id, msgspec.msgpack.encode(opening))


def _joins(sha: bytes, run_id: bytes, first: int) -> bytes:
    """One packed call for a batch of buyers who were never in the room."""
    buckets: dict[bytes, int] = {}
    flat: list[int | bool] = []
    fields: list[bytes] = []
    for number in range(first, first + BATCH):
        digest = _digest(number)
        bucket = TAG + b"buyers:%d" % (int.from_bytes(digest[:2], "big") % BUCKETS)
        flat += (buckets.setdefault(bucket, 3 + len(buckets)), 0, 0, False)
        fields.append(digest[2:])
    keys = (META, GONE, *buckets)
    arguments = (b"0", b"".join(fields), msgspec.msgpack.encode(flat))
    return pack("EVALSHA", sha, len(keys), *keys, run_id, *arguments)


def _digest(number: int) -> bytes:
    return blake2b(b"buyer-%d" % number, digest_size=2 + DIGEST_BYTES).digest()


def _keys(client: Client) -> list[bytes]:
    """Every key there is: nothing else lives on this server."""
    keys: list[bytes] = client.command("KEYS", "*")
    return keys


def _look_seconds(client: Client, command: bytes) -> float:
    """The median time of what a worker reads a few times a second."""
    taken = []
    for _ in range(LOOKS):
        began = time.perf_counter()
        client.send(command)
        client.receive()
        taken.append(time.perf_counter() - began)
    return sorted(taken)[LOOKS // 2]
